"""Of the ranges of min_max, percentile, entropy and mse, the one with the smallest error on other samples.

The samples are dealt into two halves, each by a checksum of its values, so that neither order nor threads matter. A way
of choosing a range is tried on each half and its expected squared error measured on the other; the best of them then
chooses from all samples. So clipping has to pay on samples that the range was not made for: with few samples the
extremes are kept. The error is that of the tensor itself, see `mse`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.clipping import least_divergence_range, least_error_range, quantile_range, quantization_error
from tersor.numerics.histogram import Bins
from tersor.observers._counted import Counted
from tersor.observers._extremes import Extremes, Pair
from tersor.observers.percentile import OUTSIDE

_Way = Callable[[Bins, float, float, DType], Pair]

_WAYS: dict[str, _Way] = {
    "min_max": lambda bins, low, high, dtype: (low, high),
    "percentile": lambda bins, low, high, dtype: quantile_range(bins, low, high, OUTSIDE),
    "entropy": least_divergence_range,
    "mse": least_error_range,
}


@dataclass(slots=True)
class Observer:
    """See the module; the contract is in `observers/_contract.py`."""

    extremes_suffice: ClassVar[bool] = False

    halves: tuple[Counted, Counted] = field(default_factory=lambda: (Counted(), Counted()))
    _chosen: dict[DType, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def extremes(self) -> Extremes:
        """Of both halves."""
        both = Extremes()
        for half in self.halves:
            both.merge(half.extremes)
        return both

    def observe(self, values: Array, extremes: Pair | None = None, stride: int = 1) -> None:
        self._chosen.clear()
        self.halves[zlib.crc32(values.tobytes()) & 1].observe(values, extremes, stride)

    def merge(self, other: Observer) -> None:
        self._chosen.clear()
        for own, others in zip(self.halves, other.halves, strict=True):
            own.merge(others)

    def range(self, dtype: DType) -> Pair:
        return self._whole().chosen_by(_WAYS[self.method(dtype)], dtype)

    def method(self, dtype: DType) -> str:
        if not all(half.is_complete for half in self.halves):
            return "min_max"
        if dtype not in self._chosen:
            halves = [(half.histogram.bins(*half.extremes.bounds), *half.extremes.bounds) for half in self.halves]
            errors = {name: _error(way, halves, dtype) for name, way in _WAYS.items()}
            self._chosen[dtype] = min(errors, key=lambda name: errors[name])
        return self._chosen[dtype]

    def _whole(self) -> Counted:
        whole = Counted()
        for half in self.halves:
            whole.merge(half)
        return whole


def _error(way: _Way, halves: Sequence[tuple[Bins, float, float]], dtype: DType) -> float:
    """What ranges chosen on one half cost on the other; halves are what was counted and the extremes."""
    total = 0.0
    for half, (others, _, _) in (halves, halves[::-1]):
        low, high = way(*half, dtype)
        low, high = min(low, 0.0), max(high, 0.0)
        if dtype is DType.INT16:
            low, high = -max(high, -low), max(high, -low)
        total += float(quantization_error(others, np.array([low]), np.array([high]), dtype)[0])
    return total
