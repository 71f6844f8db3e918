"""Convolutions along time: convolutions of images of height 1. Kernels are [size, in, out]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated
from tersor.formats.keras.layers.convolution import Window, emit, groups_of, kernel_name, named, padding_of, take
from tersor.formats.keras.layers.reshape import reshaped


def _image(call: Call, tensor: str) -> tuple[str, Window]:
    """[batch, time, channels] as an image, with the zeros before it that causal padding means; and how to slide."""
    batch, length, channels = call.shape(tensor)
    (stride,), (dilation,) = call.sizes("strides", 1, 1), call.sizes("dilation_rate", 1, 1)
    padding = str(call.option("padding", "valid"))
    if padding == "causal":
        before = (call.sizes("kernel_size", 1)[0] - 1) * dilation
        padding, length = "valid", length + before
        pads = call.integers("paddings", [[0, 0], [before, 0], [0, 0]])
        tensor = call.op("PAD", [tensor, pads], (batch, length, channels), None, "padded")
    else:
        padding = padding_of(call)
    return reshaped(call, tensor, (batch, 1, length, channels), "image"), ((1, stride), (1, dilation), padding)


def _row(call: Call, image: str) -> str:
    batch, _, length, channels = call.shape(image)
    return activated(call, reshaped(call, image, (batch, length, channels), named(call)))


def conv1d(call: Call) -> str:
    """`Conv1D`, also grouped."""
    tensor = call.input(3)
    channels, filters = call.shape(tensor)[2], call.size("filters")
    groups = groups_of(call, channels)
    arrays = take(call, {"kernel": (*call.sizes("kernel_size", 1), channels // groups, filters)}, filters)
    image, slide = _image(call, tensor)
    kernel = np.moveaxis(arrays["kernel"], 2, 0)[:, None]
    return _row(call, emit("CONV_2D", call, image, kernel, arrays.get("bias"), slide, "convolution"))


def depthwise_conv1d(call: Call) -> str:
    """`DepthwiseConv1D`."""
    tensor = call.input(3)
    channels, multiplier = call.shape(tensor)[2], int(call.option("depth_multiplier", 1))
    name, (size,) = kernel_name(call), call.sizes("kernel_size", 1)
    arrays = take(call, {name: (size, channels, multiplier)}, channels * multiplier)
    image, slide = _image(call, tensor)
    kernel = arrays[name].reshape(1, 1, size, channels * multiplier)
    return _row(call, emit("DEPTHWISE_CONV_2D", call, image, kernel, arrays.get("bias"), slide, "convolution"))


def separable_conv1d(call: Call) -> str:
    """`SeparableConv1D`: depthwise with the strides, then pointwise."""
    tensor = call.input(3)
    channels, filters = call.shape(tensor)[2], call.size("filters")
    wide, (size,) = channels * int(call.option("depth_multiplier", 1)), call.sizes("kernel_size", 1)
    shapes = {"depthwise_kernel": (size, channels, wide // channels), "pointwise_kernel": (1, wide, filters)}
    arrays = take(call, shapes, filters)
    image, slide = _image(call, tensor)
    flat = arrays["depthwise_kernel"].reshape(1, 1, size, wide)
    inner = emit("DEPTHWISE_CONV_2D", call, image, flat, None, slide, "depthwise")
    kernel = np.moveaxis(arrays["pointwise_kernel"], 2, 0)[:, None]
    return _row(call, emit("CONV_2D", call, inner, kernel, arrays.get("bias"), ((1, 1), (1, 1), "valid"), "pointwise"))


LAYERS: dict[str, Callable[[Call], str]] = {
    "Conv1D": conv1d,
    "Convolution1D": conv1d,
    "DepthwiseConv1D": depthwise_conv1d,
    "SeparableConv1D": separable_conv1d,
    "SeparableConvolution1D": separable_conv1d,
}
