"""Counts of float32 values that need no range beforehand.

The upper 16 bits of a float32 are its sign, its exponent and 7 bits of its mantissa: a bin is at most 1/128 of its
value wide, whatever the value. Counts are integers, so adding in any order gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tersor.ir.graph import Array

_BINS = 1 << 16

_BATCH = 1 << 16
"""Keys that wait to be counted together: counting has a price per bin too."""


@dataclass(slots=True)
class Histogram:
    """How often values were seen.

    Attributes:
        keys: upper halves of float32, ascending [n] of uint16.
        counts: [n] of int64, above 0.
    """

    keys: Array = field(default_factory=lambda: np.empty(0, np.uint16))
    counts: Array = field(default_factory=lambda: np.empty(0, np.int64))
    _waiting: dict[int, list[Array]] = field(default_factory=dict)
    _size: int = 0

    def add(self, values: Array, weight: int = 1) -> None:
        """Count values, float32 of any shape, each `weight` times."""
        keys = (np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32) >> 16).astype(np.uint16)
        self._waiting.setdefault(weight, []).append(keys)
        self._size += keys.size
        if self._size >= _BATCH:
            self._settle()

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram."""
        for weight, waiting in other._waiting.items():
            self._waiting.setdefault(weight, []).extend(waiting)
        self._size += other._size
        self._settle(other.keys, other.counts)

    def __reduce__(self) -> tuple[type[Histogram], tuple[Array, Array]]:
        self._settle()
        return Histogram, (self.keys, self.counts)

    def bins(self, low: float, high: float) -> Bins:
        """What was counted between the smallest and the largest value, which are known exactly."""
        self._settle()
        return _bins(self.keys, self.counts, low, high)

    @property
    def is_finite(self) -> bool:
        """Whether no NaN and no infinity was counted."""
        self._settle()
        return not bool(np.any((self.keys & 0x7F80) == 0x7F80))

    def _settle(self, keys: Array | None = None, counts: Array | None = None) -> None:
        if keys is None and not self._size:
            return
        together = {weight: np.concatenate(waiting) for weight, waiting in self._waiting.items()}
        most = max(together, key=lambda weight: together[weight].size, default=0)
        total = np.bincount(together.pop(most, self.keys[:0]), minlength=_BINS)
        if most != 1:
            total *= most
        for weight, few in together.items():  # the extremes, mostly
            np.add.at(total, few, weight)
        total[self.keys] += self.counts
        if keys is not None and counts is not None:
            total[keys] += counts
        found = np.flatnonzero(total != 0)  # of booleans it takes a tenth of the time
        self.keys, self.counts = found.astype(np.uint16), total[found]
        self._waiting, self._size = {}, 0


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over values: how many, of the values, of their squares. Arrays of one shape."""

    number: Array
    first: Array
    second: Array

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.number - other.number, self.first - other.first, self.second - other.second)

    def around(self, centre: Array) -> Array:
        """The sum of the squared distances from `centre`."""
        return np.asarray(np.maximum(self.second - 2 * centre * self.first + centre**2 * self.number, 0.0))


class Bins:
    """A histogram over the real numbers; values are taken to be spread evenly within a bin.

    Args:
        edges_low: [n], ascending.
        edges_high: [n], at most the next lower edge.
        counts: [n].
    """

    def __init__(self, edges_low: Array, edges_high: Array, counts: Array) -> None:
        self.edges_low, self.edges_high, self.counts = edges_low, edges_high, counts.astype(np.float64)
        a, b, c = edges_low, edges_high, self.counts
        per_bin = (c, c * (a + b) / 2, c * (a * a + a * b + b * b) / 3)
        self._below = [np.concatenate([[0.0], np.cumsum(part)]) for part in per_bin]

    @property
    def total(self) -> float:
        """How many values were counted."""
        return float(self._below[0][-1])

    def below(self, x: Array) -> Moments:
        """The moments of the values below each number."""
        last = len(self.counts) - 1
        place = np.clip(np.searchsorted(self.edges_low, x, "right") - 1, 0, last)
        a, b = self.edges_low[place], self.edges_high[place]
        inside = np.clip(x, a, b)
        width = b - a
        share = np.where(width > 0, (inside - a) / np.where(width > 0, width, 1.0), x > a)
        c = self.counts[place] * share
        parts = (c, c * (a + inside) / 2, c * (a * a + a * inside + inside * inside) / 3)
        number, first, second = (before[place] + part for before, part in zip(self._below, parts, strict=True))
        return Moments(number, first, second)

    def spread_over(self, edges: Array) -> Array:
        """Counts between ascending edges [m + 1], as [m]; what lies outside is not in them."""
        return np.diff(self.below(edges).number)


def _bins(keys: Array, counts: Array, low: float, high: float) -> Bins:
    magnitudes = (keys & 0x7FFF).astype(np.uint32)
    inner = (magnitudes << 16).view(np.float32).astype(np.float64)
    outer = ((magnitudes + 1) << 16).view(np.float32).astype(np.float64)
    negative = keys >= 0x8000
    a, b = np.where(negative, -outer, inner), np.where(negative, -inner, outer)
    order = np.argsort(a, kind="stable")
    a, b = (np.clip(edge[order], low, high) for edge in (a, b))
    return Bins(a, b, counts[order])
