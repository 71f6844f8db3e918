"""Functions of one value: rectifiers and tables.

8-bit functions that builtin reads from a table of float32 results (`LUTPopulate`, `common.h`) are computed by micro in
fixed point (`reference/integer_ops/logistic.h`, `tanh.h`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_functions import exp_on_negative, one_minus_over_one_plus, one_over_one_plus
from tersor.numerics.fixed_point import Multiplier, divide_by_power, quantize_multiplier, rescale_twice, round_away
from tersor.runtimes.reference import lookup
from tersor.runtimes.reference.call import RELU, RELU6, RELU_0_TO_1, RELU_N1_TO_1, Call, activation_range, stored

_RELUS = {"RELU": RELU, "RELU6": RELU6, "RELU_N1_TO_1": RELU_N1_TO_1, "RELU_0_TO_1": RELU_0_TO_1}


def rectify(call: Call) -> list[Array]:
    """RELU and its kin: rescaled and clipped; micro clips RELU6 in the input's own scale and copies it."""
    if call.kernels == "micro" and call.op.kind == "RELU6":
        quant = call.quant(0)
        six = quant.zero_point + int(round_away(np.float32(6) / call.scale(0)))
        return [stored(call.value(0), call.results[0].dtype, (quant.zero_point, six))]
    limits = activation_range(call, _RELUS[call.op.kind])
    by = quantize_multiplier(scale_ratio(call))
    found = rescale_twice(call.centered(0), by) + call.result_quant().zero_point
    return [stored(found, call.results[0].dtype, limits)]


def leaky_rectify(call: Call) -> list[Array]:
    """LEAKY_RELU: one factor for values from 0 on, one for the others (`reference/leaky_relu.h`).

    XNNPACK's factors are multiples of 1/256 (`xnn_init_qs8_lrelu_scalar_params`, `microparams-init.c`).
    """
    values, alpha = call.centered(0), np.float32(call.op.option("alpha", 0.0))
    if call.kernels == "xnnpack":
        ratio = call.scale(0) / call.result_scale()
        same_steps, damped_steps = int(np.rint(256 * ratio)), int(np.rint(256 * (ratio * alpha)))
        found = ((values * np.where(values >= 0, same_steps, damped_steps) + 128) >> 8) + call.result_quant().zero_point
        return [stored(found, call.results[0].dtype)]
    same = quantize_multiplier(scale_ratio(call))
    factor = scale_ratio(call) * alpha if call.kernels == "micro" else call.scale(0) * alpha / call.result_scale()
    damped = np.sign(factor).astype(np.int64) * rescale_twice(values, quantize_multiplier(abs(factor)))
    found = np.where(values >= 0, rescale_twice(values, same), damped)
    return [stored(found + call.result_quant().zero_point, call.results[0].dtype)]


def parametric_rectify(call: Call) -> list[Array]:
    """PRELU: values below 0 times slopes of their own (`reference/prelu.h`)."""
    values, scaled = call.centered(0), call.scale(0) * call.scale(1) / call.result_scale()
    damped = rescale_twice(values * call.centered(1), quantize_multiplier(scaled))
    found = np.where(values >= 0, rescale_twice(values, quantize_multiplier(scale_ratio(call))), damped)
    return [stored(found + call.result_quant().zero_point, call.results[0].dtype)]


def hard_swish(call: Call) -> list[Array]:
    """HARD_SWISH of 8 bits: x relu6(x + 3) / 6 in 16 bits (`reference/hard_swish.h`)."""
    if call.tensor(0).dtype is DType.INT16:
        raise call.refusal("no kernel has 16-bit activations")
    high = call.centered(0) << 7
    fine = np.float32(1 / 128) * call.scale(0)
    out, relu = quantize_multiplier(fine / call.result_scale()), quantize_multiplier(fine / np.float32(3 / 32768))
    values = _high_product_16(high, _short(out))
    gate, exponent = high, int(relu.shift)
    if exponent > 0:
        gate = _saturated_16(gate << (exponent - 1))
    gate = _high_product_16(gate, _short(relu))
    if exponent > 0:
        gate = _saturated_16(gate << 1)
    if exponent < 0:
        gate = divide_by_power(gate, -exponent)
    gate = (gate + (1 << 15)) >> 1
    product = gate * values
    product = np.sign(product) * (np.abs(product) >> 15)
    found = divide_by_power(product, -int(out.shift)) + call.result_quant().zero_point
    return [stored(found, call.results[0].dtype)]


