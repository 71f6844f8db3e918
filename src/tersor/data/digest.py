"""What tells samples apart by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tersor.ir.graph import Array

_SIZE = 16
"""Bytes of a digest: enough that two samples do not share one by chance."""


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
