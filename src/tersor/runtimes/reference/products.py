"""Layers with weights: convolutions and dense layers.

Sums of products are computed by BLAS on floating-point numbers that hold all of them exactly. Rounding differs:

* builtin: CONV_2D and FULLY_CONNECTED are ruy's, which rounds halves up (`rescale_up`); DEPTHWISE_CONV_2D does so for
  channels in groups of 8 and rounds those that are left as the reference does (`optimized_ops.h`, `Quantize`); CONV_2D
  with groups is the reference's.
* micro: all of them round as the reference does (`reference/integer_ops`, `rescale_twice`).
* xnnpack: the sum as float32 times a float32 scale, to nearest even (`qs8-*-fp32-*`).

With 16-bit activations sums have 64 bits and the multiplier 15 (`rescale_wide`), but builtin's FULLY_CONNECTED
multiplies in float64 (`reference/integer_ops/fully_connected.h`), or is ruy's where there is no bias.
"""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_point import (
    quantize_multiplier,
    rescale_in_vectors,
    rescale_twice,
    rescale_up,
    rescale_wide,
    round_away,
)
from tersor.numerics.patches import same_padding
from tersor.runtimes.reference.call import Call, activation_range, stored

_EXACT32, _EXACT64 = 1 << 24, 1 << 53
_VALID = 1


