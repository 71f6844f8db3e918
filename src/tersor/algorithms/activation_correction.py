"""Moves each channel's mean behind the activation function back to where it is in the float network.

`bias_correction` keeps the mean of ``W x + b``. What the next layer reads is ``f(W x + b)``, and where f clamps, as
ReLU and ReLU6 do, rounding errors that widen a distribution push its clamped part: the mean behind f moves although the
one before it stands. An operator behind the layer that tells no values apart beyond a bound, as a hard swish below -3,
clamps there, too. This finds the bias with ``E f(W' x' + b') = E f(W x + b)`` by Newton steps over sampled
positions. To be used after `bias_correction`; layers behind which nothing clamps are left alone.

The empirical counterpart of the analytic correction through ReLU in Nagel et al. 2019 (Data-Free Quantization, arXiv
1906.04721, appendix C). Costs a matrix product per layer over some thousand positions, and nothing in size or latency.
Hurts where the samples do not stand for the data.
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._contract import Layer
from tersor.ir.graph import Array

_STEPS = 10

_STILL = 1e-3
"""Standard deviations; smaller steps end the search."""

_FEWEST = 0.01
"""Share of the positions between the clamps below which a channel is left alone: its slope is a matter of chance."""

_FARTHEST = 0.25
"""Standard deviations of the channel that its bias may move by."""

_FEW_OUTPUTS = 4


def apply(layer: Layer) -> Layer:
    """The layer with its bias corrected; as it is where nothing clamps or the inputs are not known."""
    low, high = layer.clamp
    found = layer.moments.rows() if np.isfinite(layer.clamp).any() else None
    if found is None:
        return layer
    own, floats = found
    free = _responses(layer.weights, floats) + layer.bias[..., None].astype(np.float32)
    farthest = _FARTHEST * free.std(-1, dtype=np.float64)
    wanted = np.clip(free, low, high, out=free).mean(-1, dtype=np.float64)
    given = _responses(layer.rounded, own)
    values, inside = np.empty_like(given), np.empty(given.shape, bool)
    shift = np.zeros_like(layer.bias)
    for _ in range(_STEPS):
        np.add(given, (layer.shifted + shift)[..., None].astype(np.float32), out=values)
        clamped = np.clip(values, low, high, out=values)
        slope = np.mean(np.logical_and(clamped > low, clamped < high, out=inside), axis=-1)
        missed = wanted - clamped.mean(-1, dtype=np.float64)
        step = np.where(slope > _FEWEST, missed / np.maximum(slope, _FEWEST), 0)
        before, shift = shift, np.clip(shift + step, -farthest, farthest)
        if (np.abs(shift - before) <= _STILL / _FARTHEST * farthest).all():
            break
    size = _largest(shift, farthest)
    return layer.with_shifted(
        layer.shifted + shift, f"by up to {size:.2g} deviations more for the mean behind {low:g}..{high:g}"
    )


def _responses(weights: Array, rows: Array) -> Array:
    """W x at each position, [G, O, positions] in float32.

    For one output of many groups, a call of BLAS each takes 20 times as long as the sums.
    """
    single = weights.astype(np.float32)
    if weights.shape[1] <= _FEW_OUTPUTS:
        return np.asarray(np.einsum("gok,gnk->gon", single, rows))
    return np.asarray(single @ rows.transpose(0, 2, 1))


def _largest(shift: Array, farthest: Array) -> float:
    deviation = farthest / _FARTHEST
    return float(np.max(np.abs(np.divide(shift, deviation, out=np.zeros_like(shift), where=deviation > 0)), initial=0))
