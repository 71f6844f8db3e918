"""Computes the channels of the first layers twice, half a step apart, so that both together round twice as finely.

A value x that is rounded as ``x + d/4`` and as ``x - d/4`` to multiples of d is, in the mean of both, rounded to
multiples of d / 2: a quarter of the noise. So a layer that computes C channels gets C more, with biases a quarter of a
step up and down, and the layers that read them get half their weights for each. Depthwise layers between compute both
copies, and have the steps of their own results staggered likewise. The float network computes the same but for parts of
a step where an activation function bends.

It is for the first layers: few channels carry all that later ones see, so that their noise, which no later layer can
average out, is most of what 8-bit activations cost a network, while they make little of its work. From the input on,
channels are doubled as long as the work grows by no more than 15 %. The operators stay 8-bit ones, which every
accelerator has: the alternative, 16-bit activations, many devices run slowly or not at all.

Conditions as for `outlier_splitting`: no residual branches, no outputs of the model. Costs time, and bytes that hardly
count, as first layers are small. Pays only where weights are rounded well already: their noise is not halved. It hurts
where weights have one scale, as bytes and time may be spent for nothing then.

Subtractive dither (Roberts 1962, Picture Coding Using Pseudo-Random Noise) with two values instead of random ones; its
use on copied channels is ours, the copying that of Zhao et al. 2019 (arXiv 1901.09504).
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._channels import Channels, channels_of, copied, layer_constants
from tersor.algorithms._contract import ChannelRanges
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Tensor
from tersor.ir.work import macs
from tersor.ops import LAYERS
from tersor.recipe import Scheme

_SHARE = 0.15
"""Of all multiply-accumulate operations, what may be added."""

_LINEAR = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "PAD")
"""Operators that let through what all values of a channel are larger by; `PAD` but for its border."""

AS_PLANNED = True
"""The steps are those that the integers will have."""


def watched(graph: Graph) -> list[str]:
    """The activations whose ranges are asked for."""
    return [name for channels in _first(graph) for name in channels.values]


def rewrite(graph: Graph, ranges: ChannelRanges, scheme: Scheme) -> Graph:
    """The graph with its first channels doubled; the same object if there are none, or they do not get 8 bits."""
    if scheme.compute != "integer" or scheme.activations is not DType.INT8:
        return graph
    for item in _first(graph):
        if all(name in ranges for name in item.values):
            channels = channels_of(graph, graph.producers[item.values[0]])
            assert channels is not None  # more channels of one kind change nothing about where they go
            once = np.ones(len(channels.first.bias), np.int64)
            graph = _staggered(copied(graph, channels, once, 2 * once, scheme), channels, ranges, scheme)
    return graph


def _first(graph: Graph) -> list[Channels]:
    """The channels that are doubled, from the input on."""
    work = {op.name: macs(graph, op) for op in graph.ops if op.kind in LAYERS}
    most, found = (1 + _SHARE) * sum(work.values()), []
    for op in graph.ops:
        channels = channels_of(graph, op)
        if channels is None:
            continue
        for name in (op.name, *(item.name for item in channels.between), *(item.op.name for item in channels.readers)):
            work[name] = 2 * work.get(name, 0)
        if sum(work.values()) > most:
            break
        found.append(channels)
    return found


def _staggered(graph: Graph, channels: Channels, ranges: ChannelRanges, scheme: Scheme) -> Graph:
    """The graph, whose `channels` are there twice, with biases that are a quarter of a step up and down."""
    signs = np.repeat([1.0, -1.0], len(channels.first.bias))
    lowest, highest = scheme.activations.integer_range
    tensors: list[Tensor] = []
    offset: Array = np.zeros(len(signs))
    for op, name in zip((channels.first.op, *channels.between), channels.values, strict=True):
        if op.kind in LAYERS:
            weights, bias = layer_constants(graph, op)
            assert weights.data is not None
            assert bias.data is not None
            given = offset * weights.data.sum((0, 1, 2), dtype=np.float64) if op.kind == "DEPTHWISE_CONV_2D" else 0.0
            low, high = ranges[name]
            offset = signs * (max(high.max(), 0.0) - min(low.min(), 0.0)) / (highest - lowest) / 4
            values = bias.data.astype(np.float64) + (offset - given).reshape(bias.shape)
            tensors.append(bias.with_data(values.astype(np.float32)))
        elif op.kind not in _LINEAR:
            offset = np.zeros(len(signs))  # what bends lets no constant through
    return graph.edit(tensors=tensors)
