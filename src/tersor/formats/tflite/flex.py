"""Operators that TensorFlow computes inside a LiteRT model (Flex, or Select TensorFlow operators).

Such an operator is a custom one whose code begins with "Flex". What is computed says not the code but the options: a
flexbuffer with a name and a serialized `NodeDef`, whose field 2 names the operator
(`tensorflow/lite/delegates/flex/kernel.cc`, `tensorflow/core/framework/node_def.proto`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tersor.errors import FormatError
from tersor.ir.graph import Op

PREFIX = "Flex"
"""How the code of such an operator begins."""

_OP_FIELD = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types of Protocol Buffers."""


def is_tensorflow_op(op: Op) -> bool:
    """Whether TensorFlow computes it."""
    return op.kind == "CUSTOM" and (op.custom_code or "").startswith(PREFIX)


def tensorflow_kinds(op: Op) -> tuple[str, ...]:
    """The names of the TensorFlow operators that an operator's options, and its code, name: one, if nobody meddled.

    Raises FormatError for options that cannot be read.
    """
    from flatbuffers import flexbuffers  # for the few models that have such operators

    named = (op.custom_code or "").removeprefix(PREFIX)
    try:
        parts = flexbuffers.GetRoot(bytearray(op.custom_options or b"")).AsVector
        inside = [value.decode() for number, value in _fields(bytes(parts[1].AsStringBytes)) if number == _OP_FIELD]
    except Exception as error:  # a hostile buffer makes the library raise whatever it comes upon
        raise FormatError(f"operator {op.name!r} ({op.custom_code}): its options are damaged") from error
    return tuple(dict.fromkeys((named, *inside)))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message: number and, of those with a length, the content."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            _, place = _varint(message, place)
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _BYTES:
            size, place = _varint(message, place)
        if size is None or place + size > len(message):
            raise ValueError("not a message")
        yield number, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not byte & 0x80:
            return value, place
