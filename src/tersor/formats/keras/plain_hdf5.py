"""HDF5 as Keras writes it, read without the HDF5 library.

The library opens one object after the other: for the thousands of arrays of a large network that takes longer than all
the rest of reading it.

Groups are symbol tables, arrays contiguous numbers. Of a file that has anything else, and of one that is damaged,
nothing is taken, and the library has the word.
Source: the HDF5 file format specification, version 3.0, of superblocks and object headers the first versions.
"""

from __future__ import annotations

import struct
from math import prod
from typing import NamedTuple

import numpy as np

from tersor.ir.graph import Array

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAD = struct.Struct("<8sB4xBB9xQ")
"""Superblock: signature, version, bytes of offsets and of lengths, base address."""

_ENTRY = struct.Struct("<QQI20x")
"""Of a symbol table: place of the name, object header, what is in the scratch pad."""

_PAIR = struct.Struct("<QQ")
_PREFIX = struct.Struct("<BxHII4x")
"""Of an object header: version, messages, references, bytes."""

_MESSAGE = struct.Struct("<HHB3x")
_HEAP = struct.Struct("<4sB3xQQQ")
_TREE = struct.Struct("<4sBBH16x8x")
"""Of a node: signature, type, level, entries; the keys are places of names, of which none is needed."""

_CHILD = struct.Struct("<Q8x")
_TABLE = struct.Struct("<4sBxH")

_DATASPACE, _DATATYPE, _EXTERNAL, _LAYOUT, _FILTERS = 0x01, 0x03, 0x07, 0x08, 0x0B
_CONTINUATION, _SYMBOLS = 0x10, 0x11
_SHARED = 2
_LINK = 2
"""What is in the scratch pad of a link; that of a group may be out of date."""

_SYMBOL_PLACE = 56
_CONTIGUOUS = (3, 1)
_DEEPEST = 64
_MOST_MESSAGES = 256
_OPTIMIZER = "optimizer"


