"""What the Edge TPU compiler put into a custom operator: sizes of parameters and scratch, and its runtime version.

The operator's options are a map in which one string is a flatbuffer with the identifier `DWN1`, a package; inside it
lies another one with the executables. All offsets are checked against the bytes that are there.
Source of the layout: libedgetpu, `executable/executable.fbs` (tables `Package`, `MultiExecutable`, `Executable`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tersor.errors import FormatError

OPERATOR = "edgetpu-custom-op"
_MARK = b"DWN1"

_RUNTIME, _MULTI = 0, 1
_SERIALIZED = 0
_SCRATCH, _PARAMETERS, _TYPE = 4, 6, 13
_CACHING = 1
_MOST = 64
"""Executables of a package: there are two, or one per piece."""


@dataclass(frozen=True)
class Package:
    """What was compiled, in bytes.

    Attributes:
        runtime: the least runtime version that runs it.
        cached: parameters that are sent once and stay on the chip.
        streamed: parameters that are sent in every run.
        scratch: memory of the host that a run needs besides.
    """

    runtime: int
    cached: int
    streamed: int
    scratch: int


def read_package(options: bytes) -> Package:
    """Sizes of what an `edgetpu-custom-op` holds. Raises FormatError if it is not such a package, or damaged."""
    begin = options.find(_MARK) - 4
    if begin < 0:
        raise FormatError(f"{OPERATOR} holds no package of the Edge TPU compiler ({_MARK.decode()} is missing)")
    try:
        package = _Table(options[begin:])
        executables = _Table(package.content(_MULTI)).contents(_SERIALIZED)
        sizes = [(item.number("<h", _TYPE), len(item.content(_PARAMETERS))) for item in map(_Table, executables)]
        scratch = max((item.number("<i", _SCRATCH) for item in map(_Table, executables)), default=0)
        runtime = package.number("<i", _RUNTIME)
    except (struct.error, ValueError) as error:
        raise FormatError(f"{OPERATOR} is damaged: {error}") from error
    cached = sum(size for kind, size in sizes if kind == _CACHING)
    return Package(runtime, cached, sum(size for _, size in sizes) - cached, scratch)


class _Table:
    """The root table of a flatbuffer, whose fields are read by their numbers."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = self._read("<I", 0)

    def number(self, form: str, field: int) -> int:
        """A number; 0 where it is absent."""
        place = self._field(field)
        return 0 if place is None else self._read(form, place)

    def content(self, field: int) -> bytes:
        """A vector of bytes; empty where it is absent."""
        place = self._field(field)
        return b"" if place is None else self._vector(place)

    def contents(self, field: int) -> list[bytes]:
        """A vector of strings."""
        place = self._field(field)
        if place is None:
            return []
        begin = place + self._read("<I", place)
        count = self._read("<I", begin)
        if count > _MOST:
            raise ValueError(f"{count} executables")
        return [self._vector(begin + 4 + 4 * index) for index in range(count)]

    def _vector(self, place: int) -> bytes:
        begin = place + self._read("<I", place)
        size = self._read("<I", begin)
        if begin + 4 + size > len(self._content):
            raise ValueError(f"{size} bytes are announced where {len(self._content) - begin - 4} lie")
        return self._content[begin + 4 : begin + 4 + size]

    def _field(self, number: int) -> int | None:
        slots = self._place - self._read("<i", self._place)
        if 4 + 2 * number + 2 > self._read("<H", slots):
            return None
        offset = self._read("<H", slots + 4 + 2 * number)
        return self._place + offset if offset else None

    def _read(self, form: str, place: int) -> int:
        if place < 0:
            raise ValueError("an offset leads out of it")
        return int(struct.unpack_from(form, self._content, place)[0])
