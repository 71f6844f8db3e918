"""Transposed convolutions: TRANSPOSE_CONV of the stated output shape. Kernels are [..., out, in]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated
from tersor.formats.keras.layers.convolution import PADDING, named, padding_of, take
from tersor.formats.keras.layers.reshape import reshaped
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array


def conv2d_transpose(call: Call) -> str:
    """`Conv2DTranspose`."""
    tensor = call.input(4)
    kernel, bias = _arrays(call, 2, call.shape(tensor)[3])
    strides = call.sizes("strides", 2, 1)
    sizes = _sizes(call, call.shape(tensor)[1:3], kernel.shape[1:3], strides)
    return activated(call, _emit(call, tensor, kernel, bias, (sizes, strides), named(call)))


def conv1d_transpose(call: Call) -> str:
    """`Conv1DTranspose`, of an image of height 1."""
    tensor = call.input(3)
    batch, length, channels = call.shape(tensor)
    kernel, bias = _arrays(call, 1, channels)
    strides = call.sizes("strides", 1, 1)
    (size,) = _sizes(call, (length,), kernel.shape[1:2], strides)
    image = reshaped(call, tensor, (batch, 1, length, channels), "image")
    result = _emit(call, image, kernel[:, None], bias, ((1, size), (1, strides[0])), "convolution")
    return activated(call, reshaped(call, result, (batch, size, kernel.shape[0]), named(call)))


def conv3d_transpose(call: Call) -> str:
    """`Conv3DTranspose`: CONV_3D_TRANSPOSE, whose kernel is Keras's."""
    tensor = call.input(5)
    channels = call.shape(tensor)[4]
    kernel, bias = _arrays(call, 3, channels)
    strides = call.sizes("strides", 3, 1)
    sizes = _sizes(call, call.shape(tensor)[1:4], kernel.shape[1:4], strides)
    shape = (call.batch(tensor), *sizes, kernel.shape[0])
    options = {"padding": PADDING[padding_of(call)]}
    for axis, stride in zip("dhw", strides, strict=True):
        options |= {f"stride_{axis}": stride, f"dilation_{axis}_factor": 1}
    weights = np.ascontiguousarray(np.moveaxis(kernel, 0, 3))
    inputs = [call.integers("shape", shape), call.constant("kernel", weights), tensor, call.constant("bias", bias)]
    result = call.op("CONV_3D_TRANSPOSE", inputs, shape, options, named(call), dtype=DType.FLOAT32)
    return activated(call, result)


def _arrays(call: Call, rank: int, channels: int) -> tuple[Array, Array]:
    """Kernel [out, ..., in], spread with zeros where it is dilated, and bias."""
    filters = call.size("filters")
    arrays = take(call, {"kernel": (*call.sizes("kernel_size", rank), filters, channels)}, filters)
    kernel = np.moveaxis(arrays["kernel"], rank, 0)
    dilation = call.sizes("dilation_rate", rank, 1)
    spread = [(size - 1) * step + 1 for size, step in zip(kernel.shape[1:-1], dilation, strict=True)]
    whole = np.zeros((filters, *spread, channels), np.float32)
    whole[(slice(None), *(slice(None, None, step) for step in dilation))] = kernel
    return whole, arrays.get("bias", np.zeros(filters, np.float32))


def _sizes(call: Call, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """The output's sizes; `output_padding` chooses among those that a convolution takes to the input's."""
    extra = call.option("output_padding", None)
    extras = [extra] * len(sizes) if extra is None or isinstance(extra, int) else list(extra)
    is_same = padding_of(call) == "same"
    found = []
    for size, width, stride, more in zip(sizes, kernel, strides, extras, strict=True):
        if more is None:
            found.append(size * stride if is_same else (size - 1) * stride + max(width, stride))
        else:
            found.append((size - 1) * stride + (width % 2 if is_same else width) + int(more))
    back = [
        -(-out // s) if is_same else -(-(out - k + 1) // s) for out, k, s in zip(found, kernel, strides, strict=True)
    ]
    if back != list(sizes):
        raise call.refused(f"output_padding {extra} with these strides gives sizes that LiteRT does not compute")
    return tuple(found)


def _emit(
    call: Call,
    tensor: str,
    kernel: Array,
    bias: Array,
    sizes: tuple[Sequence[int], Sequence[int]],
    part: str,
) -> str:
    """A TRANSPOSE_CONV to the first sizes with the second as strides."""
    shape = (call.batch(tensor), *sizes[0], kernel.shape[0])
    options = {"padding": PADDING[padding_of(call)], "stride_w": sizes[1][1], "stride_h": sizes[1][0]}
    weights = call.constant("kernel", np.ascontiguousarray(kernel))
    inputs = [call.integers("shape", shape), weights, tensor, call.constant("bias", bias)]
    return call.op("TRANSPOSE_CONV", inputs, shape, options, part, 3, DType.FLOAT32)


LAYERS: dict[str, Callable[[Call], str]] = {
    "Conv1DTranspose": conv1d_transpose,
    "Conv2DTranspose": conv2d_transpose,
    "Conv3DTranspose": conv3d_transpose,
    "Convolution1DTranspose": conv1d_transpose,
    "Convolution2DTranspose": conv2d_transpose,
    "Convolution3DTranspose": conv3d_transpose,
}
