"""The range that all but one in ten thousand values lie in, half of them on either side.

Clips rare outliers and nothing else: with fewer than 20,000 values nothing is clipped, nor with the 65,536 levels of
int16, where finer steps buy nothing. 99.99 % is the percentile that Wu et al. 2020 (arXiv 2004.09602, section 5) found
to hold for most networks; networks whose largest values carry the answer lose by it.
"""

from __future__ import annotations

from tersor.ir.dtypes import DType
from tersor.numerics.clipping import quantile_range
from tersor.numerics.histogram import Bins
from tersor.observers._counted import Counted
from tersor.observers._extremes import Pair

OUTSIDE = 1e-4


def _choose(bins: Bins, low: float, high: float, dtype: DType) -> Pair:
    return (low, high) if dtype is DType.INT16 else quantile_range(bins, low, high, OUTSIDE)


class Observer(Counted):
    """See the module; the contract is in `observers/_contract.py`."""

    __slots__ = ()

    def range(self, dtype: DType) -> Pair:
        return self.chosen_by(_choose, dtype)

    def method(self, dtype: DType) -> str:
        return "percentile"
