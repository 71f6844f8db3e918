"""How values spread beside what the integers can stand for: what a histogram of a layer draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.ir.quant import QuantParams
from tersor.numerics.histogram import Histogram
from tersor.ops import ALL, OPS, WEIGHT, Range
from tersor.stages.debug.match import real_values

BARS = 64
"""Bars of a distribution: enough to tell a tail from an outlier, few enough to draw in the width of a phone."""


@dataclass(frozen=True)
class Distribution:
    """Counts of values in bars of equal width.

    Attributes:
        low: the smallest number that the integers stand for; values below are clipped.
        high: the largest.
        smallest: of the values.
        largest: of the values.
        counts: [BARS], from the lesser of `low` and `smallest` to the greater of `high` and `largest`.
        stored: how the integers stand for them, in words.
    """

    low: float
    high: float
    smallest: float
    largest: float
    counts: tuple[int, ...]
    stored: str

    @property
    def span(self) -> tuple[float, float]:
        """Where the first bar begins and the last one ends."""
        return min(self.low, self.smallest), max(self.high, self.largest)


def of_counts(
    histogram: Histogram, smallest: float, largest: float, params: QuantParams, visible: Range = ALL
) -> Distribution | None:
    """Of activations counted while samples passed; None if there were none, or one was not finite.

    `visible` are the bounds beyond which readers see no difference.
    """
    if not histogram.is_finite or not smallest <= largest:
        return None
    edges = _edges(smallest, largest, params)
    if edges is None:
        return None
    bins = histogram.bins(smallest, largest)
    below = np.rint(bins.below(edges).number)  # rounded before, so that all are counted
    below[0], below[-1] = 0, bins.total  # an edge may lie among values: 0 and -0
    return _made(np.diff(below), smallest, largest, f"{params}{unseen(smallest, largest, visible)}", params)


def of_weights(op: Op, graph: Graph, twin: Op | None, floats: Graph) -> Distribution | None:
    """Of the weights of an operator of the float network, beside what those of its twin `op` can stand for.

    None if there are none, they are not quantized, or one is not finite.
    """
    index = OPS[op.kind].operand_index(WEIGHT) if op.kind in OPS else None
    if index is None or twin is None or twin.kind != op.kind:
        return None
    stored, exact = graph.operand(op, index), floats.operand(twin, index)
    if stored is None or exact is None or stored.quant is None or not stored.quant.scales:
        return None
    values = real_values(exact)
    if values is None or not values.size or not np.isfinite(values).all():
        return None
    smallest, largest = float(values.min()), float(values.max())
    edges = _edges(smallest, largest, stored.quant)
    return (
        None
        if edges is None
        else _made(np.histogram(values, edges)[0], smallest, largest, str(stored.quant), stored.quant)
    )


def _edges(smallest: float, largest: float, params: QuantParams) -> Array | None:
    """[BARS + 1]; the last lies above the largest value, so that this is counted, too."""
    low, high = params.real_range
    start, end = min(low, smallest), max(high, largest)
    edges = np.linspace(start, end, BARS + 1)
    edges[-1] = np.nextafter(end, np.inf)
    return edges if np.all(np.diff(edges) > 0) else None


def unseen(smallest: float, largest: float, visible: Range) -> str:
    """In words, where values lie that readers do not tell apart; empty if there are none."""
    ends = (
        f"below {visible[0]:.3g}" * (smallest < visible[0]),
        f"above {visible[1]:.3g}" * (largest > visible[1]),
    )
    places = " and ".join(end for end in ends if end)
    return f"; its readers see no difference {places}" if places else ""


def _made(counts: Array, smallest: float, largest: float, stored: str, params: QuantParams) -> Distribution:
    low, high = params.real_range
    return Distribution(low, high, smallest, largest, tuple(int(count) for count in counts), stored)