def conv_2d(call: Call) -> list[Array]:
    """CONV_2D; weights [outputs, height, width, inputs / groups]."""
    weights = _weights(call, 1)
    outputs, height, width, depth = weights.shape
    windows = _windows(call, call.centered(0), height, width)
    rows, columns, channels = windows.shape[1], windows.shape[2], windows.shape[-1]
    groups = channels // depth
    flat = windows.reshape(windows.shape[0] * rows * columns, height * width, groups, depth)
    matrix = weights.reshape(groups, outputs // groups, -1)
    sums = [
        product(flat[:, :, group].reshape(len(flat), -1), matrix[group].T, call.tensor(0).dtype)
        for group in range(groups)
    ]
    joined = np.concatenate(sums, axis=1) if groups > 1 else sums[0]
    joined = joined.reshape(windows.shape[0], rows, columns, outputs)
    return [_finished(call, _with_bias(call, joined), lanes=None if groups == 1 else outputs + 1)]


def depthwise_conv_2d(call: Call) -> list[Array]:
    """DEPTHWISE_CONV_2D; weights [1, height, width, channels x multiplier]."""
    weights = _weights(call, 1)
    _, height, width, outputs = weights.shape
    wide = np.int64 if call.tensor(0).dtype is DType.INT16 else np.int32
    windows = _windows(call, call.centered(0).astype(wide), height, width)
    repeat = outputs // windows.shape[-1]
    sums = np.zeros((*windows.shape[:3], outputs), wide)
    for row in range(height):
        for column in range(width):
            tap = windows[:, :, :, row, column]
            sums += (np.repeat(tap, repeat, axis=-1) if repeat > 1 else tap) * weights[0, row, column].astype(wide)
    return [_finished(call, _with_bias(call, sums.astype(np.int64)), lanes=8)]


def fully_connected(call: Call) -> list[Array]:
    """FULLY_CONNECTED; weights [outputs, inputs]."""
    weights = _weights(call, 1)
    if call.kernels == "micro" and call.tensor(1).dtype is DType.INT4 and len(call.quant(1).scales) > 1:
        raise call.refusal("TensorFlow Lite Micro takes 4-bit weights of a dense layer with one scale only")
    if call.kernels == "micro" and call.tensor(1).dtype is DType.INT2:
        raise call.refusal("TensorFlow Lite Micro takes no 2-bit weights")
    rows = call.centered(0).reshape(-1, weights.shape[1])
    sums = product(rows, weights.T, call.tensor(0).dtype)
    found = _finished(call, _with_bias(call, sums), lanes=None)
    kept = bool(call.op.option("keep_num_dims", False))
    return [found.reshape(*call.value(0).shape[:-1], -1) if kept else found]


def transpose_conv(call: Call) -> list[Array]:
    """TRANSPOSE_CONV; weights [outputs, height, width, inputs], operands: output shape, weights, data, bias."""
    weights = _weights(call, 1)
    outputs, height, width, depth = weights.shape
    shape = tuple(int(size) for size in call.value(0))
    down, across = call.op.option("stride_h", 1), call.op.option("stride_w", 1)
    same = call.op.option("padding", 0) != _VALID
    top = same_padding(shape[1], height, down, 1)[0] if same else 0
    left = same_padding(shape[2], width, across, 1)[0] if same else 0
    data = call.centered(2)
    batch, rows, columns = data.shape[:3]
    spread = product(data.reshape(-1, depth), weights.reshape(-1, depth).T, call.tensor(2).dtype)
    spread = spread.reshape(batch, rows, columns, outputs, height, width)
    sums = np.zeros((batch, (rows - 1) * down + height, (columns - 1) * across + width, outputs), np.int64)
    sums = np.pad(
        sums,
        ((0, 0), (0, max(top + shape[1] - sums.shape[1], 0)), (0, max(left + shape[2] - sums.shape[2], 0)), (0, 0)),
    )
    for row in range(height):
        for column in range(width):
            place = sums[
                :, row : row + (rows - 1) * down + 1 : down, column : column + (columns - 1) * across + 1 : across
            ]
            place += spread[..., row, column]
    sums = sums[:, top : top + shape[1], left : left + shape[2]]
    return [_finished(call, _with_bias(call, sums, 3), lanes=8, data=2)]


def product(left: Array, right: Array, dtype: DType, other: DType = DType.INT8) -> Array:
    """An exact product of integer matrices, or of stacks of these, int64.

    Args:
        left: activations less their zero point.
        right: weights, or activations less their zero point.
        dtype: of the activations.
        other: of `right`.
    """
    limit = left.shape[-1] << ((dtype.bits or 8) + (other.bits or 8))
    assert limit < _EXACT64
    real = np.float32 if limit < _EXACT32 else np.float64
    found: Array = (left.astype(real) @ right.astype(real)).astype(np.int64)
    return found


def _weights(call: Call, index: int) -> Array:
    """Weights less their zero point, which only old uint8 files have."""
    values, zeros = call.value(index).astype(np.int64), call.quant(index).zero_points
    return values - zeros[0] if any(zeros) else values


def _windows(call: Call, data: Array, height: int, width: int) -> Array:
    """A view [batch, rows, columns, height, width, channels] of a padded input."""
    down, across = call.op.option("stride_h", 1), call.op.option("stride_w", 1)
    tall, broad = call.op.option("dilation_h_factor", 1) or 1, call.op.option("dilation_w_factor", 1) or 1
    if call.op.option("padding", 0) != _VALID:
        edges = (
            same_padding(data.shape[1], height, down, tall),
            same_padding(data.shape[2], width, across, broad),
        )
        data = np.pad(data, ((0, 0), *edges, (0, 0)))
    reach = ((height - 1) * tall + 1, (width - 1) * broad + 1)
    view = np.lib.stride_tricks.sliding_window_view(data, reach, axis=(1, 2))
    return view[:, ::down, ::across, :, ::tall, ::broad].transpose(0, 1, 2, 4, 5, 3)


def _with_bias(call: Call, sums: Array, index: int = 2) -> Array:
    return sums + call.value(index).astype(np.int64) if call.has(index) else sums


def _finished(call: Call, sums: Array, *, lanes: int | None, data: int = 0) -> Array:
    """Sums as integers of the result's scale; `lanes`: see `rescale_in_vectors`, None for ruy."""
    limits, zero, dtype = activation_range(call), call.result_quant().zero_point, call.results[0].dtype
    factor = _factor(call, data)
    if call.kernels == "xnnpack":
        return stored(to_nearest(sums, factor, limits, zero), dtype, limits)
    dense = call.op.kind == "FULLY_CONNECTED"
    if _is_wide(call, data) and dense and call.kernels == "builtin" and call.has(2):
        found = round_away(sums.astype(np.float64) * factor).astype(np.int64)
    elif _is_wide(call, data) and not (dense and call.kernels == "builtin"):
        found = rescale_wide(sums, quantize_multiplier(factor))
    elif call.kernels == "micro":
        found = rescale_twice(sums, quantize_multiplier(factor))
    elif lanes is None:
        found = rescale_up(sums, quantize_multiplier(factor))
    else:
        found = rescale_in_vectors(sums, quantize_multiplier(factor), lanes)
    return stored(found + zero, dtype, limits)


def _factor(call: Call, data: int) -> Array:
    """Input scale times weight scales over result scale: in float32 for XNNPACK, else in float64.

    A dense layer with one scale multiplies the first two in float32 (`GetQuantizedConvolutionMultipler`,
    `kernel_util.cc`).
    """
    weights = np.array(call.quant(1).scales, np.float32)
    product: Array = call.scale(data) * weights
    if call.kernels == "xnnpack":
        return product / call.result_scale()
    if call.op.kind != "FULLY_CONNECTED" or len(weights) > 1:
        product = np.float64(call.scale(data)) * weights.astype(np.float64)
    return product.astype(np.float64) / np.float64(call.result_scale())


def _is_wide(call: Call, data: int) -> bool:
    """Whether activations have 16 bits. Raises UnsupportedError for the older form of these, with a bias of 32."""
    if call.tensor(data).dtype is not DType.INT16:
        return False
    bias = data + 1 if data else 2
    if call.has(bias) and call.tensor(bias).dtype is not DType.INT64:
        raise call.refusal("16-bit activations with a 32-bit bias are not there")
    return True


def to_nearest(sums: Array, factor: Array | np.float32, limits: tuple[int, int], zero: int) -> Array:
    """Sums times a float32 factor, halves to even, plus a zero point (XNNPACK's fp32 requantization)."""
    real = sums.astype(np.float32) * factor
    found: Array = np.rint(np.minimum(real, np.float32(limits[1] - zero))).astype(np.int64) + zero
    return found
