"""What tells samples apart by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tersor.ir.graph import Array

_SIZE = 16
"""Bytes of a digest: enough that two samples do not share one by chance."""

_GLANCE = 4096
"""Bytes of a sketch: from the middle, where neither headers nor borders are."""


def digest_of_file(path: Path) -> bytes:
    """Of all bytes of a file; of one that cannot be read, of its name."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_SIZE)).digest()
    except OSError:
        return hashlib.blake2b(str(path).encode(), digest_size=_SIZE).digest()


def digest_of_arrays(arrays: list[Array]) -> bytes:
    """Of all values, their shapes and their types."""
    total = hashlib.blake2b(digest_size=_SIZE)
    for values in arrays:
        total.update(f"{values.dtype}{values.shape}".encode())
        total.update(np.ascontiguousarray(values).data)
    return total.digest()


def sketch_of_file(path: Path) -> bytes:
    """Some bytes of a file: files of the same content have the same. Of one that cannot be read, its name."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _GLANCE, 0) // 2)
            return size.to_bytes(8, "little") + file.read(_GLANCE)
    except OSError:
        return str(path).encode()


def sketch_of_arrays(arrays: Iterable[Array]) -> bytes:
    """Some bytes of arrays: those of the same content have the same."""
    return b"".join(_middle(np.asarray(values)) for values in arrays)


def middle(size: int, itemsize: int) -> tuple[int, int]:
    """Where a sketch of so many values begins, and how many it takes."""
    count = min(max(_GLANCE // max(itemsize, 1), 1), size)
    return (size - count) // 2, count


def _middle(values: Array) -> bytes:
    start, count = middle(values.size, values.itemsize)
    return values.reshape(-1)[start : start + count].tobytes()
