"""Rounds weights one after the other, and lets those still to come make up for what each loses.

Minimizes ``(w' - w) C (w' - w)^T`` with the covariance C of the layer's inputs, column by column: the error of a
rounded weight is spread over the columns that are not rounded yet, in the proportion in which they can replace it, a
row of the Cholesky factor of C^-1. Inputs with the largest variance come first, while most columns can still answer.

Frantar et al. 2023 (GPTQ, arXiv 2210.17323, with its order by activations), after Optimal Brain Quantization. Costs one
pass of K steps on [outputs, K] numbers, less than `coordinate_descent`, which takes the result further as a start, and
nothing in size or latency. It hurts where C is known from few positions and K is large; see `fan_in_limit`.
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._contract import Layer, output_error
from tersor.ir.graph import Array
from tersor.numerics.metrics import decibel

_DAMPING = 1e-2
"""Share of the mean variance that is added to every variance; GPTQ's own value."""


def apply(layer: Layer) -> Layer:
    """The layer with its weights rounded anew; as it is where the covariance is not known, or this is no better."""
    covariance = layer.covariance(_DAMPING)
    if covariance is None:
        return layer
    found = rounded(layer.target, layer.scales, layer.limit, covariance)
    before, after = (output_error(item - layer.target, covariance) for item in (layer.rounded, found))
    better = (after < before)[..., None]
    if not better.any():
        return layer
    gain = decibel(before.sum(), np.minimum(before, after).sum())
    return layer.with_rounded(np.where(better, found, layer.rounded), f"rounded by gptq, error {gain:.1f} dB lower")


def rounded(weights: Array, scales: Array, limit: int, covariance: Array) -> Array:
    """Weights [G, O, K] as integers times their scales [G, O], rounded with a covariance [G, K, K] of full rank."""
    order = np.argsort(-np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
    groups = np.arange(len(order))[:, None]
    ordered = covariance[groups[..., None], order[:, :, None], order[:, None, :]]
    factor = _factor(ordered)
    left = np.take_along_axis(weights, order[:, None, :], axis=2)
    found = np.empty_like(left)
    for place in range(left.shape[2]):
        own = left[..., place]
        found[..., place] = np.clip(np.rint(own / scales), -limit, limit) * scales
        error = (own - found[..., place]) / factor[:, place, place][:, None]
        left[..., place + 1 :] -= error[..., None] * factor[:, place, place + 1 :][:, None, :]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(found, back[:, None, :], axis=2)


def _factor(covariance: Array) -> Array:
    """The upper Cholesky factor of the inverse, [G, K, K].

    Where inputs hardly vary around a large mean, rounding makes the difference that a covariance is negative in some
    direction: such a group is damped until its least variance is `_DAMPING` of its largest.
    """
    try:
        return np.asarray(np.linalg.cholesky(np.linalg.inv(covariance)).transpose(0, 2, 1))
    except np.linalg.LinAlgError:
        variances = np.linalg.eigvalsh(covariance)
        largest = np.where(variances[:, -1] > 0, variances[:, -1], 1.0)
        lacking = np.maximum(_DAMPING * largest - variances[:, 0], 0.0)
        safe = covariance + lacking[:, None, None] * np.eye(covariance.shape[-1])
        return np.asarray(np.linalg.cholesky(np.linalg.inv(safe)).transpose(0, 2, 1))
