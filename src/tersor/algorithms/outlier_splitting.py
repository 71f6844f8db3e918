"""Computes a few outlying channels several times, so that the ranges which they stretch get smaller.

With a scale for many numbers, one that is ten times as large as the others costs these three bits. A channel x that
layers read with weights w can be computed n times: ``w x = n (w / n) x``, which divides the weights, or, where what
lies between is proportional (ReLU, pooling, no function), ``w x = n w (x / n)``, which divides the values. The float
network computes the same; the largest number of its range is n times as small, and all others gain. The channel itself
loses nothing: values round alike in all copies, n times an error n times as small. Weights are made to differ by parts
of a step, such that the sum of the rounded ones is the weight rounded once, and gains as well.

Both are estimated from ranges, before and after: steps of the values^2 times the weights^2 that read them, and steps of
the weights^2 times the values^2, over 12. Copy by copy, the side with more noise gives the channel with its largest
number another copy; the fewest copies that come near the least noise are made, at most 5 % of the channels, and none
where that noise would not be halved. So networks without outliers stay as they are.

Conditions. The channels come from a CONV_2D or FULLY_CONNECTED, and only CONV_2D, FULLY_CONNECTED and TRANSPOSE_CONV
read them, behind depthwise layers, poolings, means and activation functions at most: residual branches are left alone.
Behind a ReLU6 or another function that bends, only weights are divided.

Unlike all other algorithms it costs size and time, in proportion to the channels that it adds. Equalization costs none,
but what it takes from one side it loads on the other: this is for outliers that the other side has no room for. It
hurts where ranges that few samples show are a matter of chance. Zhao et al. 2019 (Improving Neural
Network Quantization without Retraining using Outlier Channel Splitting, arXiv 1901.09504, sections 3.1 and 3.3); the
choice by estimated noise instead of a fixed share of channels is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tersor.algorithms._channels import Channels, channels_of, copied, weight_steps
from tersor.algorithms._contract import ChannelRanges
from tersor.algorithms._match import Weighted, weighted
from tersor.ir.graph import Array, Graph
from tersor.recipe import Scheme

_SHARE = 0.05
"""Of the channels that may be added, but at least one: the paper's own choice."""

_WORTH = 0.5
"""Share of the noise that may be left where channels are added at all."""

_NEAR = 1.1
"""Noise over the least that is come to from which on further copies are not worth it."""

_DEVIATIONS = 3.0
"""The largest value of a channel over its root mean square, as of normal values."""


def watched(graph: Graph) -> list[str]:
    """The activations whose ranges are asked for."""
    found: list[str] = []
    for op in graph.ops:
        channels = channels_of(graph, op)
        found += () if channels is None else channels.values
    return found


def rewrite(graph: Graph, ranges: ChannelRanges, scheme: Scheme) -> Graph:
    """The graph with outlying channels split; the same object if there are none."""
    for op in graph.ops if scheme.compute == "integer" else ():
        channels = channels_of(graph, op)
        if channels is None or any(name not in ranges for name in channels.values):
            continue
        noise = _Noise(graph, channels, ranges, scheme)
        smaller, lighter = _chosen(noise, len(channels.first.bias))
        if (smaller * lighter > 1).any():
            graph = copied(graph, channels, smaller, lighter, scheme)
    return graph


@dataclass(frozen=True)
class _Share:
    """A part of the noise: how much, and the channel whose largest number sets its step."""

    power: float
    channel: int


class _Noise:
    """What rounding channels, and the weights that read them, adds to the results of the readers."""

    def __init__(self, graph: Graph, channels: Channels, ranges: ChannelRanges, scheme: Scheme) -> None:
        self._proportional = channels.proportional
        self._values = [ranges[name] for name in channels.values]
        lowest, highest = scheme.activations.integer_range
        self._levels = highest - lowest
        self._scheme = scheme
        self._readers = [np.abs(layer.weights) for layer in channels.readers]
        self._read = np.sum([np.square(item).sum((0, 1)) for item in self._readers], axis=0)
        low, high = self._values[-1]
        last = np.maximum(np.abs(low), np.abs(high))
        self._squares = np.square(last / _DEVIATIONS)
        self._gains = _gains([weighted(graph, op) for op in channels.between], len(last))

    def shares(self, smaller: Array, lighter: Array) -> tuple[_Share, _Share]:
        """The noise of values and of weights, in units of which only the ratio counts."""
        values = [
            self._of_values(low / smaller, high / smaller, gain, smaller)
            for (low, high), gain in zip(self._values, self._gains, strict=True)
        ]
        weights = [self._of_weights(item / lighter, smaller) for item in self._readers]
        return _joined(values), _joined(weights)

    @property
    def may_divide_values(self) -> bool:
        """Whether values that are divided stay what they are to those who read them."""
        return self._proportional

    def _of_values(self, low: Array, high: Array, gain: Array, smaller: Array) -> _Share:
        step = (max(high.max(), 0.0) - min(low.min(), 0.0)) / self._levels
        power = step**2 * float((np.square(smaller) * gain * self._read).sum())
        return _Share(power, int(np.argmax(np.maximum(np.abs(low), np.abs(high)))))

    def _of_weights(self, weights: Array, smaller: Array) -> _Share:
        """Of weights [O, taps, channels]."""
        largest = weights.max((1, 2))
        each = weights.shape[1] * float((self._squares / np.square(smaller)).sum())
        power = (
            float(np.broadcast_to(np.square(weight_steps(weights, self._scheme)), (len(largest), 1, 1)).sum()) * each
        )
        return _Share(power, int(np.argmax(weights[np.argmax(largest)].max(0))))


def _joined(parts: Sequence[_Share]) -> _Share:
    """All parts, with the channel of the largest."""
    return _Share(sum(part.power for part in parts), max(parts, key=lambda part: part.power).channel)


def _gains(between: Sequence[Weighted | None], count: int) -> list[Array]:
    """By what each value's noise is multiplied on the way to the readers, [channels] each; poolings are left out."""
    found = [np.ones(count)]
    for layer in reversed(between):
        own = 1.0 if layer is None else np.square(layer.weights).sum((1, 2))
        found.insert(0, found[0] * own)
    return found


def _chosen(noise: _Noise, count: int) -> tuple[Array, Array]:
    """By what to divide the values of each channel and its weights, [channels] of integers."""
    smaller, lighter = np.ones(count, np.int64), np.ones(count, np.int64)
    tried = []
    while (smaller * lighter).sum() - count <= max(1, int(_SHARE * count)):
        of_values, of_weights = noise.shares(smaller, lighter)
        tried.append((of_values.power + of_weights.power, smaller.copy(), lighter.copy()))
        if noise.may_divide_values and of_values.power >= of_weights.power:
            smaller[of_values.channel] += 1
        else:
            lighter[of_weights.channel] += 1
    least = min(power for power, _, _ in tried)
    if not least < _WORTH * tried[0][0]:
        return tried[0][1:]
    return next(item[1:] for item in tried if item[0] <= _NEAR * least)
