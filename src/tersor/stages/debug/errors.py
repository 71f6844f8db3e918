"""What is wrong with one activation, summed over samples in memory that does not grow with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersor.ir.graph import Array
from tersor.numerics.histogram import Histogram
from tersor.numerics.metrics import decibel
from tersor.ops import ALL, Range


@dataclass(frozen=True)
class Errors:
    """Quantized less float values of one activation.

    Attributes:
        mean: of the error.
        std: of the error.
        max_abs: the largest error.
        mse: mean squared error.
        sqnr_db: signal to quantization noise ratio, in decibel.
        ac_sqnr_db: likewise, with the signal's variance around its channel means only: a mean that is the same for all
            inputs carries no information, and behind a ReLU it is most of the signal.
        steps: root mean square error over the scale; 0.289 (1 over the root of 12) where only the result is rounded.
        clipped: share of float values beyond what the integers can stand for.
        shift_share: share of the mean squared error that is a constant per channel (last axis).
        shifts: the mean error of each channel.
    """

    mean: float
    std: float
    max_abs: float
    mse: float
    sqnr_db: float
    ac_sqnr_db: float
    steps: float
    clipped: float
    shift_share: float
    shifts: Array


class ErrorSums:
    """Adds up samples; `errors` are the figures.

    Args:
        low: the smallest real number that the integers stand for.
        high: the largest.
        step: the scale.
        visible: what lies beyond is to the activation's readers as these bounds are, and here, too.
    """

    def __init__(self, low: float, high: float, step: float, visible: Range = ALL) -> None:
        self._low = low - step / 2
        self._high = high + step / 2
        self._step = step
        self._visible = visible
        self._count = 0
        self._signal = 0.0
        self._squares = 0.0
        self._max_abs = 0.0
        self._clipped = 0
        self._sums: Array = np.zeros(1)

    def add(self, real: Array, wanted: Array) -> None:
        """Take one sample: what the integers stand for, and the float values, of the same shape."""
        channels = real.shape[-1] if real.ndim > 1 else 1
        real, wanted = as_seen(real, self._visible), as_seen(wanted, self._visible)
        error = (real.astype(np.float64) - wanted).reshape(-1, channels)
        if not self._count:
            self._sums = np.zeros(channels)
        self._sums += error.sum(0)
        self._count += error.size
        self._squares += float(np.sum(error * error))
        self._signal += float(np.sum(np.square(wanted, dtype=np.float64)))
        self._max_abs = max(self._max_abs, float(np.abs(error).max(initial=0.0)))
        self._clipped += int(np.count_nonzero((wanted < self._low) | (wanted > self._high)))

    def errors(self, variance: float) -> Errors:
        """The figures; at least one sample was added. `variance`: the mean variance of the float values' channels."""
        mse, mean = self._squares / self._count, float(self._sums.sum()) / self._count
        shifts = self._sums * (self._sums.size / self._count)
        share = float(np.mean(shifts**2)) / mse if mse else 0.0
        return Errors(
            mean=mean,
            std=float(np.sqrt(max(mse - mean**2, 0.0))),
            max_abs=self._max_abs,
            mse=mse,
            sqnr_db=decibel(self._signal, self._squares),
            ac_sqnr_db=decibel(variance, mse),
            steps=mse**0.5 / self._step,
            clipped=self._clipped / self._count,
            shift_share=min(share, 1.0),
            shifts=shifts,
        )


class ValueSums:
    """Adds up float values: how they spread, also per channel, and which of the integer levels they use.

    Channels and levels are those of the values as readers see them; `visible` as for `ErrorSums`.
    """

    def __init__(self, low: float, high: float, visible: Range = ALL) -> None:
        self._low = low
        self._high = high
        self._visible = visible
        self._count = 0
        self._sums: Array = np.zeros(1)
        self._squares: Array = np.zeros(1)
        self._levels = np.zeros(LEVELS, np.int64)
        self._lows: Array = np.full(1, np.inf)
        self._highs: Array = np.full(1, -np.inf)
        self.smallest = np.inf
        self.largest = -np.inf
        self.histogram = Histogram()

    def add(self, values: Array) -> None:
        """Take one sample."""
        channels = values.shape[-1] if values.ndim > 1 else 1
        self.histogram.add(values)
        self.smallest = min(self.smallest, float(values.min(initial=np.inf)))
        self.largest = max(self.largest, float(values.max(initial=-np.inf)))
        rows = as_seen(values, self._visible).reshape(-1, channels).astype(np.float64)
        if not self._count:
            self._sums, self._squares = np.zeros(channels), np.zeros(channels)
        self._lows = np.minimum(self._lows, rows.min(0, initial=np.inf))
        self._highs = np.maximum(self._highs, rows.max(0, initial=-np.inf))
        self._sums += rows.sum(0)
        self._squares += (rows * rows).sum(0)
        self._count += len(rows)
        width = self._high - self._low
        if width > 0:
            places = ((rows.reshape(-1) - self._low) * (LEVELS / width)).clip(0, LEVELS - 1).astype(np.int64)
            self._levels += np.bincount(places, minlength=LEVELS)

    @property
    def mean(self) -> Array:
        """Of each channel."""
        return self._sums / max(self._count, 1)

    @property
    def variance(self) -> Array:
        """Of each channel."""
        return np.asarray(np.maximum(self._squares / max(self._count, 1) - self.mean**2, 0.0))

    @property
    def bounds(self) -> tuple[Array, Array]:
        """The smallest and the largest value of each channel."""
        return self._lows, self._highs

    def levels_of_most(self, share: float = 0.999) -> float:
        """How large a part of the range holds that share of all values, 0..1."""
        total = int(self._levels.sum())
        if not total:
            return 1.0
        ordered = np.cumsum(np.sort(self._levels)[::-1])
        return float(np.searchsorted(ordered, share * total) + 1) / LEVELS


def as_seen(values: Array, visible: Range) -> Array:
    """Values with those beyond the bounds at them."""
    return values if visible == ALL else np.asarray(np.clip(values, *visible))


LEVELS = 256
"""As many as int8 has."""
