"""Zeroes the weights of channels that never vary, where these would set the scale of all others.

A channel that takes the same value v at every position of every sample needs no weights: they become 0, and the bias v.
Batch normalization of a channel that is always 0 divides by the root of a variance of nothing: such channels, of no
effect, have the largest weights of their layer, and with one scale per tensor leave no integers for the others.

Only channels with weights larger than all living ones of their layer are changed: the others cost nothing, and might
come to life with data that was not seen, which is when this hurts. Rewrites the float model; its outputs on the
calibration data stay. Costs a run of the float network over it, and nothing in size or latency.
Dead channels: Lu et al. 2019 (Dying ReLU, arXiv 1903.06733); their large folded weights as seen in MobileNetV1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.algorithms._contract import ChannelRanges
from tersor.algorithms._match import Weighted, constants, weighted
from tersor.ir.graph import Array, Graph
from tersor.recipe import Scheme


def rewrite(graph: Graph, ranges: ChannelRanges, scheme: Scheme) -> Graph:
    """The graph with such weights zeroed; the same object if there are none."""
    changed = []
    for op in graph.ops:
        layer = weighted(graph, op)
        seen = ranges.get(op.outputs[0])
        if layer is None or seen is None:
            continue
        dead = _dead(layer, *seen)
        if dead.any():
            weights = np.where(dead[:, None, None], 0, layer.weights)
            bias = np.where(dead, seen[0], layer.bias)
            changed += constants(graph, replace(layer, weights=weights, bias=bias))
    return graph.edit(tensors=changed) if changed else graph


def _dead(layer: Weighted, low: Array, high: Array) -> Array:
    """Which output channels are always the same, and have larger weights than every other."""
    constant = low == high
    if constant.all():
        return np.zeros_like(constant)
    sizes = np.abs(layer.weights).max((1, 2))
    return np.asarray(constant & (sizes > sizes[~constant].max()))
