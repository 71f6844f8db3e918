"""Functions of `keras.ops` that move values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.merge import concatenated
from tersor.formats.keras.layers.operands import axes_of, axis_of, first, integers, operands, setting, tensors
from tersor.formats.keras.layers.reshape import reshaped, reversed_along, sliced, transposed
from tersor.ir.dtypes import DType


def reshape(call: Call) -> str:
    """To a shape of which one size may be open."""
    tensor = first(call)
    target = list(integers(call, "newshape", 1, integers(call, "shape", 1, None)) or ())
    known = prod(size for size in target if size != -1)
    total = prod(call.shape(tensor))
    if target.count(-1) > 1 or known <= 0 or total % known:
        raise call.refused(f"{list(call.shape(tensor))} cannot be reshaped to {target}")
    return reshaped(call, tensor, [total // known if size == -1 else size for size in target])


def transpose(call: Call) -> str:
    """Axes in another order."""
    tensor = first(call)
    rank = len(call.shape(tensor))
    order = integers(call, "axes", 1, None) or tuple(range(rank - 1, -1, -1))
    if sorted(axis % rank for axis in order) != list(range(rank)):
        raise call.refused(f"axes {list(order)} is not an order of the axes of {list(call.shape(tensor))}")
    return transposed(call, tensor, [axis % rank for axis in order])


def swapaxes(call: Call) -> str:
    """Two axes exchanged."""
    tensor = first(call)
    a, b = axis_of(call, tensor, "axis1", 1), axis_of(call, tensor, "axis2", 2)
    order = list(range(len(call.shape(tensor))))
    order[a], order[b] = b, a
    return transposed(call, tensor, order)


def moveaxis(call: Call) -> str:
    """Some axes elsewhere, the others in their order."""
    tensor = first(call)
    rank = len(call.shape(tensor))
    source, target = integers(call, "source", 1) or (), integers(call, "destination", 2) or ()
    order = [axis for axis in range(rank) if axis not in {item % rank for item in source}]
    for place, axis in sorted(zip((item % rank for item in target), (item % rank for item in source), strict=True)):
        order.insert(place, axis)
    return transposed(call, tensor, order)


def squeeze(call: Call) -> str:
    """Without axes of size 1."""
    tensor = first(call)
    shape = call.shape(tensor)
    given = integers(call, "axis", 1, None)
    axes = (
        [axis for axis, size in enumerate(shape) if size == 1 and axis]
        if given is None
        else axes_of(call, tensor, given)
    )
    if any(shape[axis] != 1 for axis in axes):
        raise call.refused(f"axes {axes} of {list(shape)} are not of size 1")
    return reshaped(call, tensor, [size for axis, size in enumerate(shape) if axis not in axes])


def expand_dims(call: Call) -> str:
    """With further axes of size 1."""
    tensor = first(call)
    given = integers(call, "axis", 1) or ()
    rank = len(call.shape(tensor)) + len(given)
    sizes = iter(call.shape(tensor))
    places = {axis % rank for axis in given}
    return reshaped(call, tensor, [1 if place in places else next(sizes) for place in range(rank)])


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
    inputs = [tensor, call.constant("sizes", list(sizes)), call.integers("axis", np.int32(axis))]
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


def flip(call: Call) -> str:
    """Axes in the reverse direction."""
    tensor = first(call)
    axes = axes_of(call, tensor, integers(call, "axis", 1, None))
    for number, axis in enumerate(axes):
        tensor = reversed_along(call, tensor, axis, "" if number == len(axes) - 1 else f"flipped_{axis}")
    return tensor


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


def tile(call: Call) -> str:
    """The tensor several times along each axis."""
    tensor = first(call)
    times = list(integers(call, "repeats", 1) or ())
    shape = call.shape(tensor)
    times = [1] * (len(shape) - len(times)) + times
    base = reshaped(call, tensor, (*[1] * (len(times) - len(shape)), *shape), "base")
    result = [size * count for size, count in zip(call.shape(base), times, strict=True)]
    return call.op("TILE", [base, call.integers("times", times)], result)


def broadcast_to(call: Call) -> str:
    """A larger shape, which the tensor fills."""
    tensor = first(call)
    shape = call.shape(tensor)
    target = list(integers(call, "shape", 1) or ())
    behind = target[len(target) - len(shape) :]
    if len(target) < len(shape) or any(a not in (1, b) for a, b in zip(shape, behind, strict=True)):
        raise call.refused(f"{list(shape)} does not fill {target}")
    return call.op("BROADCAST_TO", [tensor, call.integers("shape", target)], target, version=2)


def pad(call: Call) -> str:
    """Zeros, another number, or a reflection, before and after each axis."""
    tensor = first(call)
    shape, mode = call.shape(tensor), str(setting(call, "mode", 2, "constant")).lower()
    given = setting(call, "pad_width", 1)
    given = [given] * len(shape) if isinstance(given, int) else list(given)
    if len(given) == 2 and all(isinstance(item, int) for item in given):
        given = [given] * len(shape)
    pads = [[item, item] if isinstance(item, int) else [int(size) for size in item] for item in given]
    pads = pads * len(shape) if len(pads) == 1 else pads
    if len(pads) != len(shape) or any(len(item) != 2 or min(item) < 0 for item in pads):
        raise call.refused(f"pad_width {given!r} is not one pair per axis")
    result = [size + before + after for size, (before, after) in zip(shape, pads, strict=True)]
    inputs = [tensor, call.integers("paddings", pads)]
    if mode in ("reflect", "symmetric"):
        return call.op("MIRROR_PAD", inputs, result, {"mode": int(mode == "symmetric")})
    if mode != "constant":
        raise call.refused(f"mode {mode!r} is not read: constant, reflect and symmetric are")
    value = call.kwargs.get("constant_values", setting(call, "constant_values", 3, None)) or 0
    if not value:
        return call.op("PAD", inputs, result)
    dtype = np.int32 if call.builder.dtype_of(tensor) is DType.INT32 else np.float32
    return call.op("PADV2", [*inputs, call.constant("value", dtype(value))], result)


def _identity(call: Call) -> str:
    return first(call)


LAYERS: dict[str, Callable[[Call], str | tuple[str, ...]]] = {
    "ops.BroadcastTo": broadcast_to,
    "ops.Concatenate": concatenate,
    "ops.ConvertToTensor": _identity,
    "ops.Copy": _identity,
    "ops.ExpandDims": expand_dims,
    "ops.Flip": flip,
    "ops.GetItem": get_item,
    "ops.Moveaxis": moveaxis,
    "ops.Pad": pad,
    "ops.Repeat": repeat,
    "ops.Reshape": reshape,
    "ops.Roll": roll,
    "ops.Split": split,
    "ops.Squeeze": squeeze,
    "ops.Stack": stack,
    "ops.StopGradient": _identity,
    "ops.Swapaxes": swapaxes,
    "ops.Take": take,
    "ops.Tile": tile,
    "ops.Transpose": transpose,
    "ops.Unstack": unstack,
}
