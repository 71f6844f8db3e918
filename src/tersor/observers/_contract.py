"""What an observer is.

An observer watches the values one tensor takes over many samples and then names the range to quantize. It is a monoid:
observers of parts of the data merge into the observer of all of it, whatever the order, bit for bit, in memory that
does not grow with the number of samples. That is what lets calibration be spread over threads, processes and
machines.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

from tersor.ir.graph import Array


class Observer(Protocol):
    """The contract that every file of this folder fulfils with a class named `Observer`.

    Attributes:
        extremes_suffice: whether `observe` may be given just the smallest and the largest value of a sample.
    """

    extremes_suffice: ClassVar[bool]

    def observe(self, values: Array) -> None:
        """Take note of the values of one sample (float32, any shape). `values` may be a view that changes later."""

    def merge(self, other: Self) -> None:
        """Take over what `other` has seen."""

    def range(self) -> tuple[float, float]:
        """The smallest and largest real number to represent. Raises ValueError if nothing was observed."""
