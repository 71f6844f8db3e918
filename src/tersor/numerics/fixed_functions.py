"""Functions in the fixed-point arithmetic of integer kernels: exponential, reciprocal, root, logarithm, and their kin.

Each is the polynomial, the Newton steps and the constants of its source, in which every rounding counts. Sources are
named as files of LiteRT's `tflite/kernels/internal` unless said otherwise; `fixed_point` is the arithmetic itself.
"""

from __future__ import annotations

import numpy as np

from tersor.numerics.fixed_point import Array, Multiplier, divide_by_power, doubling_high_product, wrap

_ONE = 1 << 31
_LARGEST = _ONE - 1


def exp_on_negative(values: Array, integer_bits: int = 5, bits: int = 32) -> Array:
    """Exp of numbers <= 0, without integer bits.

    A polynomial on (-1/4, 0] around -1/8, times a constant for each further bit (`exp_on_negative_values`, gemmlowp
    `fixedpoint.h`).

    Args:
        values: numbers with `integer_bits` integer bits, the other ones of `bits` - 1 fractional.
        integer_bits: at most 5, of 16 bits at most 7.
        bits: 32 or 16, of arguments and result.
    """
    quarter = 1 << (bits - 3 - integer_bits)
    low = (values & (quarter - 1)) - quarter
    result = _exp_near_zero(low << integer_bits, bits)
    remainder = low - values
    for bit, factor in enumerate(_EXP_OF_BITS[: integer_bits + 2]):
        smaller = _product(result, _constant(factor, bits), bits)
        result = np.where(remainder & (quarter << bit), smaller, result)
    if integer_bits > 5:
        result = np.where(values < -(1 << (bits + 4 - integer_bits)), 0, result)
    return np.where(values == 0, (1 << (bits - 1)) - 1, result)


_EXP_OF_BITS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-1/4), exp(-1/2), exp(-1), ... exp(-16) times 2**31."""

_EXP_OF_EIGHTH = 1895147668
"""exp(-1/8) times 2**31."""

_THIRD = 715827883
"""1/3 times 2**31."""


def _product(values: Array, factor: Array | np.int64, bits: int) -> Array:
    """`doubling_high_product` of integers of `bits`."""
    found: Array = np.minimum((values * factor + (1 << (bits - 2))) >> (bits - 1), (1 << (bits - 1)) - 1)
    return found


def _constant(value: int, bits: int) -> np.int64:
    return np.int64(divide_by_power(np.asarray(value, np.int64), 32 - bits))


def _exp_near_zero(values: Array, bits: int) -> Array:
    """Exp on [-1/4, 0), all without integer bits: four terms of the series around -1/8."""
    x = values + (1 << (bits - 4))
    square = _product(x, x, bits)
    cube, fourth = _product(square, x, bits), _product(square, square, bits)
    higher = _product(divide_by_power(fourth, 2) + cube, _constant(_THIRD, bits), bits)
    start = _constant(_EXP_OF_EIGHTH, bits)
    return _saturate(start + _product(x + divide_by_power(higher + square, 1), start, bits), bits)


def reciprocal(values: Array, integer_bits: int) -> tuple[Array, Array]:
    """1/x of 32-bit fixed-point numbers: the value with 31 fractional bits, and how often it is to be halved.

    Source: `GetReciprocal` (`common.h`).
    """
    zeros = _leading_zeros(values)
    return one_over_one_plus(((values << zeros) & 0xFFFFFFFF) - _ONE), integer_bits - zeros


def sign_bits(values: Array) -> Array:
    """How far 32-bit integers can be shifted to the left (`CountLeadingSignBits`, `common.h`)."""
    return _leading_zeros(np.where(values < 0, ~values, values)) - 1


def one_over_one_plus(values: Array, bits: int = 32) -> Array:
    """1 / (1 + x) for x in [0, 1], all with `bits` - 1 fractional bits (gemmlowp `fixedpoint.h`)."""
    return _saturate(_inverse_of_half(values, bits) << 1, bits)


def one_minus_over_one_plus(values: Array, bits: int = 32) -> Array:
    """(1 - x) / (1 + x) for x in [0, 1], all with `bits` - 1 fractional bits (gemmlowp `fixedpoint.h`)."""
    return _saturate((_inverse_of_half(values, bits) - (1 << (bits - 3))) << 2, bits)


def _inverse_of_half(values: Array, bits: int) -> Array:
    """2 / (1 + x) with 2 integer bits: three steps of Newton's method from 48/17 - 32/17 (1 + x) / 2."""
    half = (values + (1 << (bits - 1))) // 2
    x = _constant(1515870810, bits) + _product(half, _constant(-1010580540, bits), bits)
    for _ in range(3):
        rest = (1 << (bits - 3)) - _product(half, x, bits)
        x = x + _saturate(_product(x, rest, bits) << 2, bits)
    return x


