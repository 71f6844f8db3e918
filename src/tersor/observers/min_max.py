"""The smallest and the largest value ever seen.

No value of the calibration data is clipped. One outlier among the samples widens the range, and with it the rounding
error of all others. This is what the LiteRT converter does (`RepresentativeDataset`, min/max calibration).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tersor.ir.graph import Array


@dataclass(slots=True)
class Observer:
    """See the module; the contract is in `observers/_contract.py`."""

    extremes_suffice: ClassVar[bool] = True

    low: float = math.inf
    high: float = -math.inf

    def observe(self, values: Array) -> None:
        if values.size:
            low, high = float(values.min()), float(values.max())
            # A NaN compares false with everything and would vanish: it is kept, and found when the range is asked for.
            self.low = low if not low >= self.low else self.low
            self.high = high if not high <= self.high else self.high

    def merge(self, other: Observer) -> None:
        self.low = other.low if not other.low >= self.low else self.low
        self.high = other.high if not other.high <= self.high else self.high

    def range(self) -> tuple[float, float]:
        if self.low == math.inf and self.high == -math.inf:
            raise ValueError("nothing was observed")
        return self.low, self.high
