"""Margins for the samples that calibration did not see.

A vector (logits, pooled features, embeddings) shows few values per sample, and its extremes go on growing with the
number of samples: a range that ends at the largest one seen clips the next larger one, which is the surest answer of
all. Where to end it instead is a matter of cost. A range R of L levels costs ``V R^2 / (12 (L-1)^2)`` by rounding the V
values of a sample, and ``2 b^2 p`` by clipping, if the largest values of samples exceed it with probability p and by b
on the average. The sum is smallest at ``p = V R / (12 (L-1)^2 b)``. The largest values of samples are taken to follow
the Gumbel distribution, the limit of maxima (Gumbel 1958, "Statistics of Extremes"), whose b follows from their
standard deviation; it is not asked for values rarer than one in ten times the samples seen. Many samples, or many
values per sample, leave nothing to add.

Where a softmax reads the values, V is 1: an error of a value counts there as much as its share of the answer, and the
shares add up to 1. Small values have none, so nothing is added below. Counting all of a thousand logits, the sum came
out at clipping one sample in fifty, the surest answer that there is: 3 dB of what MobileNetV1 0.25 keeps at int8.
"""

from __future__ import annotations

import math

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph
from tersor.observers.min_max import Observer as MinMax
from tersor.ops import DATA, FIXED, OPS, SAME
from tersor.stages.statistics import Statistics, is_vector

Range = tuple[float, float]

_EULER = 0.5772156649015329

_FURTHEST = 10
"""The rarest values that are foreseen, in multiples of the samples seen."""

_SATURATING = (2, 3, 4)
"""Codes of the fused activations that end on both sides (`ActivationFunctionType`: ReLU -1..1, ReLU6, tanh)."""

_BOUNDING = frozenset({"MAXIMUM", "MINIMUM", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "SIN", "COS", "SIGN"})

_AVERAGING = frozenset({"MEAN"})

_RESHAPING = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})


def with_margin(graph: Graph, statistics: Statistics, names: list[str], seen: Range, dtype: DType) -> tuple[Range, str]:
    """The range of a group of values with a margin for its vectors, and a note for the plan, empty if there is none.

    Args:
        graph: the float graph.
        statistics: of its activations.
        names: the members of the group that were observed.
        seen: the group's range.
        dtype: its integer type.
    """
    low, high = seen
    for name in names:
        observer = statistics.observers[name]
        if isinstance(observer, MinMax) and is_vector(graph.tensors[name]) and not _is_bounded(graph, name):
            shared = _is_shared(graph, name)
            below, above = _foreseen(observer, 1 if shared else graph.tensors[name].elements, dtype)
            low, high = low if shared else min(low, below), max(high, above)
    if (low, high) == seen:
        return seen, ""
    return (low, high), f"; widened to {low:.4g}..{high:.4g} for samples not seen, whose extremes vary"


def _foreseen(observer: MinMax, values: int, dtype: DType) -> Range:
    """The range to expect; a side where no value was seen stays at 0."""
    extremes = observer.extremes
    low, high = extremes.bounds
    means, deviations = extremes.means, extremes.deviations
    q_low, q_high = dtype.integer_range
    cost = values * (max(high, 0.0) - min(low, 0.0)) / (12 * (q_high - q_low) ** 2)
    rarest = 1 / (_FURTHEST * extremes.samples)
    above = _gumbel_bound(means[1], deviations[1], cost, rarest) if high > 0 else high
    below = -_gumbel_bound(-means[0], deviations[0], cost, rarest) if low < 0 else low
    return min(low, below), max(high, above)


def _gumbel_bound(mean: float, deviation: float, cost: float, rarest: float) -> float:
    """What largest values of that mean and deviation exceed as seldom as it pays; -infinity where nothing is to add."""
    b = deviation * math.sqrt(6) / math.pi
    exceeded = max(cost / b, rarest) if b > 0 else 1.0
    if exceeded >= 1:
        return -math.inf
    return mean - b * (_EULER + math.log(-math.log1p(-exceeded)))


def _is_shared(graph: Graph, name: str) -> bool:
    """Whether nothing but a softmax reads a value, as it is or in another shape."""
    readers = graph.consumers.get(name, ())
    if name in graph.outputs or not readers:
        return False
    return all(op.kind == "SOFTMAX" or (op.kind in _RESHAPING and _is_shared(graph, op.outputs[0])) for op in readers)


def _is_bounded(graph: Graph, name: str | None) -> bool:
    """Whether a value is an input, or the result of a bounded function, or moved or averaged from such."""
    while name is not None:
        op = graph.producers.get(name)
        if op is None:
            return True
        spec = OPS.get(op.kind)
        if spec is None or spec.scale == FIXED or op.kind in _BOUNDING:
            return True
        if op.option("fused_activation_function", 0) in _SATURATING:
            return True
        if spec.scale != SAME and op.kind not in _AVERAGING:
            return False
        sources = [own for i, own in enumerate(op.inputs) if own is not None and spec.operand_role(i) == DATA]
        if len(sources) > 1:
            return all(_is_bounded(graph, own) for own in sources)
        name = next(iter(sources), None)
    return True
