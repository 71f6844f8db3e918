"""Functions of `keras.ops` that are layers without weights of their own: products, convolutions, poolings, images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.activation import log_softmax, softmax
from tersor.formats.keras.layers.convolution import PADDING, emit
from tersor.formats.keras.layers.normalization import affine, standardized
from tersor.formats.keras.layers.operands import axis_of, first, first_real, operands, setting
from tersor.formats.keras.layers.operations_products import array_of
from tersor.formats.keras.layers.padding import cropped_to, resized
from tersor.formats.keras.layers.pooling import pooled
from tersor.ir.dtypes import DType

_EPSILON = 1e-7
"""`keras.config.epsilon()`."""


def convolution(kind: str, call: Call) -> str:
    """Images with a kernel that is an array."""
    tensor = first_real(call)
    kernel = operands(call)[1] if len(operands(call)) > 1 else call.kwargs.get("kernel")
    if isinstance(kernel, Edge) or len(call.shape(tensor)) != 4 or _is_channels_first(call):
        raise call.refused("only images, channels_last, with a kernel that is an array are read: use a layer")
    array = array_of(call, kernel)
    is_depthwise = kind == "DEPTHWISE_CONV_2D"
    weights = array.reshape(1, *array.shape[:2], -1) if is_depthwise else np.moveaxis(array, 3, 0)
    strides, dilation = _two(setting(call, "strides", 2, 1)), _two(setting(call, "dilation_rate", 5, 1))
    return emit(kind, call, tensor, weights, None, (strides, dilation, _padding(call)))


def _two(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _padding(call: Call) -> str:
    padding = str(setting(call, "padding", 3, "valid")).lower()
    if padding not in PADDING:
        raise call.refused(f"padding {padding!r} is not read")
    return padding


def _is_channels_first(call: Call) -> bool:
    return str(setting(call, "data_format", 4, None)) in ("channels_first", "NCHW")


def pooling(kind: str, call: Call) -> str:
    """Poolings along one, two or three axes."""
    tensor = first_real(call)
    if _is_channels_first(call):
        raise call.refused("data_format channels_first is not read: use a layer")
    rank = len(call.shape(tensor)) - 2
    sizes, steps = setting(call, "pool_size", 1), setting(call, "strides", 2, None)
    listed = tuple([sizes] * rank if isinstance(sizes, int) else sizes)
    steps = listed if steps is None else tuple([steps] * rank if isinstance(steps, int) else steps)
    return pooled(call, tensor, kind, listed, steps, _padding(call))


def batch_normalization(call: Call) -> str:
    """``(x - mean) / sqrt(variance + epsilon) * scale + offset`` with arrays."""
    tensor = first_real(call)
    axis = axis_of(call, tensor, "axis", 3)
    arrays = {}
    for place, key in ((1, "mean"), (2, "variance"), (3, "offset"), (4, "scale")):
        value = call.kwargs.get(key, call.args[place] if len(call.args) > place else None)
        if isinstance(value, Edge):
            raise call.refused(f"its {key} is a tensor, and only arrays are read")
        arrays[key] = None if value is None else array_of(call, value).astype(np.float64)
    mean, variance, offset, scale = arrays["mean"], arrays["variance"], arrays["offset"], arrays["scale"]
    if mean is None or variance is None:
        raise call.refused("its mean or variance is missing")
    factor = (1 if scale is None else scale) / np.sqrt(variance + float(setting(call, "epsilon", 6, 1e-3)))
    shift = (0 if offset is None else offset) - mean * factor
    spread_to = (-1, *[1] * (len(call.shape(tensor)) - 1 - axis))
    return affine(call, tensor, factor.reshape(spread_to), shift.reshape(spread_to))


def layer_normalization(call: Call) -> str:
    """Standardized along an axis; gamma and beta are arrays."""
    tensor = first_real(call)
    axis = axis_of(call, tensor, "axis", 3, -1)
    is_rms = call.layer.kind == "ops.RMSNorm"
    epsilon = float(setting(call, "epsilon", 4, None) or _EPSILON)
    size = call.shape(tensor)[axis]
    spread_to = (-1, *[1] * (len(call.shape(tensor)) - 1 - axis))
    values = []
    for place, key, plain in ((1, "scale" if is_rms else "gamma", np.ones(size)), (2, "beta", np.zeros(size))):
        given = call.kwargs.get(
            key, call.args[place] if len(call.args) > place and not (is_rms and place == 2) else None
        )
        if isinstance(given, Edge):
            raise call.refused(f"its {key} is a tensor, and only arrays are read")
        values.append((plain if given is None else array_of(call, given)).reshape(spread_to))
    result = standardized(call, tensor, (axis,), epsilon, centred=not is_rms)
    return affine(call, result, values[0], values[1])


def one_hot(call: Call) -> str:
    """A one at the place that an integer names."""
    tensor = first(call)
    if call.builder.dtype_of(tensor) is not DType.INT32:
        raise call.refused("its input is not of integers")
    depth, axis = int(setting(call, "num_classes", 1)), int(setting(call, "axis", 2, -1))
    shape = list(call.shape(tensor))
    axis %= len(shape) + 1
    shape.insert(axis, depth)
    inputs = [tensor, call.constant("depth", np.int32(depth))]
    inputs += [call.constant(part, np.float32(value)) for part, value in (("on", 1), ("off", 0))]
    return call.op("ONE_HOT", inputs, shape, {"axis": axis}, dtype=DType.FLOAT32)


def top_k(call: Call) -> tuple[str, ...]:
    """The largest values along the last axis, and their places."""
    tensor = first_real(call)
    count = int(setting(call, "k", 1))
    shape = (*call.shape(tensor)[:-1], count)
    inputs = [tensor, call.constant("k", np.int32(count))]
    results = [(shape, DType.FLOAT32), (shape, DType.INT32)]
    return call.builder.op_with("TOPK_V2", inputs, results, name=call.name)


def resize(call: Call) -> str:
    """Images [batch, height, width, channels] to another size."""
    tensor = first_real(call)
    if len(call.shape(tensor)) != 4 or _is_channels_first(call):
        raise call.refused("only images [batch, height, width, channels] are read")
    for key in ("antialias", "pad_to_aspect_ratio", "preserve_aspect_ratio"):
        if setting(call, key, 99, False):
            raise call.refused(f"{key} is not read")
    size = _two(setting(call, "size", 1))
    if setting(call, "crop_to_aspect_ratio", 99, False):
        tensor = cropped_to(call, tensor, size)
    return resized(call, tensor, size, str(setting(call, "interpolation", 2, "bilinear")).lower())


def depth_and_space(kind: str, call: Call) -> str:
    """Blocks of an image as channels, or back."""
    tensor = first_real(call)
    block = int(setting(call, "block_size", 1))
    if len(call.shape(tensor)) != 4 or _is_channels_first(call):
        raise call.refused("only images [batch, height, width, channels] are read")
    batch, height, width, channels = call.shape(tensor)
    if kind == "DEPTH_TO_SPACE":
        shape = (batch, height * block, width * block, channels // block**2)
    else:
        shape = (batch, height // block, width // block, channels * block**2)
    if np.prod(shape) != np.prod(call.shape(tensor)):
        raise call.refused(f"blocks of {block} do not fit {list(call.shape(tensor))}")
    return call.op(kind, [tensor], shape, {"block_size": block})


def _softmax(function: Callable[[Call, str, int], str], call: Call) -> str:
    return function(call, first_real(call), axis_of(call, first(call), "axis", 1, -1))


LAYERS: dict[str, Callable[[Call], str | tuple[str, ...]]] = {
    "ops.AveragePool": partial(pooling, "AVERAGE_POOL_2D"),
    "ops.BatchNorm": batch_normalization,
    "ops.Conv": partial(convolution, "CONV_2D"),
    "ops.DepthToSpace": partial(depth_and_space, "DEPTH_TO_SPACE"),
    "ops.DepthwiseConv": partial(convolution, "DEPTHWISE_CONV_2D"),
    "ops.LayerNorm": layer_normalization,
    "ops.LogSoftmax": partial(_softmax, log_softmax),
    "ops.MaxPool": partial(pooling, "MAX_POOL_2D"),
    "ops.OneHot": one_hot,
    "ops.RMSNorm": layer_normalization,
    "ops.Resize": resize,
    "ops.Softmax": partial(_softmax, softmax),
    "ops.SpaceToDepth": partial(depth_and_space, "SPACE_TO_DEPTH"),
    "ops.TopK": top_k,
}
