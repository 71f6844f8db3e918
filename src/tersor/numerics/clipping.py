"""Where to end the range of a histogram, by three criteria.

Every range holds 0, as quantization demands. With int16 a range is symmetric, since its zero point is 0.
"""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.histogram import Bins

Range = tuple[float, float]

_PER_OCTAVE, _OCTAVES = 4, 8
"""Ends of a range that are tried: so many between one and its half, down to 1/256 of the widest."""

_FINE_BINS = 2048
"""Bins between 0 and the largest magnitude for the divergence, as in the source."""

_STEP = 64
"""Of the fine bins, how many lie between two ranges that are tried."""


def quantile_range(bins: Bins, low: float, high: float, outside: float) -> Range:
    """The range of which at most half a share `outside` of the values lies on either side.

    Args:
        bins: what was counted.
        low: the smallest value.
        high: the largest.
        outside: 0..1; a share of less than one value clips nothing.
    """
    count = bins.total * outside / 2
    totals = np.cumsum(bins.counts)
    first = int(np.searchsorted(totals, count, "right"))
    last = int(np.searchsorted(totals, bins.total - count, "left"))
    own = max(float(bins.edges_low[first]), low), min(float(bins.edges_high[last]), high)
    return min(own[0], 0.0), max(own[1], 0.0)


def quantization_error(bins: Bins, lows: Array, highs: Array, dtype: DType) -> Array:
    """The expected sum of squared errors of the values for each of several ranges.

    Values inside a range are rounded, which costs a twelfth of the step's square (Widrow 1956) or the value itself
    where it is less than half a step; values outside are moved to its end.

    Args:
        bins: what was counted.
        lows: at most 0, [m].
        highs: at least 0, [m]; with int16 the negatives of `lows`.
        dtype: the integer type.
    """
    q_low, q_high = dtype.integer_range
    steps = highs / q_high if dtype is DType.INT16 else (highs - lows) / (q_high - q_low)
    under, over = bins.below(lows), bins.below(highs)
    every = bins.below(np.full_like(highs, np.inf))
    below_half, above_half = bins.below(np.maximum(-steps / 2, lows)), bins.below(np.minimum(steps / 2, highs))
    near = above_half - below_half
    rounded = np.maximum((over - under).number - near.number, 0.0)
    clipped = under.around(lows) + (every - over).around(highs)
    return np.asarray(clipped + near.second + rounded * steps**2 / 12)


def least_error_range(bins: Bins, low: float, high: float, dtype: DType) -> Range:
    """The range with the smallest `quantization_error`, found on a grid and then on a finer one.

    Args:
        bins: what was counted.
        low: the smallest value.
        high: the largest.
        dtype: the integer type.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype is DType.INT16:
        high = max(high, -low)
        low = -high
    shrink = 2.0 ** -(np.arange(_PER_OCTAVE * _OCTAVES + 1) / _PER_OCTAVE)
    best = _best(bins, low * shrink, high * shrink, dtype)
    fine = 2.0 ** (np.linspace(-1, 1, 17) / _PER_OCTAVE)
    return _best(bins, np.maximum(best[0] * fine, low), np.minimum(best[1] * fine, high), dtype)


def _best(bins: Bins, lows: Array, highs: Array, dtype: DType) -> Range:
    """The best pair of a lower and an upper end."""
    if dtype is not DType.INT16 and lows[0] < 0 < highs[0]:
        lows, highs = (grid.reshape(-1) for grid in np.meshgrid(lows, highs, indexing="ij"))
    place = int(np.argmin(quantization_error(bins, lows, highs, dtype)))
    return float(lows[place]), float(highs[place])


def least_divergence_range(bins: Bins, low: float, high: float, dtype: DType) -> Range:
    """The range whose quantized histogram tells least from the original (Kullback-Leibler).

    Args:
        bins: what was counted.
        low: the smallest value.
        high: the largest.
        dtype: the integer type; with more levels than there are fine bins the extremes are kept.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    largest = max(high, -low)
    q_low, q_high = dtype.integer_range
    levels = q_high - q_low + 1
    if levels > _FINE_BINS or not largest:
        return low, high
    edges = np.arange(-_FINE_BINS, _FINE_BINS + 1) * (largest / _FINE_BINS)
    counts = bins.spread_over(edges)
    counts[-1] += float((bins.below(np.array([np.inf])) - bins.below(edges[-1:])).number[0])
    zeros = bins.below(np.array([0.0, np.finfo(np.float32).tiny])).number
    counts[_FINE_BINS] = max(counts[_FINE_BINS] - (zeros[1] - zeros[0]), 0.0)
    if not counts.any():
        return low, high
    ends = (int(np.ceil(-low / largest * _FINE_BINS)), int(np.ceil(high / largest * _FINE_BINS)))
    tried = range(max(levels // 2, _STEP), _FINE_BINS + 1, _STEP)
    divergence = _Divergence(counts, levels)
    found = [divergence(min(size, ends[0]), min(size, ends[1])) for size in tried]
    size = tried[len(found) - 1 - int(np.argmin(found[::-1]))]
    bound = size * largest / _FINE_BINS
    return max(low, -bound), min(high, bound)


class _Divergence:
    """Kullback-Leibler divergence of a clipped histogram from its quantized form, which is even within a level.

    Sums over bins are kept, so that a range costs no more than its levels.

    Args:
        counts: of `_FINE_BINS` bins below 0 and as many above.
        levels: of the integer type.
    """

    def __init__(self, counts: Array, levels: int) -> None:
        self._counts = counts
        self._levels = levels
        self._total = float(counts.sum())
        self._sums = np.concatenate([[0.0], np.cumsum(counts)])
        self._occupied = np.concatenate([[0], np.cumsum(counts > 0)])
        self._entropies = np.concatenate([[0.0], np.cumsum(_entropy(counts))])

    def __call__(self, below: int, above: int) -> float:
        """For a range that ends so many bins below and above 0."""
        first, last = _FINE_BINS - below, _FINE_BINS + above
        inside = float(self._sums[last] - self._sums[first])
        if last - first < 2 or inside <= 0:
            return np.inf
        levels = min(self._levels, last - first)
        edges = first + np.arange(levels + 1) * (last - first) // levels
        sums, occupied = np.diff(self._sums[edges]), np.diff(self._occupied[edges])
        even = np.maximum(sums / np.maximum(occupied, 1) / inside, 1 / self._total)
        ends = np.array([first, last - 1])
        own = self._counts[ends]
        outside = np.array([self._sums[first], self._total - self._sums[last]])
        original = self._entropies[last] - self._entropies[first] + np.sum(_entropy(own + outside) - _entropy(own))
        at_ends = np.where(own > 0, even[[0, -1]], 1 / self._total)
        quantized = np.sum(sums * np.log(even)) + np.sum(outside * np.log(at_ends))
        return float((original - quantized) / self._total - np.log(self._total))


def _entropy(counts: Array) -> Array:
    """``n log n``, 0 for 0."""
    return np.asarray(counts * np.log(np.where(counts > 0, counts, 1.0)))
