"""Two operands: ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE, MAXIMUM, MINIMUM.

ADD and SUB shift both operands to the left, scale them to twice the larger input scale, add, and scale the sum: three
roundings (`reference/integer_ops/add.h`; builtin and micro agree). XNNPACK has one rounding, halves up
(`xnn_init_qs8_add_minmax_scalar_params`, `microparams-init.c`).
"""

from __future__ import annotations

import numpy as np

from tersor.errors import RuntimeFailure
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_point import (
    divide_by_power,
    doubling_high_product,
    quantize_multiplier,
    reciprocal,
    rescale_twice,
    sign_bits,
)
from tersor.runtimes.reference.call import Call, activation_range, stored
from tersor.runtimes.reference.products import to_nearest

_SHORT = (1 << 15) - 1

_LEFT = {DType.INT8: 20, DType.UINT8: 20, DType.INT16: 15}
"""Bits that a sum is shifted to the left."""


def add(call: Call) -> list[Array]:
    """ADD."""
    return [_sum(call, 1)]


def subtract(call: Call) -> list[Array]:
    """SUB."""
    return [_sum(call, -1)]


def multiply(call: Call) -> list[Array]:
    """MUL; its factor is taken in float32 by builtin, in float64 by micro (`mul.cc`, `mul_common.cc`)."""
    limits, zero, dtype = activation_range(call), call.result_quant().zero_point, call.results[0].dtype
    products = call.centered(0) * call.centered(1)
    scales = (call.scale(0), call.scale(1), call.result_scale())
    if call.kernels == "xnnpack":
        return [stored(to_nearest(products, scales[0] * scales[1] / scales[2], limits, zero), dtype, limits)]
    if call.kernels == "micro":
        scales = (np.float64(scales[0]), np.float64(scales[1]), np.float64(scales[2]))  # type: ignore[assignment]
    found = rescale_twice(products, quantize_multiplier(scales[0] * scales[1] / scales[2]))
    if call.kernels == "builtin" and dtype.bits == 8 and np.abs(found).max(initial=0) > _SHORT:
        raise call.refusal("a product leaves 16 bits, where only a part of the builtin kernel saturates")
    return [stored(found + zero, dtype, limits)]


def divide(call: Call) -> list[Array]:
    """DIV by a reciprocal of 31 bits (`DivElementwise`, `reference/div.h`). Raises RuntimeFailure for a divisor of 0.

    Quotients of less than a quarter of the result's scale come out wrong, as they do there (see `_shifted`).
    """
    limits, zero, dtype = activation_range(call), call.result_quant().zero_point, call.results[0].dtype
    over, under = np.broadcast_arrays(call.centered(0), call.centered(1))
    if (under == 0).any():
        raise RuntimeFailure(f"DIV {call.op.name!r} divides by 0, for which kernels are not defined")
    over, under = np.where(under < 0, -over, over), np.abs(under)
    inverse, halvings = reciprocal(under, 31)
    headroom = sign_bits(over)
    quotients = doubling_high_product(over << headroom, inverse)
    by = quantize_multiplier(call.scale(0) / (call.scale(1) * call.result_scale()))
    found = _shifted(doubling_high_product(quotients, by.value), headroom + halvings - by.shift)
    return [stored(found + zero, dtype, limits)]


def _shifted(values: Array, exponent: Array) -> Array:
    """`divide_by_power`; from 32 bits on, where C leaves it open, as processors do that look at 5 bits of a shift."""
    beyond = exponent > 31
    kept = divide_by_power(values, np.where(beyond, 0, exponent))
    return np.where(beyond, (values >> (exponent & 31)) + (values >= 0), kept)


def squared_difference(call: Call) -> list[Array]:
    """SQUARED_DIFFERENCE of 8 bits (`squared_difference.cc`)."""
    one, other, out = call.scale(0), call.scale(1), call.result_scale()
    twice = 2 * np.float64(max(one, other))
    first = rescale_twice(call.centered(0) << 7, quantize_multiplier(np.float64(one) / twice))
    second = rescale_twice(call.centered(1) << 7, quantize_multiplier(np.float64(other) / twice))
    by = quantize_multiplier(twice * twice / np.float64(np.float32(1 << 14) * out))
    found = rescale_twice((first - second) ** 2, by) + call.result_quant().zero_point
    return [stored(found, call.results[0].dtype)]


def maximum(call: Call) -> list[Array]:
    """MAXIMUM of integers of one scale."""
    return [np.maximum(call.value(0), call.value(1))]


def minimum(call: Call) -> list[Array]:
    """MINIMUM of integers of one scale."""
    return [np.minimum(call.value(0), call.value(1))]


def _sum(call: Call, sign: int) -> Array:
    limits, zero, dtype = activation_range(call), call.result_quant().zero_point, call.results[0].dtype
    if call.kernels == "xnnpack":
        return stored(_sum_once(call, sign) + zero, dtype, limits)
    left = _LEFT[dtype]
    one, other, out = (np.float64(item) for item in (call.scale(0), call.scale(1), call.result_scale()))
    twice = 2 * max(one, other)
    first = rescale_twice(call.centered(0) << left, quantize_multiplier(one / twice))
    second = rescale_twice(call.centered(1) << left, quantize_multiplier(other / twice))
    total = rescale_twice(first + sign * second, quantize_multiplier(twice / ((1 << left) * out)))
    return stored(total + zero, dtype, limits)


def _sum_once(call: Call, sign: int) -> Array:
    """Both operands times multipliers of 21 bits that share a shift, halves up."""
    factors = [call.scale(index) / call.result_scale() for index in (0, 1)]
    shift = 21 - int(np.frexp(max(factors))[1])
    one, other = (int(np.rint(np.ldexp(factor, shift))) for factor in factors)
    total: Array = call.centered(0) * one + sign * call.centered(1) * other + (1 << (shift - 1))
    return total >> shift
