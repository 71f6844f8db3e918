"""Convolutions. Keras kernels are [kh, kw, in, out]; LiteRT's [out, kh, kw, in], depthwise [1, kh, kw, channels]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated, is_linear
from tersor.ir.graph import Array
from tersor.ir.outline import in_order

PADDING = {"same": 0, "valid": 1}

Window = tuple[tuple[int, int], tuple[int, int], str]
"""Strides, dilation and padding."""


def window(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    """How many positions a window takes along an axis."""
    if padding == "same":
        return -(-size // stride)
    return (size - (kernel - 1) * dilation - 1) // stride + 1


def padding_of(call: Call) -> str:
    """`same` or `valid`. Raises UnsupportedError for others."""
    padding = str(call.option("padding", "valid")).lower()
    if padding not in PADDING:
        raise call.refused(f"padding {padding!r} is not read")
    return padding


def emit(
    kind: str,
    call: Call,
    tensor: str,
    kernel: Array,
    bias: Array | None,
    window_of: Window,
    part: str = "",
) -> str:
    """A CONV_2D or DEPTHWISE_CONV_2D of images; kernel [out, kh, kw, in / groups] or [1, kh, kw, channels]."""
    (stride_h, stride_w), (dilation_h, dilation_w), padding = window_of
    batch, height, width, channels = call.shape(tensor)
    out = kernel.shape[3] if kind == "DEPTHWISE_CONV_2D" else kernel.shape[0]
    shape = (
        batch,
        window(height, kernel.shape[1], stride_h, dilation_h, padding),
        window(width, kernel.shape[2], stride_w, dilation_w, padding),
        out,
    )
    options = {
        "padding": PADDING[padding],
        "stride_w": stride_w,
        "stride_h": stride_h,
        "dilation_w_factor": dilation_w,
        "dilation_h_factor": dilation_h,
    }
    if kind == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = out // channels
    inside = f"{part}/" if part not in ("", "linear") else ""
    inputs = [tensor, call.constant(f"{inside}kernel", in_order(kernel))]
    inputs.append(call.constant(f"{inside}bias", np.zeros(out, np.float32) if bias is None else bias))
    return call.op(kind, inputs, shape, options, part)


def named(call: Call) -> str:
    """What the result is called before the activation function."""
    return "" if is_linear(call) else "linear"


def groups_of(call: Call, channels: int) -> int:
    """The groups of channels. Raises UnsupportedError if they do not come out even."""
    groups, filters = int(call.option("groups", 1)), call.size("filters")
    if groups < 1 or channels % groups or filters % groups:
        raise call.refused(f"{groups} groups do not divide {channels} channels and {filters} filters")
    return groups


def kernel_name(call: Call) -> str:
    """What depthwise layers call their kernel."""
    return "depthwise_kernel" if call.generation < 3 else "kernel"


def conv2d(call: Call) -> str:
    """`Conv2D`, also grouped."""
    tensor = call.input(4)
    channels, filters = call.shape(tensor)[3], call.size("filters")
    groups = groups_of(call, channels)
    shapes: dict[str, tuple[int, ...]] = {"kernel": (*call.sizes("kernel_size", 2), channels // groups, filters)}
    arrays = take(call, shapes, filters)
    kernel = np.moveaxis(arrays["kernel"], 3, 0)
    return activated(call, emit("CONV_2D", call, tensor, kernel, arrays.get("bias"), _window(call), named(call)))


def take(call: Call, shapes: Mapping[str, tuple[int, ...]], filters: int) -> dict[str, Array]:
    """The layer's arrays, with its bias if it has one."""
    return call.take({**shapes} | ({"bias": (filters,)} if call.option("use_bias", True) else {}))


def _window(call: Call) -> Window:
    strides, dilation = call.sizes("strides", 2, 1), call.sizes("dilation_rate", 2, 1)
    return (strides[0], strides[1]), (dilation[0], dilation[1]), padding_of(call)


def depthwise_conv2d(call: Call) -> str:
    """`DepthwiseConv2D`."""
    tensor = call.input(4)
    channels, multiplier = call.shape(tensor)[3], int(call.option("depth_multiplier", 1))
    name = kernel_name(call)
    arrays = take(call, {name: (*call.sizes("kernel_size", 2), channels, multiplier)}, channels * multiplier)
    kernel = arrays[name].reshape(1, *arrays[name].shape[:2], -1)
    bias = arrays.get("bias")
    return activated(call, emit("DEPTHWISE_CONV_2D", call, tensor, kernel, bias, _window(call), named(call)))


def separable_conv2d(call: Call) -> str:
    """`SeparableConv2D`: depthwise with the strides, then pointwise."""
    tensor = call.input(4)
    channels, filters = call.shape(tensor)[3], call.size("filters")
    wide = channels * int(call.option("depth_multiplier", 1))
    sizes = call.sizes("kernel_size", 2)
    shapes = {"depthwise_kernel": (*sizes, channels, wide // channels), "pointwise_kernel": (1, 1, wide, filters)}
    arrays = take(call, shapes, filters)
    flat = arrays["depthwise_kernel"].reshape(1, *sizes, wide)
    inner = emit("DEPTHWISE_CONV_2D", call, tensor, flat, None, _window(call), "depthwise")
    kernel, bias = np.moveaxis(arrays["pointwise_kernel"], 3, 0), arrays.get("bias")
    return activated(call, emit("CONV_2D", call, inner, kernel, bias, ((1, 1), (1, 1), "valid"), named(call)))


LAYERS: dict[str, Callable[[Call], str]] = {
    "Conv2D": conv2d,
    "Convolution2D": conv2d,
    "DepthwiseConv2D": depthwise_conv2d,
    "SeparableConv2D": separable_conv2d,
    "SeparableConvolution2D": separable_conv2d,
}
