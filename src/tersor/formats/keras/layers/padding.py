"""Layers that add or remove rows and columns, or change the size of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tersor.formats.keras.call import Call


def _pairs(call: Call, key: str, rank: int) -> list[tuple[int, int]]:
    """(before, after) for each spatial axis: one number for all, one per axis, or a pair per axis."""
    value: Any = call.option(key)
    if isinstance(value, int):
        value = [value] * rank
    if rank == 1 and isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(n, int) for n in value):
        value = [value]
    pairs = [(item, item) if isinstance(item, int) else tuple(item) for item in value]
    if len(pairs) != rank or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise call.refused(f"{key} {call.option(key)!r} is not one pair per axis")
    return [(int(before), int(after)) for before, after in pairs]


def zero_padding(call: Call) -> str:
    """`ZeroPadding1D` and `2D`: PAD."""
    call.channels_last()
    rank = 1 if call.layer.kind == "ZeroPadding1D" else 2
    tensor = call.input(rank + 2)
    pairs = [(0, 0), *_pairs(call, "padding", rank), (0, 0)]
    if not any(map(any, pairs)):
        return tensor
    shape = [size + before + after for size, (before, after) in zip(call.shape(tensor), pairs, strict=True)]
    return call.op("PAD", [tensor, call.integers("paddings", pairs)], shape)


def cropping(call: Call) -> str:
    """`Cropping1D` and `2D`: SLICE."""
    call.channels_last()
    rank = 1 if call.layer.kind == "Cropping1D" else 2
    tensor = call.input(rank + 2)
    pairs = [(0, 0), *_pairs(call, "cropping", rank), (0, 0)]
    if not any(map(any, pairs)):
        return tensor
    shape = [size - before - after for size, (before, after) in zip(call.shape(tensor), pairs, strict=True)]
    begin = call.integers("begin", [before for before, _ in pairs])
    return call.op("SLICE", [tensor, begin, call.integers("size", shape)], shape)


def up_sampling(call: Call) -> str:
    """`UpSampling2D`, nearest or bilinear."""
    call.channels_last()
    tensor = call.input(4)
    factors = call.sizes("size", 2)
    _, height, width, channels = call.shape(tensor)
    return _resized(call, tensor, (1, height * factors[0], width * factors[1], channels))


def resizing(call: Call) -> str:
    """`Resizing` to a fixed size, without cropping or antialiasing."""
    call.channels_last()
    tensor = call.input(4)
    for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        if call.option(key, False):
            raise call.refused(f"{key} is not read")
    return _resized(call, tensor, (1, call.size("height"), call.size("width"), call.shape(tensor)[3]))


def _resized(call: Call, tensor: str, shape: tuple[int, int, int, int]) -> str:
    if call.shape(tensor) == shape:
        return tensor
    kinds = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "bilinear": "RESIZE_BILINEAR"}
    method = str(call.option("interpolation", "bilinear"))
    if method not in kinds:
        raise call.refused(f"interpolation {method!r} is not read: use nearest or bilinear")
    options = {"align_corners": False, "half_pixel_centers": True}
    return call.op(kinds[method], [tensor, call.integers("size", shape[1:3])], shape, options, version=3)


LAYERS: dict[str, Callable[[Call], str]] = {
    "Cropping1D": cropping,
    "Cropping2D": cropping,
    "Resizing": resizing,
    "UpSampling2D": up_sampling,
    "ZeroPadding1D": zero_padding,
    "ZeroPadding2D": zero_padding,
}
