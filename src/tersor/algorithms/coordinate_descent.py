"""Rounds each weight up or down such that the errors cancel in the output.

Minimizes ``(w' - w)' C (w' - w)`` over integers, with the covariance C of the layer's inputs: the error of the output
once its mean is right (`bias_correction`). Starting from the nearest integers, one weight after the other moves to its
best integer given all others, until none moves. Neighbouring pixels are alike, so C is far from diagonal, and what one
tap of a kernel loses another can make up for.

The layer-wise objective is that of AdaRound (Nagel et al. 2020, arXiv 2004.10568, equation 13) and GPTQ (Frantar et
al. 2023, arXiv 2210.17323); the descent that of cyclic coordinate minimization. Costs K steps on [outputs, K] numbers a
sweep, and nothing in size or latency. It hurts where C is known from few positions and K is large: the recipe's
`fan_in_limit` keeps it to small layers, depthwise ones above all, which gain most.
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._contract import Layer, output_error
from tersor.ir.graph import Array
from tersor.numerics.metrics import decibel

_SWEEPS = 8
"""Most layers stand still after three."""

_DAMPING = 1e-3
"""Share of the mean variance that is added to every variance: what few samples do not know (GPTQ takes 1e-2)."""


def apply(layer: Layer) -> Layer:
    """The layer with its weights rounded anew; as it is where the covariance is not known."""
    covariance = layer.covariance(_DAMPING)
    if covariance is None:
        return layer
    rounded = _descended(layer, covariance)
    before, after = (float(output_error(item - layer.target, covariance).sum()) for item in (layer.rounded, rounded))
    if not after < before:
        return layer
    moved = float(np.mean(np.abs(rounded - layer.rounded) > layer.scales[..., None] / 2))
    gain = decibel(before, after)
    return layer.with_rounded(rounded, f"{moved:.0%} of the weights rounded the other way, error {gain:.1f} dB lower")


def _descended(layer: Layer, covariance: Array) -> Array:
    groups, outputs, inputs = layer.rounded.shape
    steps = layer.scales[..., None]
    start = np.rint(layer.rounded / steps)
    slope = ((layer.rounded - layer.target) @ covariance).reshape(-1, inputs)
    widths = np.diagonal(covariance, axis1=1, axis2=2)[:, None] * steps  # the slope over a step, [G, O, K]
    widths = np.where(widths > 0, widths, np.inf)
    by_input = np.ascontiguousarray(start.reshape(-1, inputs).T), np.ascontiguousarray(widths.reshape(-1, inputs).T)
    group = np.repeat(np.arange(groups), outputs)
    scales = layer.scales.reshape(-1)
    for _ in range(_SWEEPS):
        moves = 0
        for place, (own, width) in enumerate(zip(*by_input, strict=True)):
            wish = np.rint(slope[:, place] / width)
            if not wish.any():
                continue
            found = np.clip(own - wish, -layer.limit, layer.limit)
            (moved,) = np.nonzero(found != own)
            if not len(moved):
                continue
            moves += len(moved)
            move = (found - own)[moved] * scales[moved]
            own[:] = found
            slope[moved] += move[:, None] * covariance[group[moved], place]
        if not moves:
            break
    return np.ascontiguousarray(by_input[0].T).reshape(layer.rounded.shape) * steps
