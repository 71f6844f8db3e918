"""What observers that look at all values have in common: counts of the values, and their extremes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.histogram import Bins, Histogram
from tersor.observers._extremes import Extremes, Pair


@dataclass(slots=True)
class Counted:
    """A histogram and the extremes.

    Of a large activation a part of the values is counted, each for several; the extremes of each sample are exact, and
    are counted too so that tails are not missed.
    """

    extremes_suffice: ClassVar[bool] = False

    extremes: Extremes = field(default_factory=Extremes)
    histogram: Histogram = field(default_factory=Histogram)

    def observe(self, values: Array, extremes: Pair | None = None, stride: int = 1) -> None:
        """See the contract."""
        self.extremes.see(values, extremes)
        if values.size:
            self.histogram.add(values, stride)
        if extremes is not None and stride > 1:
            self.histogram.add(np.array(extremes, np.float32))

    def merge(self, other: Self) -> None:
        """See the contract."""
        self.extremes.merge(other.extremes)
        self.histogram.merge(other.histogram)

    @property
    def is_complete(self) -> bool:
        """Whether values were counted and all were finite."""
        return self.extremes.is_finite and self.histogram.is_finite and self.histogram.counts.size > 0

    def chosen_by(self, way: Callable[[Bins, float, float, DType], Pair], dtype: DType) -> Pair:
        """The range that a function chooses of what was counted, its extremes and the integer type.

        Where values were not counted, it is the extremes; where some were not finite, it is not either. Raises
        ValueError if nothing was observed.
        """
        low, high = self.extremes.bounds
        if self.is_complete:
            return way(self.histogram.bins(low, high), low, high, dtype)
        return (low, high) if self.histogram.is_finite else (-math.inf, math.inf)
