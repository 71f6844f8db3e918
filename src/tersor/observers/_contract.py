"""What an observer is.

An observer watches the values one tensor takes over many samples and then names the range to quantize. It is a monoid:
observers of parts of the data merge into the observer of all of it, whatever the order, bit for bit, in memory that
does not grow with the number of samples. That is what lets calibration be spread over threads, processes and
machines.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.observers._extremes import Extremes, Pair


class Observer(Protocol):
    """The contract that every file of this folder fulfils with a class named `Observer`.

    Attributes:
        extremes_suffice: whether `observe` may be given just the smallest and the largest value of a sample.
    """

    extremes_suffice: ClassVar[bool]

    @property
    def extremes(self) -> Extremes:
        """The smallest and largest values of the samples."""

    def observe(self, values: Array, extremes: Pair | None = None, stride: int = 1) -> None:
        """Take note of the values of one sample.

        Args:
            values: float32 of any shape; may be a view that changes later.
            extremes: the smallest and largest value of the sample where `values` are a part of it; a part without any
                is for observers whose `extremes_suffice`.
            stride: how many values of the sample each of `values` stands for.
        """

    def merge(self, other: Self) -> None:
        """Take over what `other` has seen."""

    def range(self, dtype: DType) -> Pair:
        """The smallest and largest real number to represent by an integer type.

        int16 has scales without zero point; the others have one. A range that is not finite tells that a value was
        not. Raises ValueError if nothing was observed.
        """

    def method(self, dtype: DType) -> str:
        """The name of the observer whose way of choosing the range is."""
