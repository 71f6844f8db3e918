"""Poolings and reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tersor.training.operators.call import Call
from tersor.training.operators.layers import padding


def _windows(call: Call) -> tuple[tuple[int, int], tuple[int, int], str]:
    size = call.option("filter_height", 1), call.option("filter_width", 1)
    return size, (call.option("stride_h", 1), call.option("stride_w", 1)), padding(call)


def average_pool(call: Call) -> Any:
    """Averages of windows; what fills up the border does not count."""
    size, strides, border = _windows(call)
    x = call.operand(0)
    if border == "valid":
        return ops.average_pool(x, size, strides, border, "channels_last")
    widths, shares = zip(*(_border(call, axis, size[axis - 1], strides[axis - 1]) for axis in (1, 2)), strict=True)
    sums = ops.average_pool(ops.pad(x, [[0, 0], *widths, [0, 0]]), size, strides, "valid", "channels_last")
    return sums * np.multiply.outer(*shares)[:, :, None]  # PyTorch's own would count zeros


def _border(call: Call, axis: int, window: int, stride: int) -> tuple[list[int], Any]:
    """How wide an axis is filled up, and for each window its size beside that of its part within the picture."""
    given, wanted = call.shapes[0][axis], call.results[0][axis]
    total = max((wanted - 1) * stride + window - given, 0)
    before = total // 2
    starts = np.arange(wanted) * stride - before
    inside = np.minimum(starts + window, given) - np.maximum(starts, 0)
    return [before, total - before], (window / inside).astype(np.float32)


def max_pool(call: Call) -> Any:
    """The largest value of each window."""
    size, strides, border = _windows(call)
    return ops.max_pool(call.operand(0), size, strides, border, "channels_last")


def reduction(function: Callable[..., Any]) -> Callable[[Call], Any]:
    """A reduction along the axes of the second operand."""

    def reduce(call: Call) -> Any:
        axes = tuple(axis % len(call.shapes[0]) for axis in call.integers(1))
        return function(call.operand(0), axis=axes, keepdims=bool(call.option("keep_dims", False)))

    return reduce


def resize_nearest(call: Call) -> Any:
    """The nearest pixel of a picture for each of another size; the options say where pixels lie."""
    x = call.operand(0)
    for axis, wanted in zip((1, 2), call.integers(1), strict=True):
        given = call.shapes[0][axis]
        x = ops.take(x, _nearest(_positions(wanted, given, call), given, call), axis=axis)
    return x


def resize_bilinear(call: Call) -> Any:
    """Likewise, interpolated between the pixels before and after, along one axis and then the other."""
    x = call.operand(0)
    for axis, wanted in zip((1, 2), call.integers(1), strict=True):
        given = call.shapes[0][axis]
        x = _interpolated(x, _positions(wanted, given, call), given, axis)
    return x


def _positions(wanted: int, given: int, call: Call) -> list[float]:
    """Where the pixels of the result lie among those of the operand (`resize_bilinear.h`)."""
    corners, centers = call.option("align_corners", False), call.option("half_pixel_centers", False)
    scale = (given - 1) / (wanted - 1) if corners and wanted > 1 else given / wanted
    return [(place + 0.5) * scale - 0.5 if centers else place * scale for place in range(wanted)]


def _nearest(positions: list[float], given: int, call: Call) -> Any:
    """The pixel that is taken for each (`resize_nearest_neighbor.h`)."""
    corners, centers = call.option("align_corners", False), call.option("half_pixel_centers", False)
    shift = 0.5 if corners or centers else 0.0
    return ops.convert_to_tensor([min(max(int(place + shift), 0), given - 1) for place in positions], "int32")


def _interpolated(x: Any, positions: list[float], given: int, axis: int) -> Any:
    before = [min(max(int(place // 1), 0), given - 1) for place in positions]
    after = [min(item + 1, given - 1) for item in before]
    shares = [min(max(place, 0.0), given - 1.0) - item for place, item in zip(positions, before, strict=True)]
    low, high = (ops.take(x, ops.convert_to_tensor(items, "int32"), axis=axis) for items in (before, after))
    share = ops.reshape(ops.convert_to_tensor(shares, "float32"), (-1, *[1] * (3 - axis)))
    return low + (high - low) * share
