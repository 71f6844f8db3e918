"""ABS, EXP, LOG, SQRT, RSQRT, GELU.

Of 8 bits, EXP, LOG and GELU are tables of 256 float32 results; of 16 bits, they and RSQRT are tables of 513 points (see
`lookup`). micro has ABS and RSQRT only.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc

import numpy as np

from tersor.errors import RuntimeFailure
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_functions import inverse_square_root
from tersor.numerics.fixed_point import Multiplier, quantize_multiplier, rescale_twice
from tersor.runtimes.reference.activations import by_table, float_exp, scale_ratio
from tersor.runtimes.reference.call import Call, stored
from tersor.runtimes.reference.lookup import through_table

_ROOT_BITS = 20
"""Bits that a reciprocal root is shifted to the left (`elementwise.cc`)."""


def absolute(call: Call) -> list[Array]:
    """ABS."""
    values = np.abs(call.centered(0))
    if call.scale(0) != call.result_scale():
        values = rescale_twice(values, quantize_multiplier(scale_ratio(call)))
    return [stored(values + call.result_quant().zero_point, call.results[0].dtype)]


def exponential(call: Call) -> list[Array]:
    """EXP."""
    return [_tabled(call, float_exp)]


def logarithm(call: Call) -> list[Array]:
    """LOG; of what is not positive it is the least value that the result holds."""
    quant, dtype = call.result_quant(), call.results[0].dtype
    least = np.float32(dtype.integer_range[0] - quant.zero_point) * call.result_scale()

    def log(values: Array) -> Array:
        positive = values > 0
        logs = np.log(np.where(positive, values, 1).astype(np.float64)).astype(np.float32)
        return np.where(positive, logs, least)

    return [_tabled(call, log)]


def gelu(call: Call) -> list[Array]:
    """GELU, exact or by tanh (`reference/gelu.h`)."""
    return [_tabled(call, _gelu_by_tanh if call.op.option("approximate", False) else _gelu)]


def square_root(call: Call) -> list[Array]:
    """SQRT in float32, cut off (`SqrtEvalQuantized`, `elementwise.cc`). Raises RuntimeFailure as the kernel does."""
    real = call.scale(0) * call.centered(0).astype(np.float32)
    if (real < 0).any():
        raise RuntimeFailure(f"LiteRT fails in SQRT {call.op.name!r}: it is only defined for non-negative values")
    steps = np.trunc(np.sqrt(real) / call.result_scale()).astype(np.int64)
    return [stored(steps + call.result_quant().zero_point, call.results[0].dtype)]


def reciprocal_root(call: Call) -> list[Array]:
    """RSQRT: fixed point, but for 16 bits a table in builtin. Raises RuntimeFailure as the kernels do."""
    values, dtype = call.centered(0), call.results[0].dtype
    if (values < 0).any():
        raise RuntimeFailure(f"the kernels fail in RSQRT {call.op.name!r}: it is only defined for positive values")
    if dtype is DType.INT16 and call.kernels != "micro":
        largest = np.float32((1 << 15) - 1) * call.result_scale()
        with np.errstate(divide="ignore", invalid="ignore"):
            return [through_table(call, lambda x: np.where(x <= 0, largest, np.float32(1) / np.sqrt(x)))]
    exact = np.float64 if call.kernels == "micro" else np.float32
    by = quantize_multiplier(1 / np.float64(np.sqrt(exact(call.scale(0))) * exact(call.result_scale())))
    root = inverse_square_root(values)
    roots = rescale_twice(np.ones_like(values), Multiplier(root.value, root.shift + _ROOT_BITS))
    found = rescale_twice(roots, Multiplier(by.value, by.shift - _ROOT_BITS)) + call.result_quant().zero_point
    return [stored(np.where(values == 0, dtype.integer_range[1], found), dtype)]


def _tabled(call: Call, function: Callable[[Array], Array]) -> Array:
    return through_table(call, function) if call.tensor(0).dtype is DType.INT16 else by_table(call, function)


def _gelu(values: Array) -> Array:
    inner = values * np.float32(-np.sqrt(0.5))
    outer = np.array([erfc(item) for item in inner.tolist()]).astype(np.float32)
    return np.float32(0.5) * values * outer


def _gelu_by_tanh(values: Array) -> Array:
    cubic = values + np.float32(0.044715) * values * values * values
    inner = np.float32(np.sqrt(2 / np.pi)) * cubic
    return np.float32(0.5) * values * (np.float32(1) + np.tanh(inner.astype(np.float64)).astype(np.float32))
