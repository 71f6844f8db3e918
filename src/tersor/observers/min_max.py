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
            self._widen(float(values.min()), float(values.max()))

    def merge(self, other: Observer) -> None:
        self._widen(other.low, other.high)

    def range(self) -> tuple[float, float]:
        if self.low == math.inf and self.high == -math.inf:
            raise ValueError("nothing was observed")
        return self.low, self.high

    def _widen(self, low: float, high: float) -> None:
        """Cover another range. A NaN compares false with everything and would vanish: once seen, it stays."""
        self.low = min(self.low, low) if not (math.isnan(self.low) or math.isnan(low)) else math.nan
        self.high = max(self.high, high) if not (math.isnan(self.high) or math.isnan(high)) else math.nan
