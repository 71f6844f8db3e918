"""SOFTMAX and LOG_SOFTMAX.

Of 8 bits, builtin has a table of float32 exponentials (`optimized_ops.h`), micro computes them (`reference/softmax.h`,
`reference/integer_ops/log_softmax.h`). Of 16 bits, both have tables of 513 points, builtin from float64 results
(`activations.cc`), micro from float32 ones (`softmax_common.cc`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tersor.errors import RuntimeFailure
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_functions import exp_on_negative, logarithm, reciprocal
from tersor.numerics.fixed_point import (
    Multiplier,
    divide_by_power,
    doubling_high_product,
    quantize_multiplier,
    rescale_twice,
    round_away,
)
from tersor.runtimes.reference.activations import float_exp, radius_of
from tersor.runtimes.reference.call import Call, stored
from tersor.runtimes.reference.lookup import between, table_of

_EXP_BITS = 5
"""Integer bits of the exponent of softmax; 26 are fractional."""

_SUM_BITS = 12
"""Integer bits of a sum of exponentials."""


def softmax(call: Call) -> list[Array]:
    """SOFTMAX over the last axis."""
    if call.tensor(0).dtype is DType.INT16:
        return [_softmax_wide(call)]
    return [_softmax_fixed(call) if call.kernels == "micro" else _softmax_float(call)]


def log_softmax(call: Call) -> list[Array]:
    """LOG_SOFTMAX of 8 bits over the last axis."""
    return [_log_softmax_fixed(call) if call.kernels == "micro" else _log_softmax_float(call)]


def _powers(call: Call, values: Array, beta: np.float32) -> tuple[Array, Array]:
    """exp(scale beta (value - largest)) by a table, and the sums along rows, one by one, all float32."""
    table = float_exp(-(call.scale(0)) * beta * np.arange(256).astype(np.float32))
    powers = table[values.max(-1, keepdims=True) - values]
    return powers, np.cumsum(powers, axis=-1, dtype=np.float32)[..., -1:]


def _softmax_float(call: Call) -> Array:
    powers, total = _powers(call, call.value(0).astype(np.int64), np.float32(call.op.option("beta", 1.0)))
    shares = powers * (np.float32(1) / (total * call.result_scale()))
    return stored(round_away(shares).astype(np.int64) + call.result_quant().zero_point, call.results[0].dtype)


def _log_softmax_float(call: Call) -> Array:
    values = call.value(0).astype(np.int64)
    _, total = _powers(call, values, np.float32(1))
    logs = np.log(total.astype(np.float64)).astype(np.float32)
    largest = values.max(-1, keepdims=True).astype(np.float32)
    offset = (call.scale(0) * largest + logs) / call.result_scale()
    steps = np.rint((call.scale(0) / call.result_scale()) * values.astype(np.float32) - offset).astype(np.int64)
    return stored(steps + call.result_quant().zero_point, call.results[0].dtype)


def _softmax_fixed(call: Call) -> Array:
    dtype = call.results[0].dtype
    by, radius = _exponents(call, float(call.op.option("beta", 1.0)))
    values = call.value(0).astype(np.int64)
    below = values - values.max(-1, keepdims=True)
    near = below >= -radius
    powers = exp_on_negative(rescale_twice(np.where(near, below, 0), by))
    total = np.sum(np.where(near, divide_by_power(powers, _SUM_BITS), 0), axis=-1, keepdims=True)
    inverse, halvings = reciprocal(total, _SUM_BITS)
    to_shift = halvings + 31 - (dtype.bits or 0)
    if to_shift.max() > 31:
        raise RuntimeFailure(
            f"TensorFlow Lite Micro aborts in {call.op.label} {call.op.name!r}: exponentials sum to 512 or more"
        )
    shares = divide_by_power(doubling_high_product(inverse, powers), to_shift)
    low = dtype.integer_range[0]
    return stored(np.where(near, shares + low, low), dtype)


def _exponents(call: Call, beta: float) -> tuple[Multiplier, int]:
    """What brings differences to `_EXP_BITS` integer bits, and how large they may be (`PreprocessSoftmaxScaling`)."""
    by = quantize_multiplier(min(beta * float(call.scale(0)) * (1 << (31 - _EXP_BITS)), (1 << 31) - 1.0))
    return by, radius_of(_EXP_BITS, int(by.shift), 31)


def _log_softmax_fixed(call: Call) -> Array:
    by, radius = _exponents(call, 1.0)
    back = quantize_multiplier((1 << (31 - int(by.shift))) / float(by.value))
    values = call.value(0).astype(np.int64)
    below = values - values.max(-1, keepdims=True)
    near = below >= -radius
    exponents = rescale_twice(np.where(near, below, 0), by)
    total = np.sum(np.where(near, divide_by_power(exp_on_negative(exponents), _SUM_BITS), 0), axis=-1, keepdims=True)
    logs = logarithm(total, _SUM_BITS, _EXP_BITS)
    lowest = np.maximum(-radius - 1, rescale_twice(logs - (1 << 31), back))
    exponents = rescale_twice(below, by)
    found = divide_by_power(exponents - logs, 31 - _EXP_BITS - 4) + 127
    return stored(np.where(below > lowest, found, -128), call.results[0].dtype)


def _softmax_wide(call: Call) -> Array:
    """Of 16 bits (`SoftmaxInt16`): two tables, one of exp on [-10, 0] and one of 1 / (1 + x) on [0, 1]."""
    exp_table, inverse_table = _wide_tables("float32" if call.kernels == "micro" else "float64")
    values = call.value(0).astype(np.int64)
    by = quantize_multiplier(float(call.scale(0)) * float(np.float32(call.op.option("beta", 1.0))) / (10 / 65535))
    below = rescale_twice(values - values.max(-1, keepdims=True), by)
    powers = between(np.clip(below + 32767, -(1 << 15), (1 << 15) - 1), exp_table).astype(np.int64)
    total = powers.sum(-1, keepdims=True)
    zeros = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    shifted = ((total << (zeros - 1)) + (1 << 13)) >> 14
    share = between(np.clip(shifted - (1 << 15) - (1 << 16), -(1 << 15), (1 << 15) - 1), inverse_table)
    right = 31 - zeros
    found = (powers * share + ((1 << right) >> 1)) >> right
    shares: Array = np.clip(found, 0, (1 << 15) - 1).astype(np.int16)
    return shares


@cache
def _wide_tables(real: str) -> tuple[Array, Array]:
    kind: type[np.floating[Any]] = np.float32 if real == "float32" else np.float64
    result = kind(2) / kind(65535), 0
    powers = table_of(lambda x: _exp_as(x, kind), (kind(10) / kind(65535), 32767), result, kind)
    shares = table_of(lambda x: kind(1) / (kind(1) + x), (kind(1) / kind(65535), -32768), result, kind)
    return powers, shares


def _exp_as(values: Array, kind: type[np.floating[Any]]) -> Array:
    return np.exp(values.astype(np.float64)).astype(kind)
