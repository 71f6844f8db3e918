"""The smallest and the largest value ever seen.

No value of the calibration data is clipped. One outlier among the samples widens the range, and with it the rounding
error of all others. This is what the LiteRT converter does (`RepresentativeDataset`, min/max calibration).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.observers._extremes import Extremes, Pair


@dataclass(slots=True)
class Observer:
    """See the module; the contract is in `observers/_contract.py`."""

    extremes_suffice: ClassVar[bool] = True

    extremes: Extremes = field(default_factory=Extremes)

    def observe(self, values: Array, extremes: Pair | None = None, stride: int = 1) -> None:
        self.extremes.see(values, extremes)

    def merge(self, other: Observer) -> None:
        self.extremes.merge(other.extremes)

    def range(self, dtype: DType) -> Pair:
        return self.extremes.bounds

    def method(self, dtype: DType) -> str:
        return "min_max"
