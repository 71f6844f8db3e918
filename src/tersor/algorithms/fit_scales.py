"""Chooses the scales of the weights by the error that rounding makes in the output.

A scale that covers the largest weight is the best for rounding only if that weight matters most. Each output's scale is
taken smaller step by step, the weights are rounded with it (as `gptq` does it), and the scale with the smallest
``(w' - w) C (w' - w)^T`` stays; C is the covariance of the layer's inputs. Layers with one scale for all weights get
the one with the smallest sum.

Pays with 4 bits and with one scale per tensor, where a step is coarse: with 8 bits per channel there is little to gain.
Ranges by error: Nagel et al. 2021 (White Paper, arXiv 2106.08295, section 3.1). Costs a `gptq` pass for each scale that
is tried, and nothing in size or latency. Hurts as `gptq` does.
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._contract import Layer, damped, output_error
from tersor.algorithms.gptq import rounded_with_each
from tersor.numerics.metrics import decibel

_FACTORS = tuple(np.geomspace(1, 0.4, 10))
_FINE = tuple(np.geomspace(1.25, 0.4, 60))
"""Tried, as shares of the scale that covers all weights; more of them where layers are small."""

_VALUES = 1 << 20
"""Weights that are rounded at a time, with several scales together."""

_DAMPING = 1e-2
"""As in `gptq`, for rounding and for judging; with less, scales clip weights whose inputs vary more in other data."""


def apply(layer: Layer) -> Layer:
    """The layer with other scales; as it is where the covariance is not known or none is better."""
    covariance = layer.moments.covariance()
    if covariance is None:
        return layer
    varies = np.trace(covariance, axis1=1, axis2=2)[:, None] > 0
    covariance = damped(covariance, _DAMPING)
    scales = np.abs(layer.target).max(-1) / layer.limit
    scales = np.where(scales > 0, scales, layer.scales)
    if layer.one_scale:
        scales = np.full_like(scales, scales.max())
    least = output_error(layer.rounded - layer.target, covariance) * varies
    before = least.sum()
    chosen, values = layer.scales, layer.rounded
    factors = _FINE if layer.target.shape[-1] <= 64 else _FACTORS
    at_once = max(_VALUES // layer.target.size, 1)
    for first in range(0, len(factors), at_once):
        each = np.array(factors[first : first + at_once])[:, None, None]
        tried = np.maximum(scales * each, layer.smallest_scales)
        for own, found in zip(tried, rounded_with_each(layer.target, tried, layer.limit, covariance), strict=True):
            error = output_error(found - layer.target, covariance) * varies
            better = np.broadcast_to(error.sum() < least.sum(), error.shape) if layer.one_scale else error < least
            chosen, least = np.where(better, own, chosen), np.where(better, error, least)
            values = np.where(better[..., None], found, values)
    if not least.sum() < before:
        return layer
    gain = decibel(before, least.sum())
    size = np.median(chosen / layer.scales)
    return layer.with_scales(chosen, values, f"scales {size:.2f} as large, error {gain:.1f} dB lower")
