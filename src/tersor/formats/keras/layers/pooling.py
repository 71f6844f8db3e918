"""Poolings; those along one axis are poolings of images of height 1, those of volumes two poolings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import binary
from tersor.formats.keras.layers.convolution import padding_of, window
from tersor.formats.keras.layers.reshape import reshaped
from tersor.ir.dtypes import DType

Pair = tuple[int, int]


def pooled_image(call: Call, tensor: str, kind: str, sizes: Pair, steps: Pair, padding: str, part: str = "") -> str:
    """A pooling of images; sizes and steps are (height, width)."""
    batch, height, width, channels = call.shape(tensor)
    options = {
        "padding": 0 if padding == "same" else 1,
        "stride_w": steps[1],
        "stride_h": steps[0],
        "filter_width": sizes[1],
        "filter_height": sizes[0],
    }
    shape = (
        batch,
        window(height, sizes[0], steps[0], 1, padding),
        window(width, sizes[1], steps[1], 1, padding),
        channels,
    )
    return call.op(kind, [tensor], shape, options, part)


def pooled(call: Call, tensor: str, kind: str, sizes: tuple[int, ...], steps: tuple[int, ...], padding: str) -> str:
    """A pooling along one, two or three axes.

    Of a volume, images are pooled first and then the depth: the extreme of extremes, or the average of averages over
    windows of which each has as many values as the others at its depth.
    """
    batch, *places, channels = call.shape(tensor)
    if len(places) == 2:
        return pooled_image(call, tensor, kind, (sizes[0], sizes[1]), (steps[0], steps[1]), padding)
    if len(places) == 1:
        image = reshaped(call, tensor, (batch, 1, places[0], channels), "image")
        result = pooled_image(call, image, kind, (1, sizes[0]), (1, steps[0]), padding, "pooled")
        return reshaped(call, result, (batch, call.shape(result)[2], channels))
    depth, height, width = places
    images = reshaped(call, tensor, (batch * depth, height, width, channels), "images")
    images = pooled_image(call, images, kind, (sizes[1], sizes[2]), (steps[1], steps[2]), padding, "pooled_images")
    _, height, width, _ = call.shape(images)
    columns = reshaped(call, images, (batch, depth, height * width, channels), "columns")
    columns = pooled_image(call, columns, kind, (sizes[0], 1), (steps[0], 1), padding, "pooled_columns")
    return reshaped(call, columns, (batch, call.shape(columns)[1], height, width, channels))


def pool(kind: str, rank: int, call: Call) -> str:
    """`MaxPooling1D` to `AveragePooling3D`."""
    sizes = call.sizes("pool_size", rank)
    steps = sizes if call.option("strides", None) is None else call.sizes("strides", rank)
    return pooled(call, call.input(rank + 2), kind, sizes, steps, padding_of(call))


def adaptive_pool(kind: str, rank: int, call: Call) -> str:
    """`AdaptiveMaxPooling1D` to `AdaptiveAveragePooling3D`, where the windows are all of one size."""
    tensor = call.input(rank + 2)
    sizes, wanted = call.shape(tensor)[1:-1], call.sizes("output_size", rank)
    if any(size % out for size, out in zip(sizes, wanted, strict=True)):
        raise call.refused(f"output_size {list(wanted)} does not divide {list(sizes)}: windows of different sizes")
    steps = tuple(size // out for size, out in zip(sizes, wanted, strict=True))
    return pooled(call, tensor, kind, steps, steps, "valid")


def global_pool(kind: str, call: Call) -> str:
    """A reduction over all positions."""
    tensor = call.input(3, 4, 5)
    batch, *places, channels = call.shape(tensor)
    axes = tuple(range(1, len(places) + 1))
    keep = bool(call.option("keepdims", False))
    reduced = (batch, *([1] * len(axes) if keep else []), channels)
    if call.layer.kind == "GlobalAveragePooling1D":
        mask = call.mask(tensor)
        if mask is not None:
            return _masked_average(call, tensor, mask, reduced)
    return call.op(kind, [tensor, call.integers("axes", axes)], reduced, {"keep_dims": keep})


def _masked_average(call: Call, tensor: str, mask: str, reduced: tuple[int, ...]) -> str:
    """The sum over the positions that are there, divided by how many these are."""
    batch, length, _ = call.shape(tensor)
    column = reshaped(call, mask, (batch, length, 1), "column")
    present = call.op("CAST", [column], (batch, length, 1), None, "present", dtype=DType.FLOAT32)
    nothing = call.constant("nothing", np.zeros(call.shape(tensor), np.float32))
    kept = call.op("SELECT_V2", [column, tensor, nothing], call.shape(tensor), None, "kept", dtype=DType.FLOAT32)
    axis, keep = call.integers("axes", [1]), {"keep_dims": len(reduced) == 3}
    total = call.op("SUM", [kept, axis], reduced, keep, "total")
    count = call.op("SUM", [present, axis], (*reduced[:-1], 1), keep, "count")
    return binary("DIV", call, total, count)


_KINDS = {"Average": "AVERAGE_POOL_2D", "Max": "MAX_POOL_2D"}
_REDUCTIONS = {"Average": "MEAN", "Max": "REDUCE_MAX"}

LAYERS: dict[str, Callable[[Call], str]] = {
    **{f"{name}Pooling{n}D": partial(pool, kind, n) for name, kind in _KINDS.items() for n in (1, 2, 3)},
    **{
        f"Adaptive{name}Pooling{n}D": partial(adaptive_pool, kind, n)
        for name, kind in _KINDS.items()
        for n in (1, 2, 3)
    },
    **{f"Global{name}Pooling{n}D": partial(global_pool, kind) for name, kind in _REDUCTIONS.items() for n in (1, 2, 3)},
}
