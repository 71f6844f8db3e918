"""What layers with a batch normalization behind them say about the means of what they read.

Such a layer computes means that are known: ``A m + b = beta`` for the means m of its input's channels, with the sum A
of its taps. These equations correct an estimate of m, and find m where there is none, at the network's input or behind
a max pooling: a normal prior under linear observations with errors, as in a Kalman filter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tersor.algorithms._match import Weighted, weighted
from tersor.ir.graph import Array, Graph, Tensor
from tersor.numerics.patch_sums import mean_patch
from tersor.ops import layer_operands
from tersor.stages.correct.windows import window_of

DOUBT_OF_STATISTICS = 0.05
"""Of a batch normalization's mean, in deviations: it is a moving average, of training, over other samples."""

_UNKNOWN = 1e3
"""Doubt where nothing is known."""

_MOST = 4096
"""Channels, and equations for them, up to which they are solved: a second or two where both are as many."""

_TINY = 1e-10
"""Share of the largest variance that the smallest is taken to have at least."""


class Expected(NamedTuple):
    """What is known of a value's channels.

    Attributes:
        mean: of each.
        doubt: of each mean, the standard error that it is taken to have.
        deviation: of each; None where it is not known.
    """

    mean: Array
    doubt: Array
    deviation: Array | None = None


def improved(graph: Graph, tensor: Tensor, known: Expected | None) -> Expected | None:
    """What is known of a value after a look at the layers that read it; None if nothing is.

    Where equations contradict each other or what was known more than the doubts allow, all doubts are larger by as much
    (the Birge ratio): so it is after training with frozen statistics, or too little of it.
    """
    layers = _stating(graph, tensor)
    channels = tensor.shape[-1]
    for own in ([item for item in layers if item.depthwise == depthwise] for depthwise in (True, False)):
        if own and max(channels, sum(len(layer.bias) for layer in own)) <= _MOST:
            prior = known or Expected(np.zeros(channels), np.full(channels, _UNKNOWN))
            known = _observed(graph, prior, own)
    return known


def _observed(graph: Graph, prior: Expected, layers: list[Weighted]) -> Expected:
    """What is known after the equations of some layers, all of them depthwise or none."""
    systems = [_equations(graph, layer) for layer in layers]
    matrix, wanted, errors = (np.concatenate(parts) for parts in zip(*systems, strict=True))
    variance, errors = _above_zero(prior.doubt**2), _above_zero(errors**2)
    if layers[0].depthwise:  # an equation for each channel
        matrix = matrix.reshape(len(layers), -1)
        missed = (wanted - (matrix * prior.mean).reshape(-1)).reshape(matrix.shape)
        errors = errors.reshape(matrix.shape)
        expected = matrix**2 * variance + errors
        left = 1 / (1 / variance + np.sum(matrix**2 / errors, axis=0))
        step = left * np.sum(matrix * missed / errors, axis=0)
    else:
        missed = wanted - matrix @ prior.mean
        expected = matrix**2 @ variance + errors
        step, left = _step(matrix, variance, errors, missed)
    contradiction = max(float(np.mean(missed**2 / expected)), 1.0)
    return Expected(prior.mean + step, np.sqrt(np.maximum(left, 0.0) * contradiction), prior.deviation)


def _step(matrix: Array, variance: Array, errors: Array, missed: Array) -> tuple[Array, Array]:
    """What equations [equations, channels] move means of a variance by, and the variance left; by the smaller system.

    ``P A' (A P A' + R)^-1`` and ``(P^-1 + A' R^-1 A)^-1 A' R^-1`` are the same, with diagonal P and R.
    """
    if len(variance) < len(errors):
        weighed = matrix.T / errors
        left = np.linalg.inv(np.diag(1 / variance) + weighed @ matrix)
        return left @ (weighed @ missed), np.diagonal(left)
    seen = matrix * variance
    gain = np.linalg.solve(seen @ matrix.T + np.diag(errors), seen).T
    return gain @ missed, variance - np.sum(gain * seen.T, axis=1)


def _above_zero(variances: Array) -> Array:
    """Variances that a system can be solved with: dead channels have none."""
    largest = float(variances.max(initial=0.0)) or 1.0
    return np.maximum(variances, _TINY * largest)


def on_means(graph: Graph, layer: Weighted) -> Array:
    """What a layer makes of the means of its input's channels, [O, channels]; [O] for a depthwise layer."""
    matrix = np.einsum("otc,t->oc", layer.weights, _tap_shares(graph, layer))
    return np.asarray(matrix[:, 0] if layer.depthwise else matrix)


def _stating(graph: Graph, tensor: Tensor) -> list[Weighted]:
    """The layers that read a value and have a batch normalization behind them."""
    layers = [weighted(graph, op) for op in graph.consumers.get(tensor.name, ())]
    own = [item for item in layers if item is not None and item.data == tensor.name]
    return [item for item in own if graph.tensors[item.op.outputs[0]].normal is not None]


def _equations(graph: Graph, layer: Weighted) -> tuple[Array, Array, Array]:
    """The matrix A of ``A m = wanted``, what is wanted, and the errors of that."""
    normal = graph.tensors[layer.op.outputs[0]].normal
    assert normal is not None
    deviation = np.array(normal.deviation)
    errors = DOUBT_OF_STATISTICS * np.hypot(deviation, np.sqrt(np.mean(deviation**2)))
    return on_means(graph, layer), np.array(normal.mean) - layer.bias, errors


def _tap_shares(graph: Graph, layer: Weighted) -> Array:
    """The share of a layer's positions at which each tap of its kernel lies inside the input, [taps]."""
    data, weights = (graph.operand(layer.op, place) for place in layer_operands(layer.op.kind)[:2])
    assert data is not None
    assert weights is not None
    window = window_of(graph, layer.op, weights)
    if window.kernel is None:
        return np.ones(1)
    ones = np.ones((1, *data.shape[1:3], 1), np.float32)
    return np.asarray(mean_patch([ones], replace(window, groups=1))[0])
