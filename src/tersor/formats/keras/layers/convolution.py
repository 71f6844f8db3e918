"""Convolutions. Keras kernels are [kh, kw, in, out]; LiteRT's [out, kh, kw, in], depthwise [1, kh, kw, channels]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated, is_linear
from tersor.ir.graph import Array

_PADDING = {"same": 0, "valid": 1}


def window(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    """How many positions a window takes along an axis."""
    if padding == "same":
        return -(-size // stride)
    return (size - (kernel - 1) * dilation - 1) // stride + 1


def padding_of(call: Call) -> str:
    """`same` or `valid`. Raises UnsupportedError for others."""
    padding = str(call.option("padding", "valid")).lower()
    if padding not in _PADDING:
        raise call.refused(f"padding {padding!r} is not read")
    return padding


def convolve(call: Call, tensor: str, kernel: Array, bias: Array | None, part: str = "") -> str:
    """A CONV_2D with the configuration's strides; kernel [kh, kw, in / groups, out]."""
    strides, dilation = call.sizes("strides", 2, 1), call.sizes("dilation_rate", 2, 1)
    return _emit("CONV_2D", call, tensor, np.moveaxis(kernel, 3, 0), bias, (strides, dilation), part)


def depthwise(call: Call, tensor: str, kernel: Array, bias: Array | None, part: str = "") -> str:
    """A DEPTHWISE_CONV_2D with the configuration's strides; kernel [kh, kw, in, multiplier]."""
    strides, dilation = call.sizes("strides", 2, 1), call.sizes("dilation_rate", 2, 1)
    flat = kernel.reshape(1, *kernel.shape[:2], -1)
    return _emit("DEPTHWISE_CONV_2D", call, tensor, flat, bias, (strides, dilation), part)


def _emit(
    kind: str,
    call: Call,
    tensor: str,
    kernel: Array,
    bias: Array | None,
    steps: tuple[tuple[int, ...], tuple[int, ...]],
    part: str,
) -> str:
    (stride_h, stride_w), (dilation_h, dilation_w) = steps
    padding = padding_of(call)
    _, height, width, channels = call.shape(tensor)
    out = kernel.shape[3] if kind == "DEPTHWISE_CONV_2D" else kernel.shape[0]
    shape = (
        1,
        window(height, kernel.shape[1], stride_h, dilation_h, padding),
        window(width, kernel.shape[2], stride_w, dilation_w, padding),
        out,
    )
    options = {
        "padding": _PADDING[padding],
        "stride_w": stride_w,
        "stride_h": stride_h,
        "dilation_w_factor": dilation_w,
        "dilation_h_factor": dilation_h,
    }
    if kind == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = out // channels
    named = part or "kernel"
    inputs = [tensor, call.constant("kernel" if not part else f"{named}/kernel", np.ascontiguousarray(kernel))]
    values = np.zeros(out, np.float32) if bias is None else bias
    inputs.append(call.constant("bias" if not part else f"{named}/bias", values))
    return call.op(kind, inputs, shape, options, part)


def _pre(call: Call) -> str:
    """What the result is called before the activation function."""
    return "" if is_linear(call) else "linear"


