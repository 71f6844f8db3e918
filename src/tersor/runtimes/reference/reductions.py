"""Pools and reductions.

A mean is the sum times the scales' ratio, with the count divided into the multiplier (`QuantizedMeanOrSum`,
`reference/reduce.h`), but over height and width with dimensions kept, builtin takes the factor in float32 and adds the
zero points as a rounded number (`optimized/integer_ops/mean.h`).
"""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_functions import inverse_square_root
from tersor.numerics.fixed_point import (
    Multiplier,
    quantize_multiplier,
    rescale_in_vectors,
    rescale_twice,
    rescale_wide,
    round_away,
    wrap,
)
from tersor.numerics.patches import same_padding
from tersor.runtimes.reference.call import Call, activation_range, stored

_VALID = 1


def average_pool(call: Call) -> list[Array]:
    """AVERAGE_POOL_2D: halves away from zero, of the integers as they are."""
    data = call.value(0).astype(np.int64)
    sums = _pooled(call, data, 0, np.add)
    counts = _pooled(call, np.ones_like(data[:1, :, :, :1]), 0, np.add)
    found = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
    return [stored(found, call.results[0].dtype, activation_range(call))]


def max_pool(call: Call) -> list[Array]:
    """MAX_POOL_2D."""
    low = call.tensor(0).dtype.integer_range[0]
    found = _pooled(call, call.value(0).astype(np.int64), low, np.maximum)
    return [stored(found, call.results[0].dtype, activation_range(call))]


def mean(call: Call) -> list[Array]:
    """MEAN."""
    axes, kept, sums, count = _sums(call)
    if call.kernels == "xnnpack":
        return [_to_nearest(call, sums, count, np.float32(1) / np.float32(count))]
    if call.kernels == "builtin" and kept and axes == (1, 2) and sums.ndim == 4 and call.tensor(0).dtype is DType.INT8:
        return [_spatial_mean(call, sums, count)]
    by = quantize_multiplier(np.float64(call.scale(0)) / np.float64(call.result_scale()))
    shift = min(count.bit_length() - 1, 32, 31 + int(by.shift))
    by = Multiplier((by.value << shift) // count, by.shift - shift)
    found = rescale_twice(sums - call.quant(0).zero_point * count, by) + call.result_quant().zero_point
    return [stored(found, call.results[0].dtype)]


def total(call: Call) -> list[Array]:
    """SUM: builtin computes it in float32 (`optimized/reduce.h`)."""
    _, _, sums, count = _sums(call)
    zero = call.result_quant().zero_point
    if call.kernels == "micro":
        by = quantize_multiplier(np.float64(call.scale(0)) / np.float64(call.result_scale()))
        found = rescale_twice(sums - call.quant(0).zero_point * count, by)
    elif call.kernels == "xnnpack":
        return [_to_nearest(call, sums, count, np.float32(1))]
    else:
        factor = call.scale(0) / call.result_scale()
        bias = np.float32(-call.quant(0).zero_point) * factor * np.float32(count)
        found = round_away(sums.astype(np.float32) * factor + bias).astype(np.int64)
    return [stored(found + zero, call.results[0].dtype)]


def multiplied(call: Call) -> list[Array]:
    """REDUCE_PROD: every factor is scaled by the n-th part of the whole (`QuantizedReduceProd`, `optimized/reduce.h`).

    The kernel multiplies one dimension after the other, the last first, and scales in between.
    """
    axes, kept, values = _axes(call), bool(call.op.option("keep_dims", False)), call.centered(0)
    count = int(np.prod([values.shape[axis] for axis in axes]))
    scaling = float(call.scale(0)) / float(call.result_scale()) ** (1.0 / count)
    by = quantize_multiplier(scaling)
    flat = np.moveaxis(values, axes, range(-len(axes), 0))
    flat = flat.reshape(*flat.shape[: values.ndim - len(axes)], -1)
    found = flat[..., 0]
    for index in range(1, count):
        found = wrap(rescale_wide(found * flat[..., index], by))
    found = wrap(rescale_wide(found, by)) + call.result_quant().zero_point
    return [stored(np.expand_dims(found, axes) if kept else found, call.results[0].dtype)]


def normalize(call: Call) -> list[Array]:
    """L2_NORMALIZATION of 8 bits along the last axis (`reference/integer_ops/l2normalization.h`)."""
    values = call.centered(0)
    root = inverse_square_root((values * values).sum(-1, keepdims=True))
    found = rescale_twice(values, Multiplier(root.value, root.shift + 7))
    return [stored(found + call.result_quant().zero_point, call.results[0].dtype)]


def extreme(call: Call) -> list[Array]:
    """REDUCE_MAX and REDUCE_MIN."""
    take = np.max if call.op.kind == "REDUCE_MAX" else np.min
    return [take(call.value(0), axis=_axes(call), keepdims=bool(call.op.option("keep_dims", False)))]


def place_of_extreme(call: Call) -> list[Array]:
    """ARG_MAX and ARG_MIN: the first of equal ones."""
    take = np.argmax if call.op.kind == "ARG_MAX" else np.argmin
    return [take(call.value(0), axis=int(call.value(1).item())).astype(call.results[0].dtype.numpy)]


def _spatial_mean(call: Call, sums: Array, count: int) -> Array:
    offset = np.float32(call.quant(0).zero_point) * call.scale(0) / call.result_scale()
    bias = call.result_quant().zero_point - int(round_away(offset))
    by = quantize_multiplier(call.scale(0) / (np.float32(count) * call.result_scale()))
    return stored(rescale_in_vectors(sums, by, 16) + bias, call.results[0].dtype)


def _to_nearest(call: Call, sums: Array, count: int, share: np.float32) -> Array:
    """Sums in float32, with the zero points joined in one number (`create_reduce_nd`, XNNPACK `reduce-nd.c`)."""
    factor = call.scale(0) / call.result_scale() * share
    offset = np.float32(call.result_quant().zero_point) - np.float32(count * call.quant(0).zero_point) * factor
    return stored(np.rint(sums.astype(np.float32) * factor + offset).astype(np.int64), call.results[0].dtype)


def _sums(call: Call) -> tuple[tuple[int, ...], bool, Array, int]:
    """The axes, whether they are kept, the sums along them, and how many values each is of."""
    axes, kept, values = _axes(call), bool(call.op.option("keep_dims", False)), call.value(0).astype(np.int64)
    return axes, kept, values.sum(axis=axes, keepdims=kept), int(np.prod([values.shape[axis] for axis in axes]))


def _axes(call: Call) -> tuple[int, ...]:
    rank = call.value(0).ndim
    return tuple(sorted({int(axis) % rank for axis in np.atleast_1d(call.value(1))}))


def _pooled(call: Call, data: Array, fill: int, combine: np.ufunc) -> Array:
    height, width = call.op.option("filter_height", 1), call.op.option("filter_width", 1)
    down, across = call.op.option("stride_h", 1), call.op.option("stride_w", 1)
    if call.op.option("padding", 0) != _VALID:
        edges = same_padding(data.shape[1], height, down, 1), same_padding(data.shape[2], width, across, 1)
        data = np.pad(data, ((0, 0), *edges, (0, 0)), constant_values=fill)
    rows, columns = (data.shape[1] - height) // down + 1, (data.shape[2] - width) // across + 1
    found: Array | None = None
    for row in range(height):
        for column in range(width):
            tap = data[
                :, row : row + (rows - 1) * down + 1 : down, column : column + (columns - 1) * across + 1 : across
            ]
            found = tap.copy() if found is None else combine(found, tap)
    assert found is not None
    return found
