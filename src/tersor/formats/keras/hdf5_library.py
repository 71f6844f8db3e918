"""HDF5 files by the HDF5 library: `.h5` files, and whatever `plain_hdf5` leaves alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from tersor.errors import FormatError
from tersor.ir.graph import Array

_EXPANSION_LIMIT = 200
_SMALL = 1 << 20

_OPTIMIZER = ("optimizer", "optimizer_weights")
"""What Keras 3 and Keras 2 call the group with the state of an optimizer."""


@dataclass(frozen=True)
class Opened:
    """An array, as `plain_hdf5.Stored` is one."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    dataset: Any

    def read(self) -> Array:
        """The values."""
        values: Array = np.zeros(self.shape, self.dtype)
        if values.size:
            self.dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return values


def open_array(where: str, name: str, dataset: Any) -> Opened:
    """What a member of a group is, if it is an array of this file. Raises FormatError that names layer and array."""
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{where}: the file has no array for {name}")
    stored = dataset.id  # without h5py's layer above it, which takes twice as long for small arrays
    created, shape, dtype = stored.get_create_plist(), stored.shape, stored.dtype
    if created.get_layout() == h5py.h5d.VIRTUAL or created.get_external_count():
        raise FormatError(f"{where}: {name} lies in another file: not followed")
    size = math.prod(shape or ()) * dtype.itemsize
    if size > max(_SMALL, _EXPANSION_LIMIT * stored.get_storage_size()):
        raise FormatError(f"{where}: {name} claims {size:,} bytes that the file does not hold")
    return Opened(shape, dtype, stored)


def member_of(group: Any, path: str) -> Any:
    """A member of a group, or None. Links to other files are not followed: a model file cannot read the disk."""
    for step in path.split("/"):
        if not isinstance(group, h5py.Group) or step in ("", ".", ".."):
            return None
        links, name = group.id.links, step.encode()  # `Group.get` opens what a link leads to before it tells its kind
        if not links.exists(name):
            return None
        if links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise FormatError(f"the weights contain a link at {group.name}/{step}: links are not followed")
        group = group[step]
    return group


def weights_size(file: Any, whole: int) -> int:
    """Bytes of the weights in a file of so many, without an optimizer's."""
    return whole - sum(_size(member_of(file, name)) for name in _OPTIMIZER)


def _size(group: Any) -> int:
    found = [0]
    if isinstance(group, h5py.Group):
        group.visititems(lambda _, item: found.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    return sum(found)
