"""The extremes of each sample, as sums that any order of merging gives the same bits of.

The sums are integers in units of 2**-149, the smallest float32 (and its square), so that they are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

from tersor.ir.graph import Array

_QUANTUM_EXPONENT = 149
_QUANTA = 2.0**_QUANTUM_EXPONENT

Pair = tuple[float, float]
"""Of the low and of the high end."""


@dataclass(slots=True)
class Extremes:
    """What is known of the smallest and the largest value of samples.

    Attributes:
        low, high: over all samples; once a sample was not finite, at least one of them is not.
        samples: how many there were.
        sums: of the samples' smallest and of their largest values, over the samples that were finite.
        squares: likewise, of their squares.
    """

    low: float = math.inf
    high: float = -math.inf
    samples: int = 0
    sums: tuple[int, int] = (0, 0)
    squares: tuple[int, int] = (0, 0)

    def see(self, values: Array, extremes: Pair | None = None) -> None:
        """Take note of one sample: of its extremes where they are known, else of those of its values."""
        if extremes is not None:
            self.note(*extremes)
        elif values.size:
            self.note(float(values.min()), float(values.max()))

    def note(self, low: float, high: float) -> None:
        """Take note of one sample's extremes."""
        self._widen(low, high)
        self.samples += 1
        if math.isfinite(low) and math.isfinite(high):
            lower, upper = int(low * _QUANTA), int(high * _QUANTA)
            self.sums = self.sums[0] + lower, self.sums[1] + upper
            self.squares = self.squares[0] + lower * lower, self.squares[1] + upper * upper

    def merge(self, other: Extremes) -> None:
        """Take over what `other` has seen."""
        self._widen(other.low, other.high)
        self.samples += other.samples
        self.sums = self.sums[0] + other.sums[0], self.sums[1] + other.sums[1]
        self.squares = self.squares[0] + other.squares[0], self.squares[1] + other.squares[1]

    @property
    def bounds(self) -> Pair:
        """The smallest and the largest value of all. Raises ValueError if nothing was observed."""
        if not self.samples:
            raise ValueError("nothing was observed")
        return self.low, self.high

    @property
    def is_finite(self) -> bool:
        """Whether every value was finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def means(self) -> Pair:
        """The mean of the samples' smallest values and that of their largest; infinite if one was not finite."""
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high)):
            return -math.inf, math.inf
        unit = self.samples << _QUANTUM_EXPONENT
        return self.sums[0] / unit, self.sums[1] / unit

    @property
    def deviations(self) -> Pair:
        """Standard deviations of the samples' smallest and of their largest values (n - 1); 0 below two samples."""
        if self.samples < 2 or not self.is_finite:
            return 0.0, 0.0
        unit = (self.samples * (self.samples - 1)) << (2 * _QUANTUM_EXPONENT)
        low, high = (
            math.sqrt((self.samples * square - total**2) / unit)
            for total, square in zip(self.sums, self.squares, strict=True)
        )
        return low, high

    def _widen(self, low: float, high: float) -> None:
        """Cover another range. A NaN compares false with everything and would vanish: once seen, it stays."""
        if not self.low <= low:
            self.low = low if low < self.low else math.nan
        if not self.high >= high:
            self.high = high if high > self.high else math.nan


@dataclass(slots=True)
class ExtremesAlone:
    """What observers have in common that look at nothing else."""

    extremes_suffice: ClassVar[bool] = True

    extremes: Extremes = field(default_factory=Extremes)

    def observe(self, values: Array, extremes: Pair | None = None, stride: int = 1) -> None:
        """See the contract."""
        self.extremes.see(values, extremes)

    def merge(self, other: Self) -> None:
        """See the contract."""
        self.extremes.merge(other.extremes)
