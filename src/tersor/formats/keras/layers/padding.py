"""Layers that add or remove rows and columns, or change the size of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.reshape import reshaped, sliced


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
    """`ZeroPadding1D` to `3D`: PAD."""
    rank = int(call.layer.kind[-2])
    tensor = call.input(rank + 2)
    pairs = [(0, 0), *_pairs(call, "padding", rank), (0, 0)]
    return padded(call, tensor, pairs)


def cropping(call: Call) -> str:
    """`Cropping1D` to `3D`: SLICE."""
    rank = int(call.layer.kind[-2])
    tensor = call.input(rank + 2)
    pairs = [(0, 0), *_pairs(call, "cropping", rank), (0, 0)]
    shape = [size - before - after for size, (before, after) in zip(call.shape(tensor), pairs, strict=True)]
    return sliced(call, tensor, [before for before, _ in pairs], shape)


def up_sampling(call: Call) -> str:
    """`UpSampling1D` to `3D`: rows are repeated; images also bilinear."""
    rank = int(call.layer.kind[-2])
    tensor = call.input(rank + 2)
    factors = call.sizes("size", rank)
    batch, *places, channels = call.shape(tensor)
    sizes = [size * factor for size, factor in zip(places, factors, strict=True)]
    if rank == 2:
        return resized(call, tensor, (sizes[0], sizes[1]), str(call.option("interpolation", "nearest")))
    if rank == 1:
        image = reshaped(call, tensor, (batch, 1, places[0], channels), "image")
        return reshaped(call, resized(call, image, (1, sizes[0]), "nearest", "repeated"), (batch, sizes[0], channels))
    depth, height, width = sizes
    images = reshaped(call, tensor, (batch * places[0], *places[1:], channels), "images")
    images = resized(call, images, (height, width), "nearest", "larger_images")
    columns = reshaped(call, images, (batch, places[0], height * width, channels), "columns")
    columns = resized(call, columns, (depth, height * width), "nearest", "longer_columns")
    return reshaped(call, columns, (batch, depth, height, width, channels))


def resizing(call: Call) -> str:
    """`Resizing` to a fixed size, also of the largest part, or of the padded image, of the same aspect ratio."""
    tensor = call.real_input(4)
    size = (call.size("height"), call.size("width"))
    if call.option("antialias", False):
        raise call.refused("antialias is not read: LiteRT has no such kernel")
    if call.option("crop_to_aspect_ratio", False):
        tensor = cropped_to(call, tensor, size)
    if call.option("pad_to_aspect_ratio", False):
        tensor = padded_to(call, tensor, size)
    return resized(call, tensor, size, str(call.option("interpolation", "bilinear")))


def cropped_to(call: Call, tensor: str, size: tuple[int, int]) -> str:
    """The largest part in the middle of an image that has the aspect ratio of a size."""
    batch, height, width, channels = call.shape(tensor)
    rows = max(min(height, int(width * size[0] / size[1])), 1)
    columns = max(min(width, int(height * size[1] / size[0])), 1)
    begin = [0, (height - rows) // 2, (width - columns) // 2, 0]
    return sliced(call, tensor, begin, (batch, rows, columns, channels), "cropped")


def padded_to(call: Call, tensor: str, size: tuple[int, int]) -> str:
    """An image with rows or columns around it, as many on either side, to the aspect ratio of a size."""
    _, height, width, _ = call.shape(tensor)
    rows = (max(height, int(width * size[0] / size[1])) - height) // 2
    columns = (max(width, int(height * size[1] / size[0])) - width) // 2
    if call.option("fill_value", 0.0):
        raise call.refused("fill_value is not read: only zeros are")
    pads = [(0, 0), (rows, rows), (columns, columns), (0, 0)]
    return padded(call, tensor, pads, "padded")


def padded(call: Call, tensor: str, pads: list[tuple[int, int]], part: str = "") -> str:
    """A PAD with zeros, where it adds something."""
    if not any(map(any, pads)):
        return tensor
    shape = [size + before + after for size, (before, after) in zip(call.shape(tensor), pads, strict=True)]
    return call.op("PAD", [tensor, call.integers("paddings", pads)], shape, None, part)


def resized(
    call: Call,
    tensor: str,
    size: tuple[int, int],
    method: str,
    part: str = "",
    *,
    aligned: bool = False,
    middles: bool = True,
) -> str:
    """Images of another size, where it differs; pixels are aligned at their middles, or at the image's corners."""
    batch, height, width, channels = call.shape(tensor)
    if (height, width) == size:
        return tensor
    kinds = {"nearest": "RESIZE_NEAREST_NEIGHBOR", "bilinear": "RESIZE_BILINEAR"}
    if method not in kinds:
        raise call.refused(f"interpolation {method!r} is not read: use nearest or bilinear")
    options = {"align_corners": aligned, "half_pixel_centers": middles}
    wanted = call.integers(f"{part}_size".lstrip("_"), size)
    return call.op(kinds[method], [tensor, wanted], (batch, *size, channels), options, part, version=3)


LAYERS: dict[str, Callable[[Call], str]] = {
    **{f"Cropping{n}D": cropping for n in (1, 2, 3)},
    **{f"UpSampling{n}D": up_sampling for n in (1, 2, 3)},
    **{f"ZeroPadding{n}D": zero_padding for n in (1, 2, 3)},
    "Resizing": resizing,
}
