"""Samples one at a time from a ``.npy`` file, none of them kept: a mapped file would count in the peers' memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def stream(path: Path) -> Iterator[Any]:
    """Each sample with a batch dimension of 1."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        (count, *shape), _, dtype = np.lib.format.read_array_header_1_0(file)
        for _ in range(count):
            yield np.fromfile(file, dtype, int(np.prod(shape))).reshape(1, *shape)
