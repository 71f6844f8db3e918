"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR of integers, whose scale they keep.

Bilinear: builtin and micro take places in steps of 1/1024 (`ResizeBilinearInteger`, `reference/resize_bilinear.h`),
XNNPACK weights in steps of 1/2048 from float32 places (`xnn_indirection_init_resize_bilinear2d_hwc_q11`,
`indirection.c`). Nearest: in float32, but builtin without options in steps of 1/65536 (`optimized_ops.h`).
"""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_point import round_away
from tersor.runtimes.reference.call import Call

Places = tuple[Array, Array, Array]
"""Of each result along an axis: the index before, the index after, and the weight of the latter."""


def bilinear(call: Call) -> list[Array]:
    """RESIZE_BILINEAR."""
    if call.kernels == "builtin" and call.tensor(0).dtype is DType.UINT8:
        raise call.refusal("builtin's kernel for unsigned integers, which computes in float32, is not there")
    in_float = call.kernels == "xnnpack"
    bits = 11 if in_float else 10
    values = call.value(0).astype(np.int64)
    for axis in (1, 2):
        size, wanted = values.shape[axis], int(call.value(1)[axis - 1])
        before, after, weight = (_float_places if in_float else _whole_places)(call, size, wanted)
        weight = weight.reshape(-1, *[1] * (3 - axis))
        values = values.take(before, axis) * ((1 << bits) - weight) + values.take(after, axis) * weight
    half = 1 << (2 * bits - 1)
    if in_float:
        return [((values + half) >> (2 * bits)).astype(call.results[0].dtype.numpy)]
    found = np.sign(values) * ((np.abs(values) + half) >> (2 * bits))
    return [found.astype(call.results[0].dtype.numpy)]


def nearest(call: Call) -> list[Array]:
    """RESIZE_NEAREST_NEIGHBOR."""
    values = call.value(0)
    for axis in (1, 2):
        values = values.take(_nearest(call, values.shape[axis], int(call.value(1)[axis - 1])), axis)
    return [values]


def _whole_places(call: Call, size: int, wanted: int) -> Places:
    steps = np.arange(wanted, dtype=np.int64)
    if call.op.option("align_corners", False) and wanted > 1:
        scale = (1024 * (size - 1) + (wanted - 1) // 2) // (wanted - 1)
    else:
        scale = (1024 * size + wanted // 2) // wanted
    places = steps * scale + (scale // 2 - 512 if call.op.option("half_pixel_centers", False) else 0)
    before = np.maximum(np.trunc(places / 1024).astype(np.int64), 0)
    after = np.minimum(np.trunc((places + 1023) / 1024).astype(np.int64), size - 1)
    return np.minimum(before, size - 1), after, places - 1024 * before


def _float_places(call: Call, size: int, wanted: int) -> Places:
    corners = int(bool(call.op.option("align_corners", False)) and wanted > 1)
    scale = np.float32(size - corners) / np.float32(wanted - corners)
    places = np.arange(wanted).astype(np.float32) * scale
    if call.op.option("half_pixel_centers", False):
        places = places + (np.float32(0.5) * scale - np.float32(0.5))
    places = np.clip(places, 0, np.float32(size - 1))
    before = places.astype(np.int64)
    weight = np.rint((places - before.astype(np.float32)) * np.float32(2048)).astype(np.int64)
    return before, np.minimum(before + 1, size - 1), weight


def _nearest(call: Call, size: int, wanted: int) -> Array:
    corners, centers = (bool(call.op.option(name, False)) for name in ("align_corners", "half_pixel_centers"))
    steps = np.arange(wanted, dtype=np.int64)
    if call.kernels != "micro" and not corners and not centers and call.tensor(0).dtype is not DType.INT16:
        found: Array = np.minimum((steps * ((size << 16) // wanted + 1)) >> 16, size - 1)
        return found
    aligned = corners and wanted > 1
    scale = np.float32(size - 1) / np.float32(wanted - 1) if aligned else np.float32(size) / np.float32(wanted)
    places = (steps.astype(np.float32) + np.float32(0.5 if centers else 0)) * scale
    whole = round_away(places) if corners else np.floor(places)
    return np.clip(whole.astype(np.int64), 0, size - 1)
