"""Functions of `keras.ops` that take tensors apart, put them together, or pick values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.merge import concatenated
from tersor.formats.keras.layers.operands import axis_of, first, integers, operands, setting, tensors
from tersor.formats.keras.layers.reshape import reshaped, reversed_along, sliced
from tersor.ir.dtypes import DType


def get_item(call: Call) -> str:
    """Slices, single positions, new axes and an ellipsis, as in ``x[:, 1:, None, ..., -1]``."""
    tensor = first(call)
    key = operands(call)[1] if len(operands(call)) > 1 else call.kwargs.get("key")
    return indexed(call, tensor, key if isinstance(key, list | tuple) else [key])


def indexed(call: Call, tensor: str, keys: Sequence[Any]) -> str:
    """A tensor by a key per axis."""
    shape = call.shape(tensor)
    used = sum(1 for key in keys if key is not None and key is not ...)
    keys = list(keys)
    if ... in keys:
        place = keys.index(...)
        keys[place : place + 1] = [slice(None)] * (len(shape) - used)
    else:
        keys += [slice(None)] * (len(shape) - used)
    ranges, result, axis = [], [], 0
    for key in keys:
        if key is None:
            result.append(1)
            continue
        if axis >= len(shape) or not isinstance(key, int | slice) or isinstance(key, bool):
            raise call.refused(f"an index of {key!r} is not read: numbers, slices, None and ... are")
        if isinstance(key, int):
            if not -shape[axis] <= key < shape[axis]:
                raise call.refused(f"index {key} lies outside of {list(shape)}")
            ranges.append(range(key % shape[axis], key % shape[axis] + 1))
        else:
            ranges.append(range(*key.indices(shape[axis])))
            result.append(len(ranges[-1]))
        axis += 1
    return reshaped(call, _ranged(call, tensor, ranges), result)


def _ranged(call: Call, tensor: str, ranges: Sequence[range]) -> str:
    """The values at ranges of positions: REVERSE_V2 where one runs backwards, SLICE, or STRIDED_SLICE with steps."""
    shape = call.shape(tensor)
    forward = []
    for axis, (places, size) in enumerate(zip(ranges, shape, strict=True)):
        if places.step < 0 and len(places) > 1:
            tensor = reversed_along(call, tensor, axis, f"reversed_{axis}")
            places = range(size - 1 - places[0], size - places[-1], -places.step)
        forward.append(places)
    kept = [len(places) for places in forward]
    begin = [places.start for places in forward]
    if all(places.step == 1 or len(places) < 2 for places in forward):
        return sliced(call, tensor, begin, kept, "slice")
    end = [places[-1] + 1 for places in forward]
    steps = [places.step for places in forward]
    inputs = [tensor, call.integers("begin", begin), call.integers("end", end), call.integers("steps", steps)]
    return call.op("STRIDED_SLICE", inputs, kept, {}, "slice")


def split_into(call: Call, tensor: str, axis: int, count: int, part: str = "") -> tuple[str, ...]:
    """Equal parts along an axis."""
    shape = call.shape(tensor)
    if count < 1 or shape[axis] % count:
        raise call.refused(f"{shape[axis]} values cannot be split into {count}")
    one = (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])
    place = call.constant(f"{part}_axis".lstrip("_"), np.int32(axis))
    dtype = call.builder.dtype_of(tensor)
    return call.op_with("SPLIT", [place, tensor], [one] * count, {"num_splits": count}, part, dtype=dtype)


def split(call: Call) -> tuple[str, ...]:
    """Equal parts, or parts that begin at given positions, along an axis."""
    tensor = first(call)
    axis = axis_of(call, tensor, "axis", 2, 0)
    given = setting(call, "indices_or_sections", 1)
    if isinstance(given, int):
        return split_into(call, tensor, axis, given)
    size = call.shape(tensor)[axis]
    bounds = [0, *(int(item) for item in given), size]
    return split_sizes(call, tensor, axis, [b - a for a, b in pairwise(bounds)])


def split_sizes(call: Call, tensor: str, axis: int, sizes: Sequence[int]) -> tuple[str, ...]:
    """Parts of given sizes along an axis."""
    shape = call.shape(tensor)
    if sum(sizes) != shape[axis] or min(sizes) < 1:
        raise call.refused(f"parts of {list(sizes)} do not make {shape[axis]} values")
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    inputs = [tensor, call.integers("sizes", list(sizes)), call.constant("axis", np.int32(axis))]
    return call.op_with("SPLIT_V", inputs, shapes, {"num_splits": len(sizes)})


def stack(call: Call) -> str:
    """Tensors side by side along a new axis."""
    parts = tensors(call)
    shape = call.shape(parts[0])
    axis = int(setting(call, "axis", 1, 0)) % (len(shape) + 1)
    if any(call.shape(part) != shape for part in parts):
        raise call.refused("its tensors have different shapes")
    result = (*shape[:axis], len(parts), *shape[axis:])
    return call.op("PACK", parts, result, {"values_count": len(parts), "axis": axis})


def unstack(call: Call) -> tuple[str, ...]:
    """The slices along an axis."""
    tensor = first(call)
    axis = axis_of(call, tensor, "axis", 2, 0)
    shape = call.shape(tensor)
    one = (*shape[:axis], *shape[axis + 1 :])
    return call.op_with("UNPACK", [tensor], [one] * shape[axis], {"num": shape[axis], "axis": axis})


def concatenate(call: Call) -> str:
    """A list of tensors along an axis."""
    return concatenated(call, tensors(call), int(setting(call, "axis", 1, 0)))


def gathered(call: Call, tensor: str, axis: int, indices: Any, part: str = "") -> str:
    """A GATHER along an axis; indices are an array, or the name of a tensor."""
    shape = call.shape(tensor)
    if not isinstance(indices, Edge):
        array = np.asarray(indices, np.int32)
        if array.size and not -shape[axis] <= array.min() <= array.max() < shape[axis]:
            raise call.refused(f"an index lies outside of {list(shape)}")
        indices = call.constant(f"{part}_indices".lstrip("_"), array % shape[axis])
    if call.builder.dtype_of(indices) is not DType.INT32:
        raise call.refused("its indices are not integers")
    result = (*shape[:axis], *call.shape(indices), *shape[axis + 1 :])
    return call.op("GATHER", [tensor, indices], result, {"axis": axis}, part)


def take(call: Call) -> str:
    """Values at positions along an axis."""
    tensor = first(call)
    given = operands(call)
    indices = given[1] if len(given) > 1 else call.kwargs.get("indices")
    return gathered(call, tensor, axis_of(call, tensor, "axis", 2, None), indices)


def repeat(call: Call) -> str:
    """Each value several times along an axis."""
    tensor = first(call)
    axis = axis_of(call, tensor, "axis", 2, None)
    repeats = np.asarray(setting(call, "repeats", 1))
    return gathered(call, tensor, axis, np.repeat(np.arange(call.shape(tensor)[axis]), repeats))


def roll(call: Call) -> str:
    """Values moved along an axis; those that leave at one end enter at the other."""
    tensor = first(call)
    axis = axis_of(call, tensor, "axis", 2, None)
    (shift,) = integers(call, "shift", 1) or (0,)
    return gathered(call, tensor, axis, np.roll(np.arange(call.shape(tensor)[axis]), shift))


LAYERS: dict[str, Callable[[Call], str | tuple[str, ...]]] = {
    "ops.Concatenate": concatenate,
    "ops.GetItem": get_item,
    "ops.Repeat": repeat,
    "ops.Roll": roll,
    "ops.Split": split,
    "ops.Stack": stack,
    "ops.Take": take,
    "ops.Unstack": unstack,
}
