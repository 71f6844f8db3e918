"""Several small integers in a byte, the first in the lowest bits (LiteRT's layout of int2 and int4 constants)."""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Tensor


def pack(values: Array, dtype: DType) -> Array:
    """Integers to bytes.

    Args:
        values: integers of any shape that fit `dtype`.
        dtype: a packed type (int2, int4, uint4).

    Returns:
        uint8 [ceil(values.size * bits / 8)].
    """
    bits = dtype.bits
    assert bits is not None
    per_byte = 8 // bits
    flat = values.reshape(-1).astype(np.int16) & ((1 << bits) - 1)
    flat = np.pad(flat, (0, -flat.size % per_byte)).reshape(-1, per_byte)
    shifts = np.arange(per_byte, dtype=np.int16) * bits
    return np.asarray(np.bitwise_or.reduce(flat << shifts, axis=1), np.uint8)


def unpack(packed: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Bytes to integers of shape `shape` (int8, or uint8 for unsigned types). Raises ValueError if they are too few."""
    bits = dtype.bits
    assert bits is not None
    per_byte = 8 // bits
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    fields = (packed.reshape(-1, 1) >> shifts) & np.uint8((1 << bits) - 1)
    count = int(np.prod(shape, dtype=np.int64))
    if fields.size < count:
        raise ValueError(f"{packed.size} bytes hold {fields.size} {dtype} values, not {count}")
    flat = fields.reshape(-1)[:count].astype(np.int16)
    if dtype.integer_range[0] < 0:
        flat = np.where(flat >= 1 << (bits - 1), flat - (1 << bits), flat)
    return flat.astype(dtype.numpy).reshape(shape)


def values_of(tensor: Tensor) -> Array:
    """The values of a dense constant with its shape, unpacked where packed. Raises ValueError for others."""
    if tensor.data is None or tensor.sparsity is not None or tensor.dtype.bits is None:
        raise ValueError(f"{tensor.name!r} is not a dense numeric constant")
    if tensor.dtype.is_packed:
        return unpack(tensor.data, tensor.dtype, tensor.shape)
    return tensor.data
