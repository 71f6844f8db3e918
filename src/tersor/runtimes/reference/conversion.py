"""QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Array
from tersor.numerics.fixed_point import quantize_multiplier, rescale_in_vectors, rescale_twice, round_away
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
    flat = call.centered(0).ravel()
    found = rescale_in_vectors(flat, by, 16) if call.kernels == "builtin" and dtype.bits == 8 else rescale_twice(flat, by)
    return [stored(found + quant.zero_point, dtype).reshape(values.shape)]


def dequantize(call: Call) -> list[Array]:
    """DEQUANTIZE to float32; builtin adds the zero point after scaling, but for the last values (`optimized_ops.h`)."""
    scale, zero = call.scale(0), call.quant(0).zero_point
    exact = scale * call.centered(0).astype(np.float32)
    if call.kernels != "builtin" or call.tensor(0).dtype.bits != 8:
        return [exact]
    flat = call.value(0).astype(np.float32).ravel()
    joined = flat * scale + np.float32(-zero * np.float64(scale))
    whole = flat.size // 8 * 8
    return [np.concatenate([joined[:whole], exact.ravel()[whole:]]).reshape(exact.shape)]