class Stored(NamedTuple):
    """An array in the file.

    Attributes:
        shape: its sizes.
        dtype: its numbers.
        content: the file.
        place: where its first byte is; all of it lies in the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    content: memoryview
    place: int

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self) -> Array:
        """A copy of the values."""
        found: Array = np.frombuffer(self.content, self.dtype, prod(self.shape), self.place)
        return found.reshape(self.shape).copy()


class Group(dict[str, "Group | Stored"]):
    """What is in a group, by name."""

    @property
    def size(self) -> int:
        """Bytes of all arrays in it."""
        return sum(item.size for item in self.values())


class _OtherwiseError(Exception):
    """Something that Keras does not write."""


def read_plain(content: memoryview) -> Group | None:
    """The root of a file, without what it holds of an optimizer; None for what is not as Keras writes it."""
    try:
        return _Reader(content).root()
    except (_OtherwiseError, struct.error, ValueError, OverflowError):
        return None


class _Reader:
    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._groups: dict[int, Group | None] = {}
        self._seen: set[int] = set()

    def root(self) -> Group:
        if _HEAD.unpack_from(self._content) != (_SIGNATURE, 0, 8, 8, 0):
            raise _OtherwiseError
        found = self._object(_ENTRY.unpack_from(self._content, _SYMBOL_PLACE)[1], 0)
        if not isinstance(found, Group):
            raise _OtherwiseError
        return found

    def _group(self, tree: int, heap: int, depth: int) -> Group:
        if tree in self._groups:
            known = self._groups[tree]
            if known is None:
                raise _OtherwiseError  # it holds itself
            return known
        if depth > _DEEPEST:
            raise _OtherwiseError
        self._groups[tree] = None
        signature, version, size, _, names = _HEAP.unpack_from(self._content, heap)
        if signature != b"HEAP" or version:
            raise _OtherwiseError
        found = Group()
        text = bytes(self._content[names : names + size])
        for place, header, kept in self._entries(tree):
            name = text[place : text.index(0, place)].decode()
            if kept == _LINK:
                raise _OtherwiseError
            if depth or name != _OPTIMIZER:
                found[name] = self._object(header, depth + 1)
        self._groups[tree] = found
        return found

    def _entries(self, tree: int) -> list[tuple[int, int, int]]:
        """Of all symbol tables below a node: place of the name, object header, what is in the scratch pad."""
        nodes, found = [(tree, -1)], []
        while nodes:
            node, above = nodes.pop()
            self._see(node)
            signature, kind, level, count = _TREE.unpack_from(self._content, node)
            if signature != b"TREE" or kind or (above >= 0 and level >= above):
                raise _OtherwiseError
            first = node + _TREE.size
            children = [place for (place,) in _CHILD.iter_unpack(self._content[first : first + count * _CHILD.size])]
            if len(children) != count:
                raise _OtherwiseError
            if level:
                nodes += [(place, level) for place in reversed(children)]
                continue
            for table in children:
                found += self._symbols(table)
        return found

    def _symbols(self, table: int) -> list[tuple[int, int, int]]:
        self._see(table)
        signature, version, count = _TABLE.unpack_from(self._content, table)
        first = table + _TABLE.size
        found = list(_ENTRY.iter_unpack(self._content[first : first + count * _ENTRY.size]))
        if signature != b"SNOD" or version != 1 or len(found) != count:
            raise _OtherwiseError
        return found

    def _see(self, place: int) -> None:
        """Nodes and tables belong to one group, and are there once: else a small file could keep us busy for years."""
        if place in self._seen:
            raise _OtherwiseError
        self._seen.add(place)

    def _object(self, header: int, depth: int) -> Group | Stored:
        messages = self._messages(header)
        if _SYMBOLS in messages:
            tree, heap = _PAIR.unpack_from(messages[_SYMBOLS])
            return self._group(tree, heap, depth)
        if _EXTERNAL in messages or _FILTERS in messages:
            raise _OtherwiseError
        try:
            shape, dtype = _shape(messages[_DATASPACE]), _DTYPES[bytes(messages[_DATATYPE])]
            layout = messages[_LAYOUT]
        except KeyError:
            raise _OtherwiseError from None
        if tuple(layout[:2]) != _CONTIGUOUS:
            raise _OtherwiseError
        place, size = _PAIR.unpack_from(layout, 2)
        if size != prod(shape) * dtype.itemsize or place + size > len(self._content):
            raise _OtherwiseError
        return Stored(shape, dtype, self._content, place)

    def _messages(self, header: int) -> dict[int, memoryview]:
        """The messages of an object header by type, the last of each."""
        version, count, _, size = _PREFIX.unpack_from(self._content, header)
        if version != 1 or count > _MOST_MESSAGES:
            raise _OtherwiseError
        found: dict[int, memoryview] = {}
        blocks = [(header + _PREFIX.size, size)]
        while blocks and count:
            place, left = blocks.pop(0)
            while left >= _MESSAGE.size and count:
                kind, length, flags = _MESSAGE.unpack_from(self._content, place)
                body = self._content[place + _MESSAGE.size : place + _MESSAGE.size + length]
                if len(body) != length or length + _MESSAGE.size > left or flags & _SHARED:
                    raise _OtherwiseError
                if kind == _CONTINUATION:
                    blocks.append(_PAIR.unpack_from(body))
                else:
                    found[kind] = body
                place, left, count = place + _MESSAGE.size + length, left - _MESSAGE.size - length, count - 1
        return found


def _shape(message: memoryview) -> tuple[int, ...]:
    version, rank, flags = message[:3]
    if version != 1 or flags & ~1 or rank > np.iinfo(np.uint8).max:
        raise _OtherwiseError
    return struct.unpack_from(f"<{rank}Q", message, 8)


def _padded(body: bytes) -> bytes:
    return body + bytes(-len(body) % 8)


def _integer(size: int, *, signed: bool) -> bytes:
    """How a little-endian integer is described: class 0 of version 1."""
    return _padded(struct.pack("<BBxxIHH", 0x10, 8 * signed, size, 0, 8 * size))


def _real(size: int, sign: int, exponent: tuple[int, int], mantissa: int, bias: int) -> bytes:
    """How a little-endian number of IEEE 754 is described: class 1 of version 1."""
    parts = (0x11, 0x20, sign, size, 0, 8 * size, *exponent, 0, mantissa, bias)
    return _padded(struct.pack("<BBBxIHHBBBBI", *parts))


_DTYPES: dict[bytes, np.dtype[np.generic]] = {
    **{_integer(n, signed=True): np.dtype(f"<i{n}") for n in (1, 2, 4, 8)},
    **{_integer(n, signed=False): np.dtype(f"<u{n}") for n in (1, 2, 4, 8)},
    _real(2, 15, (10, 5), 10, 15): np.dtype("<f2"),
    _real(4, 31, (23, 8), 23, 127): np.dtype("<f4"),
    _real(8, 63, (52, 11), 52, 1023): np.dtype("<f8"),
}
"""By the description in the file."""
