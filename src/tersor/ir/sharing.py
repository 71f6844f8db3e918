"""How networks share a device, and how devices share a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What a network, or a part of one, gets of a device's memory for parameters, in bytes.

    Attributes:
        parameters: that it has.
        cached: that stay on the device.
    """

    parameters: int
    cached: int

    @property
    def streamed(self) -> int:
        """Those that are sent in every run."""
        return self.parameters - self.cached


@dataclass(frozen=True, slots=True)
class Value:
    """What one segment hands to another, or to the program: a tensor's name, and its size."""

    name: str
    byte_size: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a network that has a device for itself.

    Attributes:
        first: index of its first operator.
        last: index of its last.
        mapped: indices of those that its device runs; the others stay on the CPU.
        share: what it takes of its device.
        reads: values that come from other segments, or from the program.
        writes: values that other segments, or the program, read.
    """

    first: int
    last: int
    mapped: tuple[int, ...]
    share: Share
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]

    @property
    def moved(self) -> int:
        """Bytes that travel to its device and back in one run."""
        return sum(value.byte_size for value in (*self.reads, *self.writes))
