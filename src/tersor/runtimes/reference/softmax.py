"""SOFTMAX of 8 bits.

Builtin has a table of float32 exponentials (`optimized_ops.h`), micro computes them (`reference/softmax.h`).
"""

from __future__ import annotations

import numpy as np

from tersor.errors import RuntimeFailure
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_point import (
    divide_by_power,
    doubling_high_product,
    exp_on_negative,
    quantize_multiplier,
    reciprocal,
    rescale_twice,
    round_away,
)
from tersor.runtimes.reference.activations import float_exp, radius_of
from tersor.runtimes.reference.call import Call, stored

_EXP_BITS = 5
"""Integer bits of the exponent of softmax; 26 are fractional."""

_SUM_BITS = 12
"""Integer bits of a sum of exponentials."""


def softmax(call: Call) -> list[Array]:
    """SOFTMAX of 8 bits over the last axis."""
    if call.tensor(0).dtype is DType.INT16:
        raise call.refusal("16-bit softmax is not there")
    return [_softmax_fixed(call) if call.kernels == "micro" else _softmax_float(call)]


def _softmax_float(call: Call) -> Array:
    """A table of exp(-scale beta n), summed one by one in float32."""
    values = call.value(0).astype(np.int64)
    beta = np.float32(call.op.option("beta", 1.0))
    table = float_exp(-(call.scale(0)) * beta * np.arange(256).astype(np.float32))
    powers = table[values.max(-1, keepdims=True) - values]
    total = np.cumsum(powers, axis=-1, dtype=np.float32)[..., -1:]
    shares = powers * (np.float32(1) / (total * call.result_scale()))
    return stored(round_away(shares).astype(np.int64) + call.result_quant().zero_point, call.results[0].dtype)


def _softmax_fixed(call: Call) -> Array:
    dtype = call.results[0].dtype
    factor = min(float(call.op.option("beta", 1.0)) * float(call.scale(0)) * (1 << (31 - _EXP_BITS)), (1 << 31) - 1.0)
    by = quantize_multiplier(factor)
    radius = radius_of(_EXP_BITS, int(by.shift), 31)
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
