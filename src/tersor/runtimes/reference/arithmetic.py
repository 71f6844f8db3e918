"""Two operands: ADD, SUB, MUL, DIV, SQUARED_DIFFERENCE, MAXIMUM, MINIMUM.

ADD and SUB shift both operands to the left, scale them to twice the larger input scale, add, and scale the sum: three
roundings (`reference/integer_ops/add.h`; builtin and micro agree). XNNPACK has one rounding, halves up
(`xnn_init_qs8_add_minmax_scalar_params`, `microparams-init.c`).
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from tersor.errors import RuntimeFailure
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_functions import reciprocal, sign_bits
from tersor.numerics.fixed_point import (
    Multiplier,
    divide_by_power,
    doubling_high_product,
    quantize_multiplier,
    rescale_twice,
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
    in_vectors, by_scalar = _lanes(call) if call.kernels == "builtin" and sign > 0 else (False, False)
    terms = []
    for index, scale in enumerate((one, other)):
        by, values = quantize_multiplier(scale / twice), call.centered(index)
        term = rescale_twice(values << left, by)
        if np.any(in_vectors):
            term = np.where(in_vectors, _joined(values, left, by), term)
        if np.any(by_scalar):
            term = np.where(by_scalar, doubling_high_product(values << left, by.value) >> -by.shift, term)
        terms.append(term)
    total = rescale_twice(terms[0] + sign * terms[1], quantize_multiplier(twice / ((1 << left) * out)))
    return stored(total + zero, dtype, limits)


def _joined(values: Array, left: int, by: Multiplier) -> Array:
    """`rescale_twice` of `values << left` with one shift instead of two, and so one rounding."""
    shift = left + by.shift
    shifted = values << shift if shift >= 0 else values >> -shift
    return doubling_high_product(shifted, by.value)


def _lanes(call: Call) -> tuple[Array | bool, Array | bool]:
    """Which values of an ADD builtin computes in vectors, and which as a vector plus one number.

    16 at a time along what is contiguous in both operands, 8 where one of them is a single number there
    (`AddElementwiseInt8`, `AddElementwiseInt16` and `AddScalarBroadcast`, `optimized/integer_ops/add.h`;
    `ProcessBroadcastShapes`, `optimized_ops.h`).
    """
    shape, rank, dtype = call.results[0].shape, len(call.results[0].shape), call.results[0].dtype
    shapes = [(1,) * (rank - call.value(index).ndim) + call.value(index).shape for index in (0, 1)]
    places = np.arange(math.prod(shape)).reshape(shape)
    equal = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*map(reversed, shapes), strict=True)))
    run = math.prod(one for one, _ in equal)
    if dtype is DType.UINT8 or (dtype is DType.INT16 and len(equal) < rank):
        return False, False
    if run > 1 or len(equal) == rank:
        return (places % run < run // 16 * 16), False
    repeated = min(shapes, key=lambda item: item[rank - 1 - len(equal)])
    other = shapes[0] if repeated is shapes[1] else shapes[1]
    pairs = list(zip(reversed(repeated), reversed(other), strict=True))
    run = math.prod(many for _, many in itertools.takewhile(lambda pair: pair[0] == 1, pairs))
    return False, (places % run < run // 8 * 8)


def _sum_once(call: Call, sign: int) -> Array:
    """Both operands times multipliers of 21 bits that share a shift, halves up."""
    factors = [call.scale(index) / call.result_scale() for index in (0, 1)]
    shift = 21 - int(np.frexp(max(factors))[1])
    one, other = (int(np.rint(np.ldexp(factor, shift))) for factor in factors)
    total: Array = call.centered(0) * one + sign * call.centered(1) * other + (1 << (shift - 1))
    return total >> shift
