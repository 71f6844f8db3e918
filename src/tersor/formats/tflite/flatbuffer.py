"""Flatbuffers whose schema is a table in this package: read with bounds checked, and written.

The metadata of a model are flatbuffers of their own, small, and from anywhere: what an offset or a length claims is
checked against the bytes that are there before anything is made of it.
Source: the FlatBuffers binary format (flatbuffers.dev, "FlatBuffer Internals").
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types

from tersor.errors import FormatError
from tersor.formats.tflite.schema import raw, text
from tersor.ir.graph import Record

_SCALARS: Mapping[str, tuple[str, Any]] = {
    "bool": ("<?", number_types.BoolFlags),
    "int8": ("<b", number_types.Int8Flags),
    "uint8": ("<B", number_types.Uint8Flags),
    "int16": ("<h", number_types.Int16Flags),
    "uint16": ("<H", number_types.Uint16Flags),
    "int32": ("<i", number_types.Int32Flags),
    "uint32": ("<I", number_types.Uint32Flags),
    "int64": ("<q", number_types.Int64Flags),
    "uint64": ("<Q", number_types.Uint64Flags),
    "float32": ("<f", number_types.Float32Flags),
    "float64": ("<d", number_types.Float64Flags),
}
"""For each type of number how it lies in the bytes, and what the library calls it."""

_ALIGNMENT = 16
"""Bytes to which byte vectors are aligned: what the strictest of them (`CustomMetadata.data`) asks for."""

_DEEPEST = 64
"""Tables within tables."""

_SPENT_PER_BYTE = 8
"""Parts may be shared, so that more is read than lies there, but not without end."""


@dataclass(frozen=True)
class Schema:
    """What a flatbuffer consists of.

    Attributes:
        root: the table that is the whole.
        tables: for each table its fields in order, with their types: a number's name as in `_SCALARS`, "string", the
            name of a table or a union, or one of these in brackets, a vector.
        unions: for each union its tables, in the order of their codes from 1 on.
        identifier: the four bytes that mark a file, or none.
    """

    root: str
    tables: Mapping[str, Mapping[str, str]]
    unions: Mapping[str, tuple[str, ...]]
    identifier: bytes = b""


@dataclass(frozen=True)
class Content:
    """What was read: the root, and whether all of it was understood (else it must not be written again)."""

    root: Record
    is_whole: bool


def decode(content: bytes, schema: Schema, what: str, cure: str = "") -> Content:
    """Read a flatbuffer: fields that are absent are absent in the records.

    Raises FormatError, naming `what` it is and what to do.
    """
    if schema.identifier and content[4:8] != schema.identifier:
        raise FormatError(f"{what} is damaged: it does not begin as {schema.identifier.decode()} data do{cure}")
    reader = _Reader(content, schema)
    try:
        root = reader.table(reader.offset(0), schema.root, 0)
    except (struct.error, ValueError) as error:
        raise FormatError(f"{what} is damaged: {error}{cure}") from error
    return Content(root, reader.is_whole)


def cure(name: str) -> str:
    """What to do about damaged metadata of that name."""
    return f"; 'tersor params MODEL remove {name}' takes all of it out"


def encode(root: Record, schema: Schema) -> bytes:
    """The bytes of a flatbuffer."""
    builder = flatbuffers.Builder(1024)
    builder.ForceDefaults(True)  # what is said is said, also where a reader would assume it; and -0.0 is not 0.0
    place = _written(builder, root, schema)
    builder.Finish(place, schema.identifier or None)
    return bytes(builder.Output())


class _Reader:
    def __init__(self, content: bytes, schema: Schema) -> None:
        self._content = content
        self._schema = schema
        self._left = _SPENT_PER_BYTE * len(content) + 4096
        self.is_whole = True

    def offset(self, place: int) -> int:
        """Where the offset at `place` leads."""
        return place + int(self._number("<I", place))

    def table(self, place: int, name: str, depth: int) -> Record:
        if depth > _DEEPEST:
            raise ValueError(f"tables lie more than {_DEEPEST} deep")
        self._spend(4)
        slots = self._slots(place)
        fields: list[tuple[str, Any]] = []
        number = 0
        for field, kind in self._schema.tables[name].items():
            here = slots[number] if number < len(slots) else 0
            if kind in self._schema.unions:
                code = int(self._number("<B", place + here)) if here else 0
                number += 1
                here = slots[number] if number < len(slots) else 0
                value = self._member(kind, code, place + here, depth) if here else None
            else:
                value = self._value(kind, place + here, depth) if here else None
            number += 1
            if value is not None:
                fields.append((field, value))
        if any(slots[number:]):
            self.is_whole = False  # a later schema has more fields
        return Record(name, tuple(fields))

    def _slots(self, place: int) -> tuple[int, ...]:
        """For each field where it lies, from the beginning of its table; 0 for none."""
        start = place - int(self._number("<i", place))
        size = int(self._number("<H", start))
        if size < 4 or size % 2:
            raise ValueError(f"a table's index has {size} bytes")
        return tuple(int(self._number("<H", start + 4 + 2 * number)) for number in range((size - 4) // 2))

    def _member(self, union: str, code: int, place: int, depth: int) -> Record | None:
        members = self._schema.unions[union]
        if not 1 <= code <= len(members):
            self.is_whole = self.is_whole and code == 0
            return None
        return self.table(self.offset(place), members[code - 1], depth + 1)

    def _value(self, kind: str, place: int, depth: int) -> Any:
        if kind.startswith("["):
            return self._vector(kind[1:-1], self.offset(place), depth)
        if kind in _SCALARS:
            return self._number(_SCALARS[kind][0], place)
        if kind == "string":
            return text(self._bytes(self.offset(place), 1))
        return self.table(self.offset(place), kind, depth + 1)

    def _vector(self, kind: str, place: int, depth: int) -> Any:
        if kind == "uint8":
            return self._bytes(place, 1)
        if kind in _SCALARS:
            layout = _SCALARS[kind][0]
            size = struct.calcsize(layout)
            return struct.unpack(f"<{self._length(place, size)}{layout[1]}", self._bytes(place, size))
        count = self._length(place, 4)
        self._spend(4 * count)
        return tuple(self._value(kind, place + 4 + 4 * number, depth) for number in range(count))

    def _length(self, place: int, size: int) -> int:
        count = int(self._number("<I", place))
        if count * size > len(self._content) - place - 4:
            raise ValueError(f"a list claims {count} elements where {len(self._content) - place - 4} bytes are left")
        return count

    def _bytes(self, place: int, size: int) -> bytes:
        length = self._length(place, size) * size
        self._spend(length)
        return self._content[place + 4 : place + 4 + length]

    def _number(self, layout: str, place: int) -> Any:
        if place < 0:
            raise ValueError("an offset leads out of it")
        (number,) = struct.unpack_from(layout, self._content, place)
        return number

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ValueError("it refers to the same parts again and again")


def _written(builder: Any, record: Record, schema: Schema) -> int:
    """Write a table, its parts first; where it lies."""
    slots: list[tuple[Any, int, Any]] = []
    number = 0
    for field, kind in schema.tables[record.type].items():
        value = record.get(field)
        if kind in schema.unions:
            if value is not None:
                slots.append((number_types.Uint8Flags, number, schema.unions[kind].index(value.type) + 1))
            number += 1
        if value is not None:
            flags = _SCALARS[kind][1] if kind in _SCALARS else None
            slots.append((flags, number, value if flags else _part(builder, kind, value, schema)))
        number += 1
    builder.StartObject(number)
    for flags, place, value in slots:
        if flags is None:
            builder.PrependUOffsetTRelativeSlot(place, value, 0)
        else:
            builder.PrependSlot(flags, place, value, 0)
    return int(builder.EndObject())


def _part(builder: Any, kind: str, value: Any, schema: Schema) -> int:
    """Write what a table refers to; where it lies."""
    if kind == "string":
        return int(builder.CreateString(raw(value)))
    if not kind.startswith("["):
        return _written(builder, value, schema)
    element = kind[1:-1]
    if element in _SCALARS:
        numbers = np.frombuffer(value, np.uint8) if element == "uint8" else np.array(value, element)
        builder.StartVector(numbers.itemsize, len(numbers), _ALIGNMENT if element == "uint8" else numbers.itemsize)
        builder.head -= numbers.nbytes
        builder.Bytes[builder.head : builder.head + numbers.nbytes] = numbers.tobytes()
        builder.vectorNumElems = len(numbers)
        return int(builder.EndVector())
    places = [_part(builder, element, item, schema) for item in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())
