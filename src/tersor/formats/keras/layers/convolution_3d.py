"""Convolutions of volumes: CONV_3D, whose kernel is Keras's. It has no integer kernel."""

from __future__ import annotations

from collections.abc import Callable

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated
from tersor.formats.keras.layers.convolution import PADDING, groups_of, named, padding_of, take, window


def conv3d(call: Call) -> str:
    """`Conv3D` without groups; kernel [kd, kh, kw, in, out]."""
    tensor = call.input(5)
    batch, *sizes, channels = call.shape(tensor)
    filters, padding = call.size("filters"), padding_of(call)
    if groups_of(call, channels) != 1:
        raise call.refused("groups are not read: LiteRT's CONV_3D has none")
    kernel, strides = call.sizes("kernel_size", 3), call.sizes("strides", 3, 1)
    dilation = call.sizes("dilation_rate", 3, 1)
    arrays = take(call, {"kernel": (*kernel, channels, filters)}, filters)
    places = zip(sizes, kernel, strides, dilation, strict=True)
    shape = (batch, *(window(*place, padding) for place in places), filters)
    options = {"padding": PADDING[padding]}
    for axis, stride, rate in zip("dhw", strides, dilation, strict=True):
        options |= {f"stride_{axis}": stride, f"dilation_{axis}_factor": rate}
    inputs = [tensor, call.constant("kernel", arrays["kernel"])]
    if "bias" in arrays:
        inputs.append(call.constant("bias", arrays["bias"]))
    return activated(call, call.op("CONV_3D", inputs, shape, options, named(call)))


LAYERS: dict[str, Callable[[Call], str]] = {"Conv3D": conv3d, "Convolution3D": conv3d}
