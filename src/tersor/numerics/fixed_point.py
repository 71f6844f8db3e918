"""Fixed-point arithmetic of integer kernels, on arrays: multipliers and shifts; `fixed_functions` is made of them.

A real factor is kept as an integer multiplier of 31 bits and a power of two: ``real = multiplier / 2**31 * 2**shift``.
Kernels multiply by it in ways that differ in how they round: `rescale_twice`, `rescale_up`,
`rescale_wide`.
Sources are named as files of LiteRT's `tflite/kernels/internal` unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = np.ndarray

_ONE = 1 << 31
_LARGEST = _ONE - 1


@dataclass(frozen=True)
class Multiplier:
    """A real factor, or one per channel.

    Attributes:
        value: the mantissa, 0 or 2**30 <= value < 2**31; int64.
        shift: the exponent; int64, of the same shape.
    """

    value: Array
    shift: Array


def quantize_multiplier(real: float | np.floating[Any] | Array) -> Multiplier:
    """The multiplier nearest to a factor; below 2**-32 it is 0 (`QuantizeMultiplier`, `quantization_util.cc`)."""
    mantissa, shift = np.frexp(np.asarray(real, np.float64))
    value = round_away(mantissa * _ONE).astype(np.int64)
    shift = shift.astype(np.int64) + (value == _ONE)
    value = np.where(value == _ONE, value // 2, value)
    lost = (shift < -31) | (value == 0)
    return Multiplier(np.where(lost, 0, value), np.where(lost, 0, shift))


def round_away(values: Array | np.floating[Any]) -> Array:
    """To the nearest integer, halves away from zero: C's `round`, in the type of `values`."""
    whole: Array = np.asarray(np.trunc(values))
    found: Array = whole + np.where(np.abs(values - whole) >= 0.5, np.sign(values), 0).astype(whole.dtype)
    return found


def wrap(values: Array) -> Array:
    """What 32 bits keep of an integer, as int64."""
    return values.astype(np.int32).astype(np.int64)


def doubling_high_product(values: Array, factor: Array | int) -> Array:
    """``values * factor / 2**31``, halves up, saturated (`SaturatingRoundingDoublingHighMul`, gemmlowp `fixedpoint.h`).

    Halves go up for negative products too: the nudge there is 1 - 2**30, and the division truncates.
    """
    product: Array = values * factor + (1 << 30)
    found: Array = np.minimum(product >> 31, _LARGEST)
    return found


def divide_by_power(values: Array | np.int64, exponent: Array | int) -> Array:
    """``values / 2**exponent``, halves away from zero (`RoundingDivideByPOT`, gemmlowp `fixedpoint.h`)."""
    half = (np.left_shift(np.int64(1), exponent)) >> 1
    found: Array = (values + half - ((values < 0) & (half > 0))) >> exponent
    return found


def rescale_twice(values: Array, by: Multiplier) -> Array:
    """Multiply 32-bit integers, rounding after the product and after the shift (`common.cc`, double rounding).

    What does not fit 32 bits after a shift to the left wraps, as it does there.
    """
    left, right = np.maximum(by.shift, 0), np.maximum(-by.shift, 0)
    shifted = wrap(values << left) if np.any(left) else values
    return divide_by_power(doubling_high_product(shifted, by.value), right)


def rescale_up(values: Array, by: Multiplier) -> Array:
    """Multiply 32-bit integers, rounding after the product and after the shift, halves up both times.

    What ruy's kernels and the vectorized ones of `optimized_ops.h` do, measured on x86-64.
    """
    left, right = np.maximum(by.shift, 0), np.maximum(-by.shift, 0)
    shifted = wrap(values << left) if np.any(left) else values
    half = np.left_shift(np.int64(1), right) >> 1
    found: Array = (doubling_high_product(shifted, by.value) + half) >> right
    return found


def rescale_in_vectors(values: Array, by: Multiplier, lanes: int) -> Array:
    """`rescale_up` for as many groups of `lanes` as there are along the last axis, `rescale_twice` for what is left."""
    size = values.shape[-1]
    if size % lanes == 0:
        return rescale_up(values, by)
    return np.where(np.arange(size) < size // lanes * lanes, rescale_up(values, by), rescale_twice(values, by))


def rescale_wide(values: Array, by: Multiplier) -> Array:
    """Multiply integers of up to 48 bits by a multiplier cut to 15 bits, halves up (`common.cc`, the int64 form)."""
    reduced = np.where(by.value < 0x7FFF0000, (by.value + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - by.shift
    found: Array = (values * reduced + np.left_shift(np.int64(1), total - 1)) >> total
    return found
