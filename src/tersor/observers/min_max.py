"""The smallest and the largest value ever seen.

No value of the calibration data is clipped. One outlier among the samples widens the range, and with it the rounding
error of all others. This is what the LiteRT converter does (`RepresentativeDataset`, min/max calibration).
"""

from __future__ import annotations

from tersor.ir.dtypes import DType
from tersor.observers._extremes import ExtremesAlone, Pair


class Observer(ExtremesAlone):
    """See the module; the contract is in `observers/_contract.py`."""

    __slots__ = ()

    def range(self, dtype: DType) -> Pair:
        return self.extremes.bounds

    def method(self, dtype: DType) -> str:
        return "min_max"