def conv2d(call: Call) -> str:
    """`Conv2D`, also grouped."""
    call.channels_last()
    tensor = call.input(4)
    channels, filters, groups = call.shape(tensor)[3], call.size("filters"), int(call.option("groups", 1))
    if groups < 1 or channels % groups or filters % groups:
        raise call.refused(f"{groups} groups do not divide {channels} channels and {filters} filters")
    shapes: dict[str, tuple[int, ...]] = {"kernel": (*call.sizes("kernel_size", 2), channels // groups, filters)}
    if call.option("use_bias", True):
        shapes["bias"] = (filters,)
    arrays = call.take(shapes)
    return activated(call, convolve(call, tensor, arrays["kernel"], arrays.get("bias"), _pre(call)))


def depthwise_conv2d(call: Call) -> str:
    """`DepthwiseConv2D`."""
    call.channels_last()
    tensor = call.input(4)
    channels, multiplier = call.shape(tensor)[3], int(call.option("depth_multiplier", 1))
    name = "depthwise_kernel" if call.generation < 3 else "kernel"
    shapes: dict[str, tuple[int, ...]] = {name: (*call.sizes("kernel_size", 2), channels, multiplier)}
    if call.option("use_bias", True):
        shapes["bias"] = (channels * multiplier,)
    arrays = call.take(shapes)
    return activated(call, depthwise(call, tensor, arrays[name], arrays.get("bias"), _pre(call)))


def separable_conv2d(call: Call) -> str:
    """`SeparableConv2D`: depthwise with the strides, then pointwise."""
    call.channels_last()
    tensor = call.input(4)
    channels, filters = call.shape(tensor)[3], call.size("filters")
    multiplier = int(call.option("depth_multiplier", 1))
    shapes: dict[str, tuple[int, ...]] = {
        "depthwise_kernel": (*call.sizes("kernel_size", 2), channels, multiplier),
        "pointwise_kernel": (1, 1, channels * multiplier, filters),
    }
    if call.option("use_bias", True):
        shapes["bias"] = (filters,)
    arrays = call.take(shapes)
    inner = depthwise(call, tensor, arrays["depthwise_kernel"], None, "depthwise")
    kernel = np.moveaxis(arrays["pointwise_kernel"], 3, 0)
    return activated(call, _emit("CONV_2D", call, inner, kernel, arrays.get("bias"), ((1, 1), (1, 1)), _pre(call)))


def conv2d_transpose(call: Call) -> str:
    """`Conv2DTranspose` without dilation: TRANSPOSE_CONV of the stated output shape; kernel [kh, kw, out, in]."""
    call.channels_last()
    tensor = call.input(4)
    _, height, width, channels = call.shape(tensor)
    filters, (kernel_h, kernel_w) = call.size("filters"), call.sizes("kernel_size", 2)
    (stride_h, stride_w), padding = call.sizes("strides", 2, 1), padding_of(call)
    if call.sizes("dilation_rate", 2, 1) != (1, 1) or call.option("output_padding", None) is not None:
        raise call.refused("dilation and output_padding are not read")
    shapes: dict[str, tuple[int, ...]] = {"kernel": (kernel_h, kernel_w, filters, channels)}
    if call.option("use_bias", True):
        shapes["bias"] = (filters,)
    arrays = call.take(shapes)
    beyond = (0, 0) if padding == "same" else (max(kernel_h - stride_h, 0), max(kernel_w - stride_w, 0))
    shape = (1, height * stride_h + beyond[0], width * stride_w + beyond[1], filters)
    kernel = call.constant("kernel", np.ascontiguousarray(np.moveaxis(arrays["kernel"], 2, 0)))
    bias = call.constant("bias", arrays.get("bias", np.zeros(filters, np.float32)))
    options = {"padding": _PADDING[padding], "stride_w": stride_w, "stride_h": stride_h}
    inputs = [call.integers("shape", shape), kernel, tensor, bias]
    return activated(call, call.op("TRANSPOSE_CONV", inputs, shape, options, _pre(call), version=3))


def conv1d(call: Call) -> str:
    """`Conv1D` as a convolution of height 1; causal padding is a PAD before it."""
    call.channels_last()
    tensor = call.input(3)
    _, length, channels = call.shape(tensor)
    filters, groups = call.size("filters"), int(call.option("groups", 1))
    (kernel_size,), (stride,) = call.sizes("kernel_size", 1), call.sizes("strides", 1, 1)
    (dilation,) = call.sizes("dilation_rate", 1, 1)
    shapes: dict[str, tuple[int, ...]] = {"kernel": (kernel_size, channels // max(groups, 1), filters)}
    if call.option("use_bias", True):
        shapes["bias"] = (filters,)
    arrays = call.take(shapes)
    padding = str(call.option("padding", "valid"))
    if padding == "causal":
        before = (kernel_size - 1) * dilation
        pads = call.integers("paddings", [[0, 0], [before, 0], [0, 0]])
        length += before
        tensor = call.op("PAD", [tensor, pads], (1, length, channels), None, "padded")
    elif padding not in _PADDING:
        raise call.refused(f"padding {padding!r} is not read")
    shape = (1, window(length, kernel_size, stride, dilation, padding), filters)
    flat = (1, 1, length, channels)
    image = call.op("RESHAPE", [tensor, call.integers("image_shape", flat)], flat, {"new_shape": flat}, "image")
    options = {
        "padding": _PADDING.get(padding, 1),
        "stride_w": stride,
        "stride_h": 1,
        "dilation_w_factor": dilation,
        "dilation_h_factor": 1,
    }
    kernel = np.ascontiguousarray(np.moveaxis(arrays["kernel"], 2, 0)[:, None])
    bias = arrays.get("bias", np.zeros(filters, np.float32))
    inputs = [image, call.constant("kernel", kernel), call.constant("bias", bias)]
    result = call.op("CONV_2D", inputs, (1, 1, *shape[1:]), options, "convolution")
    target = call.integers("shape", shape)
    return activated(call, call.op("RESHAPE", [result, target], shape, {"new_shape": shape}, _pre(call)))


LAYERS: dict[str, Callable[[Call], str]] = {
    "Conv1D": conv1d,
    "Conv2D": conv2d,
    "Conv2DTranspose": conv2d_transpose,
    "Convolution1D": conv1d,
    "Convolution2D": conv2d,
    "Convolution2DTranspose": conv2d_transpose,
    "DepthwiseConv2D": depthwise_conv2d,
    "SeparableConv2D": separable_conv2d,
    "SeparableConvolution2D": separable_conv2d,
}
