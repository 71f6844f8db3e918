"""What observers that look at all values have in common: counts of the values, and their extremes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.histogram import Bins, Histogram
from tersor.observers._extremes import Extremes, Pair


@dataclass(slots=True)
class Counted:
    """An observer that keeps a histogram, and chooses a range when it is asked.

    Of a large activation a part of the values is counted, each for several; the extremes of each sample are exact and
    are counted too, so that tails are not missed.
    """

    extremes_suffice: ClassVar[bool] = False
    covers: ClassVar[bool] = False

    extremes: Extremes = field(default_factory=Extremes)
    histogram: Histogram = field(default_factory=Histogram)

    def observe(self, values: Array, extremes: Pair | None = None, stride: int = 1) -> None:
        self.extremes.see(values, extremes)
        if values.size:
            self.histogram.add(values, stride)
        if extremes is not None and stride > 1:
            self.histogram.add(np.array(extremes, np.float32))

    def merge(self, other: Self) -> None:
        self.extremes.merge(other.extremes)
        self.histogram.merge(other.histogram)

    def range(self, dtype: DType) -> Pair:
        low, high = self.extremes.bounds
        if not (math.isfinite(low) and math.isfinite(high)):
            return low, high
        if not self.histogram.is_finite:
            return -math.inf, math.inf
        bins = self.histogram.bins(low, high)
        return self.choose(bins, dtype) if bins.total else (low, high)

    def choose(self, bins: Bins, dtype: DType) -> Pair:
        """The range for what was counted; the extremes are finite."""
        raise NotImplementedError