def logistic(call: Call) -> list[Array]:
    """LOGISTIC."""
    if call.tensor(0).dtype is DType.INT16:
        return [lookup.logistic(call)]
    if call.kernels != "micro" or call.tensor(0).dtype is not DType.INT8:
        return [by_table(call, lambda x: np.float32(1) / (np.float32(1) + float_exp(-x)))]
    values, radius = _argument(call)
    of_magnitude = one_over_one_plus(exp_on_negative(-np.abs(values), 4))
    raw = np.where(values > 0, of_magnitude, (1 << 31) - 1 - of_magnitude)
    raw = np.where(values == 0, 1 << 30, raw)
    return [_within(call, divide_by_power(raw, 23) - 128, radius)]


def tanh(call: Call) -> list[Array]:
    """TANH."""
    if call.tensor(0).dtype is DType.INT16:
        return [lookup.tanh(call)]
    if call.kernels != "micro" or call.tensor(0).dtype is not DType.INT8:
        return [by_table(call, lambda x: np.tanh(x.astype(np.float64)).astype(np.float32))]
    values, radius = _argument(call)
    # the same bits read with 5 integer bits are twice the value, and tanh(x) = (1 - exp(-2x)) / (1 + exp(-2x))
    raw = np.sign(values) * one_minus_over_one_plus(exp_on_negative(-np.abs(values)))
    return [_within(call, divide_by_power(raw, 24), radius)]


def elu(call: Call) -> list[Array]:
    """ELU of 8 bits."""
    return [by_table(call, lambda x: np.where(x < 0, np.expm1(x.astype(np.float64)).astype(np.float32), x))]


def by_table(call: Call, function: Callable[[Array], Array]) -> Array:
    """A function of 8-bit values through 256 float32 results (`LUTPopulate`, `common.h`)."""
    dtype, quant = call.tensor(0).dtype, call.quant(0)
    if dtype not in (DType.INT8, DType.UINT8):
        raise call.refusal(f"it has {dtype} activations, and only 8-bit ones are there")
    low, high = dtype.integer_range
    real = call.scale(0) * np.arange(low - quant.zero_point, high + 1 - quant.zero_point).astype(np.float32)
    steps = round_away(function(real) * (np.float32(1) / call.result_scale()))
    zero = np.float32(call.result_quant().zero_point)
    table = stored((steps + zero).astype(np.int64), call.results[0].dtype)
    return table[call.value(0).astype(np.int64) - low]


def scale_ratio(call: Call) -> np.floating[Any]:
    """The input's scale over the result's: in float32, but in micro in float64, as its 16-bit values show."""
    if call.kernels == "micro":
        return np.float64(call.scale(0)) / np.float64(call.result_scale())
    return call.scale(0) / call.result_scale()


def float_exp(values: Array) -> Array:
    """The exponential in float32, as exact as a C library's."""
    with np.errstate(over="ignore"):
        return np.exp(values.astype(np.float64)).astype(np.float32)


def radius_of(integer_bits: int, shift: int, bits: int) -> int:
    """The largest input that the fixed-point form holds (`CalculateInputRadius`, `quantization_util.cc`)."""
    return int(np.floor(((1 << integer_bits) - 1) * (1 << (bits - integer_bits)) / (1 << shift)))


def _argument(call: Call) -> tuple[Array, int]:
    """The input with 4 integer bits, and the radius within which it has them."""
    by = quantize_multiplier(np.float64(call.scale(0)) * (1 << 27))
    radius = radius_of(4, int(by.shift), 31)
    return rescale_twice(np.clip(call.centered(0), 1 - radius, radius - 1), by), radius


def _within(call: Call, found: Array, radius: int) -> Array:
    """Results, and the extremes of the type beyond the radius."""
    low, high = call.results[0].dtype.integer_range
    values = call.centered(0)
    return stored(np.where(values <= -radius, low, np.where(values >= radius, high, found)), call.results[0].dtype)


def _short(by: Multiplier) -> int:
    """A multiplier of 15 bits (`DownScaleInt32ToInt16Multiplier`, `common.h`)."""
    return min((int(by.value) + (1 << 15)) >> 16, 0x7FFF)


def _high_product_16(values: Array, factor: int) -> Array:
    found: Array = np.minimum((values * factor + (1 << 14)) >> 15, 0x7FFF)
    return found


def _saturated_16(values: Array) -> Array:
    return np.clip(values, -(1 << 15), (1 << 15) - 1)
