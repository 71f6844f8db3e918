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

_BLOCK = 32
"""Columns that are rounded before their errors are spread over all others; GPTQ takes 128."""


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
    return np.asarray(rounded_with_each(weights, scales[None], limit, covariance)[0])


def rounded_with_each(weights: Array, scales: Array, limit: int, covariance: Array) -> Array:
    """`rounded` with each of several scales [N, G, O]: [N, G, O, K].

    Columns are taken in blocks: within one, each spreads its error at once; over the columns behind it, a block does so
    as a whole, as a matrix product (GPTQ's lazy batches).
    """
    order = np.argsort(-np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
    groups = np.arange(len(order))[:, None]
    factor = _factor(covariance[groups[..., None], order[:, :, None], order[:, None, :]])
    count, (_, outputs, inputs) = len(scales), weights.shape
    ordered = np.take_along_axis(weights, order[:, None, :], axis=2)
    left = np.tile(ordered.transpose(2, 0, 1), (1, 1, count))  # [K, G, N x O]
    steps = scales.transpose(1, 0, 2).reshape(len(order), count * outputs)
    found = np.empty_like(left)
    for first in range(0, inputs, _BLOCK):
        last = min(first + _BLOCK, inputs)
        errors = np.empty_like(left[first:last])
        for place in range(first, last):
            own = left[place]
            found[place] = np.clip(np.rint(own / steps), -limit, limit) * steps
            errors[place - first] = (own - found[place]) / factor[:, place, place][:, None]
            spread = factor[:, place, place + 1 : last].T[..., None]
            left[place + 1 : last] -= errors[place - first] * spread
        behind = factor[:, first:last, last:].transpose(0, 2, 1)
        left[last:] -= (behind @ errors.transpose(1, 0, 2)).transpose(1, 0, 2)
    in_place = found.reshape(inputs, len(order), count, outputs).transpose(2, 1, 3, 0)
    back = np.argsort(order, axis=1)
    return np.take_along_axis(in_place, back[None, :, None, :], axis=3)


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
