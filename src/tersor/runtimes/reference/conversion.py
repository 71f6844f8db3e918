"""QUANTIZE, DEQUANTIZE and CAST."""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Array
from tersor.numerics.fixed_point import quantize_multiplier, rescale_in_vectors, rescale_twice, round_away
from tersor.runtimes.reference.call import Call, stored


def quantize(call: Call) -> list[Array]:
    """QUANTIZE: real numbers (see `_steps`), or integers rescaled."""
    quant, dtype = call.result_quant(), call.results[0].dtype
    values, scale = call.value(0), call.result_scale()
    if call.tensor(0).dtype.is_float:
        low, high = dtype.integer_range
        steps = np.clip(
            _steps(call, values.ravel(), scale), low - high - 1, 2 * high + 2
        )  # as far as a zero point goes
        return [stored(steps.astype(np.int64) + quant.zero_point, dtype).reshape(values.shape)]
    if call.kernels == "xnnpack":
        factor = int(np.rint(np.float32(256) * (call.scale(0) / scale)))
        return [stored(((call.centered(0) * factor + 128) >> 8) + quant.zero_point, dtype)]
    by = quantize_multiplier(np.float64(call.scale(0)) / np.float64(scale))
    flat = call.centered(0).ravel()
    found = (
        rescale_in_vectors(flat, by, 16) if call.kernels == "builtin" and dtype.bits == 8 else rescale_twice(flat, by)
    )
    return [stored(found + quant.zero_point, dtype).reshape(values.shape)]


def _steps(call: Call, values: Array, scale: np.float32) -> Array:
    """Real numbers over a scale, whole, as float64; builtin and XNNPACK multiply by its inverse, halves to even."""
    if call.kernels == "micro":
        return round_away(values / scale).astype(np.float64)
    if call.kernels == "xnnpack":
        return np.rint(values * (np.float32(1) / scale)).astype(np.float64)
    found = round_away(values.astype(np.float64) / np.float64(scale))
    whole = values.size // 8 * 8
    found[:whole] = np.rint(values[:whole] * np.float32(1 / np.float64(scale)))
    return found


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


def cast(call: Call) -> list[Array]:
    """CAST of truth values to the integers 0 and 1."""
    return [call.value(0).astype(call.results[0].dtype.numpy)]
