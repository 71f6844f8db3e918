"""Makes the channels of neighbouring layers alike, so that one scale fits them all.

``W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1)`` for a diagonal S > 0 and a ReLU or no activation f. With the largest
weights r1, r2 of a channel on both sides, ``s = sqrt(r1 / r2)`` gives both the same; a chain of layers is swept until
nothing moves. Then bias absorption: what a channel never falls below on the data, ``c = min f(...) > 0``, is taken from
the first bias and given to the second, ``b2 + W2 c``, which makes activations take less of their range.

Conditions. The value between is read by one layer only and no output of the model, so that residual branches are left
alone. A ReLU6 clamps all channels at 6, which per-channel factors would change: only channels that stay below 6 on the
data, before and after, are scaled. Absorption needs every tap to see the channel: no padding. Factors are limited to 2:
equalizing fully makes some activation channels small against the others, which costs more than the weights gain.

Hurts with a scale per channel, where each weight channel has its own scale anyway. Rewrites the float model: its
outputs on the calibration data stay, those of other data change where a channel leaves the range that it took there.
Costs a run of the float network over the data. Nagel et al. 2019 (Data-Free Quantization, arXiv 1906.04721, sections
4.1 and 4.2).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.algorithms._contract import ChannelRanges
from tersor.algorithms._match import Weighted, constants, weighted
from tersor.ir.graph import Array, Graph
from tersor.recipe import Scheme

_LIMIT = 2.0
"""Largest factor, and the inverse of the smallest, over all sweeps."""

_SWEEPS = 20
_STILL = 1e-3

_MARGIN = 0.8
"""Share of a ReLU6's 6 below which a channel has to stay: unseen data is allowed to reach further than the seen."""

_Pair = tuple[str, str]


def rewrite(graph: Graph, ranges: ChannelRanges, scheme: Scheme) -> Graph:
    """The graph with its layers equalized; the same object if there are no pairs of layers."""
    layers, pairs = _pairs(graph)
    if not pairs:
        return graph
    total = {pair: np.ones(len(layers[pair[0]].bias)) for pair in pairs}
    for _ in range(_SWEEPS):
        moved = 0.0
        for pair in pairs:
            factors = _factors(layers, pair, total[pair], ranges)
            total[pair] = total[pair] * factors
            _scale(layers, pair, factors)
            moved = max(moved, float(np.abs(factors - 1).max()))
        if moved < _STILL:
            break
    for pair in pairs:
        _absorb(layers, pair, total[pair], ranges)
    return graph.edit(tensors=[item for layer in layers.values() for item in constants(graph, layer)])


def _pairs(graph: Graph) -> tuple[dict[str, Weighted], list[_Pair]]:
    """Layers by operator name, and those that feed another one alone."""
    layers: dict[str, Weighted] = {}
    pairs: list[_Pair] = []
    for op in graph.ops:
        first = weighted(graph, op)
        reader = graph.sole_reader(op.outputs[0])
        second = weighted(graph, reader)
        if first is None or second is None or second.data != op.outputs[0]:
            continue
        layers |= {op.name: first, second.op.name: second}
        pairs.append((op.name, second.op.name))
    return layers, pairs


def _factors(layers: dict[str, Weighted], pair: _Pair, before: Array, ranges: ChannelRanges) -> Array:
    """S of one sweep, [channels]: outputs of the first layer are divided by it."""
    first, second = (layers[name] for name in pair)
    r1, r2 = np.abs(first.weights).max((1, 2)), _reading(second)
    alive = (r1 > 0) & (r2 > 0)
    wish = np.sqrt(np.divide(r1, r2, out=np.ones_like(r1), where=alive))
    smallest = np.full_like(wish, 1 / _LIMIT)
    largest = np.full_like(wish, _LIMIT)
    if np.isfinite(first.clamp[1]):
        seen = ranges.get(first.op.outputs[0])
        top = np.full_like(wish, np.inf) if seen is None else seen[1] / (_MARGIN * first.clamp[1])
        free = top < 1
        smallest = np.where(free, np.maximum(smallest, top), 1)
        largest = np.where(free, largest, 1)
    return np.asarray(np.where(alive, np.clip(before * wish, smallest, largest) / before, 1))


def _reading(layer: Weighted) -> Array:
    """The largest weight that each input channel is multiplied with."""
    return np.asarray(np.abs(layer.weights).max((1, 2) if layer.depthwise else (0, 1)))


def _scale(layers: dict[str, Weighted], pair: _Pair, factors: Array) -> None:
    first, second = (layers[name] for name in pair)
    layers[pair[0]] = replace(first, weights=first.weights / factors[:, None, None], bias=first.bias / factors)
    own = factors[:, None, None] if second.depthwise else factors
    layers[pair[1]] = replace(second, weights=second.weights * own)


def _absorb(layers: dict[str, Weighted], pair: _Pair, total: Array, ranges: ChannelRanges) -> None:
    first, second = (layers[name] for name in pair)
    seen = ranges.get(first.op.outputs[0])
    if seen is None or first.clamp[0] != 0 or not _unpadded(second):
        return
    low, high = seen[0] / total, seen[1] / total
    share = np.where((low > 0) & (high < first.clamp[1]), low, 0)
    given = second.weights.sum(1)
    layers[pair[0]] = replace(first, bias=first.bias - share)
    layers[pair[1]] = replace(second, bias=second.bias + (given[:, 0] * share if second.depthwise else given @ share))


def _unpadded(layer: Weighted) -> bool:
    if layer.op.kind == "TRANSPOSE_CONV":  # its results do not see the same taps
        return False
    if layer.op.kind == "FULLY_CONNECTED" or layer.weights.shape[1] == 1:
        return True
    return bool(layer.op.option("padding", 0) == 1)