def logistic_16(values: Array, integer_bits: int = 3) -> Array:
    """1 / (1 + exp(-x)) of 16-bit numbers, without integer bits (`logistic`, gemmlowp `fixedpoint.h`)."""
    of_magnitude = one_over_one_plus(exp_on_negative(-np.abs(values), integer_bits, 16), 16)
    found = np.where(values > 0, of_magnitude, 0x7FFF - of_magnitude)
    return np.where(values == 0, 1 << 14, found)


def tanh_16(values: Array, integer_bits: int = 3) -> Array:
    """Tanh of 16-bit numbers, without integer bits (`tanh`, gemmlowp `fixedpoint.h`): at most 6 integer bits."""
    powers = exp_on_negative(-np.abs(values), integer_bits + 1, 16)  # the same bits read as twice the number
    return np.sign(values) * one_minus_over_one_plus(powers, 16)


def inverse_square_root(values: Array) -> Multiplier:
    """1/sqrt(x) of integers, as multipliers; 0 counts as 1 (`GetInvSqrtQuantizedMultiplierExp`, `common.h`).

    Five steps of Newton's method from 1, on numbers of 3 integer bits that a power of 4 brings to [1/2, 2).
    """
    x = np.maximum(values.astype(np.int64), 2)
    fours = (x >= 1 << 29).astype(np.int64) + (x >= 1 << 31)
    x = x >> 2 * fours
    pairs = (_leading_zeros(x) - 1) // 2 - 1
    right = 11 + fours - pairs
    x = (x << 2 * pairs) >> 1
    half, found = divide_by_power(x, 1), np.full_like(x, 1 << 28)
    for _ in range(5):
        cube = _saturate(doubling_high_product(doubling_high_product(found, found), found) << 6)
        step = doubling_high_product(np.full_like(x, 3 << 27), found) - doubling_high_product(half, cube)
        found = _saturate(step << 3)
    found = doubling_high_product(found, _SQRT_HALF)
    found = wrap(found << np.maximum(-right, 0))
    small = values <= 1
    return Multiplier(np.where(small, _LARGEST, found), np.where(small, 0, -np.maximum(right, 0)))


_SQRT_HALF = 1518500250
"""sqrt(1/2) times 2**31."""

_FOURTH_ROOT_HALF = 1805811301
"""(1/2)**(1/4) times 2**31."""

_LOG_2 = 1488522236
"""log(2) times 2**31."""


def logarithm(values: Array, integer_bits: int, result_bits: int) -> Array:
    """The natural logarithm of fixed-point numbers from 1 on (`log_x_for_x_greater_than_or_equal_to_1`, `common.h`).

    x is a power of 2 times what is near sqrt(1/2)..1, whose logarithm is a quotient of polynomials.

    Args:
        values: numbers with `integer_bits` integer bits.
        integer_bits: of the argument.
        result_bits: integer bits of the result.
    """
    unit = 31 - (result_bits + 1)
    quarter = divide_by_power(np.int64(1 << 29), result_bits + 1)
    zeros = _leading_zeros(values)
    first = _saturate(doubling_high_product(_saturate(values << (zeros - 1)), _SQRT_HALF) << 1)
    power = _saturate(_saturate((integer_bits - zeros) << unit) + quarter)
    zeros = _leading_zeros(doubling_high_product(values, _SQRT_HALF)) - 1
    second = _saturate(values << zeros)
    power = np.maximum(power, _saturate(_saturate((integer_bits - zeros) << unit) - quarter))
    near = np.minimum(first, second)
    total = near + _FOURTH_ROOT_HALF
    middle, apart = (total + np.where(total >= 0, 1, -1)) // 2, 2 * (near - _FOURTH_ROOT_HALF)
    square = doubling_high_product(apart, apart)
    over = doubling_high_product(apart, near) + doubling_high_product(doubling_high_product(apart, square), 117049297)
    under = doubling_high_product(middle, 1057819769 + apart + doubling_high_product(square, 127690142))
    inverse = one_over_one_plus(under + doubling_high_product(apart, 638450708))
    found = doubling_high_product(power, _LOG_2)
    found = found + doubling_high_product(divide_by_power(over, result_bits + 1), inverse)
    return _saturate(found << 1)


def _leading_zeros(values: Array) -> Array:
    """Of 32 bits."""
    found: Array = 32 - np.frexp(values.astype(np.float64))[1].astype(np.int64)
    return found


def _saturate(values: Array, bits: int = 32) -> Array:
    return np.clip(values, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
