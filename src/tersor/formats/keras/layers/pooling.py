"""Poolings; those along one axis are poolings of images of height 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.convolution import padding_of, window
from tersor.formats.keras.layers.reshape import reshaped


def _pool(call: Call, tensor: str, kind: str, sizes: tuple[int, int], steps: tuple[int, int], part: str = "") -> str:
    padding = padding_of(call)
    _, height, width, channels = call.shape(tensor)
    options = {
        "padding": 0 if padding == "same" else 1,
        "stride_w": steps[1],
        "stride_h": steps[0],
        "filter_width": sizes[1],
        "filter_height": sizes[0],
    }
    shape = (
        1,
        window(height, sizes[0], steps[0], 1, padding),
        window(width, sizes[1], steps[1], 1, padding),
        channels,
    )
    return call.op(kind, [tensor], shape, options, part)


def pool2d(kind: str, call: Call) -> str:
    """`MaxPooling2D`, `AveragePooling2D`."""
    call.channels_last()
    sizes = call.sizes("pool_size", 2)
    steps = sizes if call.option("strides", None) is None else call.sizes("strides", 2)
    return _pool(call, call.input(4), kind, (sizes[0], sizes[1]), (steps[0], steps[1]))


def pool1d(kind: str, call: Call) -> str:
    """`MaxPooling1D`, `AveragePooling1D`."""
    call.channels_last()
    tensor = call.input(3)
    (size,) = call.sizes("pool_size", 1)
    step = size if call.option("strides", None) is None else call.sizes("strides", 1)[0]
    _, length, channels = call.shape(tensor)
    image = reshaped(call, tensor, (1, 1, length, channels), "image")
    result = _pool(call, image, kind, (1, size), (1, step), "pooled")
    return reshaped(call, result, (1, *call.shape(result)[2:]))


def global_pool(kind: str, call: Call) -> str:
    """A reduction over all positions."""
    call.channels_last()
    call.no_mask()
    tensor = call.input(3, 4, 5)
    shape = call.shape(tensor)
    axes = tuple(range(1, len(shape) - 1))
    keep = bool(call.option("keepdims", False))
    reduced = (1, *([1] * len(axes) if keep else []), shape[-1])
    return call.op(kind, [tensor, call.integers("axes", axes)], reduced, {"keep_dims": keep})


LAYERS: dict[str, Callable[[Call], str]] = {
    "AveragePooling1D": partial(pool1d, "AVERAGE_POOL_2D"),
    "AveragePooling2D": partial(pool2d, "AVERAGE_POOL_2D"),
    "GlobalAveragePooling1D": partial(global_pool, "MEAN"),
    "GlobalAveragePooling2D": partial(global_pool, "MEAN"),
    "GlobalMaxPooling1D": partial(global_pool, "REDUCE_MAX"),
    "GlobalMaxPooling2D": partial(global_pool, "REDUCE_MAX"),
    "MaxPooling1D": partial(pool1d, "MAX_POOL_2D"),
    "MaxPooling2D": partial(pool2d, "MAX_POOL_2D"),
}
