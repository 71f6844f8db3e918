"""Functions of `keras.ops` that move values."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.operands import axes_of, axis_of, first, integers, setting
from tersor.formats.keras.layers.reshape import reshaped, reversed_along, transposed
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


def flip(call: Call) -> str:
    """Axes in the reverse direction."""
    tensor = first(call)
    axes = axes_of(call, tensor, integers(call, "axis", 1, None))
    for number, axis in enumerate(axes):
        tensor = reversed_along(call, tensor, axis, "" if number == len(axes) - 1 else f"flipped_{axis}")
    return tensor


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
    "ops.ConvertToTensor": _identity,
    "ops.Copy": _identity,
    "ops.ExpandDims": expand_dims,
    "ops.Flip": flip,
    "ops.Moveaxis": moveaxis,
    "ops.Pad": pad,
    "ops.Reshape": reshape,
    "ops.Squeeze": squeeze,
    "ops.StopGradient": _identity,
    "ops.Swapaxes": swapaxes,
    "ops.Tile": tile,
    "ops.Transpose": transpose,
}
