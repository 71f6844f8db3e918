"""Element types of tensors, as LiteRT knows them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class DType(enum.Enum):
    """The element type of a tensor. The value is the name users read and write."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT64 = "float64"
    INT2 = "int2"
    INT4 = "int4"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT4 = "uint4"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT8_E4M3FN = "float8_e4m3fn"
    FLOAT8_E5M2 = "float8_e5m2"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"
    BOOL = "bool"
    STRING = "string"
    RESOURCE = "resource"
    VARIANT = "variant"

    def __str__(self) -> str:
        return self.value

    def __hash__(self) -> int:
        return id(self)  # each is there once; the one of Enum hashes a name by Python code

    @property
    def bits(self) -> int | None:
        """Bits of one element, or None where elements have no fixed size (strings, handles)."""
        return _BITS.get(self)

    @property
    def is_float(self) -> bool:
        """Whether values are real numbers in floating point of 16 bits or more."""
        return self in _FLOATS

    @property
    def is_packed(self) -> bool:
        """Whether several elements share a byte in a file (the low bits hold the first)."""
        return self.bits is not None and self.bits < 8

    @property
    def numpy(self) -> npt.DTypeLike:
        """The NumPy type that holds one element.

        Packed types unpack to int8/uint8; types that NumPy lacks are held as raw bytes (uint8 or uint16).
        """
        return _NUMPY[self]

    @property
    def integer_range(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type. Raises ValueError for the others."""
        found = _RANGES.get(self)
        if found is None:
            raise ValueError(f"{self} is not an integer type")
        return found

    def byte_size(self, elements: int) -> int | None:
        """Bytes that `elements` values take in a file or an arena, or None for types without a size."""
        return None if self.bits is None else (elements * self.bits + 7) // 8


_FLOATS = frozenset({DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64})

_BITS: dict[DType, int] = {
    DType.FLOAT32: 32,
    DType.FLOAT16: 16,
    DType.BFLOAT16: 16,
    DType.FLOAT64: 64,
    DType.INT2: 2,
    DType.INT4: 4,
    DType.INT8: 8,
    DType.INT16: 16,
    DType.INT32: 32,
    DType.INT64: 64,
    DType.UINT4: 4,
    DType.UINT8: 8,
    DType.UINT16: 16,
    DType.UINT32: 32,
    DType.UINT64: 64,
    DType.FLOAT8_E4M3FN: 8,
    DType.FLOAT8_E5M2: 8,
    DType.COMPLEX64: 64,
    DType.COMPLEX128: 128,
    DType.BOOL: 8,
}

_RANGES = {
    dtype: (0, (1 << bits) - 1) if dtype.value.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    for dtype, bits in _BITS.items()
    if "int" in dtype.value
}

_NUMPY: dict[DType, npt.DTypeLike] = {
    DType.FLOAT32: np.float32,
    DType.FLOAT16: np.float16,
    DType.BFLOAT16: np.uint16,
    DType.FLOAT64: np.float64,
    DType.INT2: np.int8,
    DType.INT4: np.int8,
    DType.INT8: np.int8,
    DType.INT16: np.int16,
    DType.INT32: np.int32,
    DType.INT64: np.int64,
    DType.UINT4: np.uint8,
    DType.UINT8: np.uint8,
    DType.UINT16: np.uint16,
    DType.UINT32: np.uint32,
    DType.UINT64: np.uint64,
    DType.FLOAT8_E4M3FN: np.uint8,
    DType.FLOAT8_E5M2: np.uint8,
    DType.COMPLEX64: np.complex64,
    DType.COMPLEX128: np.complex128,
    DType.BOOL: np.bool_,
    DType.STRING: np.uint8,
    DType.RESOURCE: np.uint8,
    DType.VARIANT: np.uint8,
}
