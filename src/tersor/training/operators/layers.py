"""Products with constant weights, which are laid out as Keras does (`weights`)."""

from __future__ import annotations

from typing import Any

from keras import ops

from tersor.training.operators.call import Call

_SAME = 0
"""The code of the padding in `schema.fbs`; VALID is 1."""


def padding(call: Call) -> str:
    """How windows at the border are filled up."""
    return "same" if call.option("padding") == _SAME else "valid"


def conv_2d(call: Call) -> Any:
    """Kernel [height, width, inputs / groups, outputs]."""
    strides = call.option("stride_h", 1), call.option("stride_w", 1)
    dilation = call.option("dilation_h_factor", 1), call.option("dilation_w_factor", 1)
    x, kernel = call.operand(0), call.operand(1)
    return _with_bias(call, ops.conv(x, kernel, strides, padding(call), "channels_last", dilation), 2)


def conv_3d(call: Call) -> Any:
    """Kernel [depth, height, width, inputs, outputs], as in the file."""
    strides = tuple(call.option(f"stride_{axis}", 1) for axis in "dhw")
    dilation = tuple(call.option(f"dilation_{axis}_factor", 1) for axis in "dhw")
    x, kernel = call.operand(0), call.operand(1)
    return _with_bias(call, ops.conv(x, kernel, strides, padding(call), "channels_last", dilation), 2)


def depthwise_conv_2d(call: Call) -> Any:
    """Kernel [height, width, inputs, multiplier]."""
    strides = call.option("stride_h", 1), call.option("stride_w", 1)
    dilation = call.option("dilation_h_factor", 1), call.option("dilation_w_factor", 1)
    x, kernel = call.operand(0), call.operand(1)
    return _with_bias(call, ops.depthwise_conv(x, kernel, strides, padding(call), "channels_last", dilation), 2)


def fully_connected(call: Call) -> Any:
    """Kernel [inputs, outputs]; operands of higher rank become rows, if the operator does not keep them."""
    x, kernel = call.operand(0), call.operand(1)
    if not call.option("keep_num_dims", False) and len(call.results[0]) != len(call.shapes[0]):
        x = ops.reshape(x, (-1, call.shapes[1][-1]))
    return _with_bias(call, ops.matmul(x, kernel), 2)


def transpose_conv(call: Call) -> Any:
    """Kernel [height, width, outputs, inputs]."""
    kernel, x = call.operand(1), call.operand(2)
    strides = call.option("stride_h", 1), call.option("stride_w", 1)
    windows = call.shapes[1][1:3]
    usual = [
        size * stride if padding(call) == "same" else size * stride + max(window - stride, 0)
        for size, stride, window in zip(call.shapes[2][1:3], strides, windows, strict=True)
    ]
    result = ops.conv_transpose(x, kernel, strides, padding(call), data_format="channels_last")
    wanted = call.results[0][1:3]
    if tuple(usual) != tuple(wanted):  # what a stride leaves over is cut off, as by TensorFlow
        result = result[:, : wanted[0], : wanted[1]]
    return _with_bias(call, result, 3)


def batch_matmul(call: Call) -> Any:
    """Products of matrices, transposed where the options say so."""
    left, right = call.operand(0), call.operand(1)
    left = ops.swapaxes(left, -1, -2) if call.option("adj_x", False) else left
    right = ops.swapaxes(right, -1, -2) if call.option("adj_y", False) else right
    return ops.matmul(left, right)


def _with_bias(call: Call, result: Any, index: int) -> Any:
    bias = call.operand(index)
    return result if bias is None else result + bias
