"""QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Array
from tersor.numerics.fixed_point import quantize_multiplier, rescale_twice, round_away
from tersor.runtimes.reference.call import Call, stored


def quantize(call: Call) -> list[Array]:
    """QUANTIZE: real numbers halves away from zero (XNNPACK: to even), integers rescaled."""
    quant, dtype = call.result_quant(), call.results[0].dtype
    values, scale = call.value(0), call.result_scale()
    if call.tensor(0).dtype.is_float:
        if call.kernels == "xnnpack":
            steps = np.rint(values * (np.float32(1) / scale))
        else:
            steps = round_away(values / scale)
        low, high = dtype.integer_range
        return [stored(np.clip(steps.astype(np.float64), low - high - 1, 2 * high + 2).astype(np.int64) + quant.zero_point, dtype)]
    if call.kernels == "xnnpack":
        factor = int(np.rint(np.float32(256) * (call.scale(0) / scale)))
        return [stored(((call.centered(0) * factor + 128) >> 8) + quant.zero_point, dtype)]
    by = quantize_multiplier(np.float64(call.scale(0)) / np.float64(scale))
    return [stored(rescale_twice(call.centered(0), by) + quant.zero_point, dtype)]


def dequantize(call: Call) -> list[Array]:
    """DEQUANTIZE to float32."""
    return [(call.scale(0) * call.centered(0).astype(np.float32)).astype(np.float32)]
