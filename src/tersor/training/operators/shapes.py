"""Operators that move values. Models are read for one sample; here axis 0 takes any number of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from tersor.errors import UnsupportedError
from tersor.training.operators.call import Call


def reshape(call: Call) -> Any:
    """The first axis of the result takes the batch: it is the slowest in memory."""
    wanted = call.results[0]
    return ops.reshape(call.operand(0), (-1, *wanted[1:])) if wanted else ops.reshape(call.operand(0), ())


def transpose(call: Call) -> Any:
    """Axes in another order."""
    return ops.transpose(call.operand(0), call.integers(1))


def concatenate(call: Call) -> Any:
    """Operands one after the other; constants are repeated for each sample."""
    axis = call.option("axis") % len(call.results[0])
    first = next(item for item in call.operands if not _is_constant(item))
    parts = [item if not _is_constant(item) or axis == 0 else _for_each_sample(item, first) for item in call.operands]
    return ops.concatenate(parts, axis=axis)


def _is_constant(item: Any) -> bool:
    return isinstance(item, np.ndarray) or hasattr(item, "assign")


def _for_each_sample(constant: Any, other: Any) -> Any:
    return ops.repeat(ops.convert_to_tensor(constant), ops.shape(other)[0], axis=0)


def pack(call: Call) -> Any:
    """Operands along a new axis."""
    return ops.stack(list(call.operands), axis=call.option("axis"))


def unpack(call: Call) -> list[Any]:
    """Slices along an axis, which goes."""
    return list(ops.unstack(call.operand(0), len(call.results), axis=call.option("axis")))


def split(call: Call) -> list[Any]:
    """Equal parts; the axis is the first operand."""
    axis = call.integers(0)[0]
    return list(ops.split(call.operand(1), len(call.results), axis=axis))


def split_by_sizes(call: Call) -> list[Any]:
    """Parts of given sizes; the axis is the third operand."""
    axis = call.integers(2)[0]
    ends = np.cumsum([shape[axis] for shape in call.results])[:-1]
    return list(ops.split(call.operand(0), [int(end) for end in ends], axis=axis))


def slice_(call: Call) -> Any:
    """A block; of the batch all."""
    begin = call.integers(1)
    return call.operand(0)[_block(call, [slice(b, b + size) for b, size in zip(begin, call.results[0], strict=True)])]


def strided_slice(call: Call) -> Any:
    """Every how many-th value between two bounds, which bits of masks leave open."""
    begin, end, strides = (call.integers(index) for index in (1, 2, 3))
    masks = {name: call.option(f"{name}_mask") for name in ("begin", "end", "shrink_axis")}
    parts: list[Any] = []
    for axis, (low, high, step) in enumerate(zip(begin, end, strides, strict=True)):
        has = {name for name, mask in masks.items() if mask >> axis & 1}
        if "shrink_axis" in has:
            parts.append(low)
        else:
            parts.append(slice(None if "begin" in has else low, None if "end" in has else high, step))
    return call.operand(0)[_block(call, parts)]


def _block(call: Call, parts: list[Any]) -> tuple[Any, ...]:
    if parts and isinstance(parts[0], slice) and call.shapes[0][0] == call.results[0][0]:
        parts = [slice(None), *parts[1:]]
    return tuple(parts)


def pad(call: Call) -> Any:
    """Values around the operand; zeros where none is given."""
    widths = np.reshape(call.integers(1), (-1, 2)).tolist()
    value = call.operand(2)
    return ops.pad(call.operand(0), widths, constant_values=0.0 if value is None else float(np.asarray(value)))


def mirror_pad(call: Call) -> Any:
    """The operand's own values around it; not by `ops.pad`, which on PyTorch repeats the border instead."""
    mode: Any = "symmetric" if call.option("mode") == 1 else "reflect"
    x = call.operand(0)
    for axis, widths in enumerate(np.reshape(call.integers(1), (-1, 2)).tolist()):
        if any(widths):
            places = np.pad(np.arange(call.shapes[0][axis]), widths, mode=mode)
            x = ops.take(x, ops.convert_to_tensor(places, "int32"), axis=axis)
    return x


def gather(call: Call) -> Any:
    """Values by their places along an axis."""
    return ops.take(call.operand(0), ops.convert_to_tensor(call.operand(1), "int32"), axis=call.option("axis"))


def tile(call: Call) -> Any:
    """Repeated along each axis."""
    return ops.tile(call.operand(0), call.integers(1))


def broadcast(call: Call) -> Any:
    """Repeated to a shape, in which the batch's axis stays what it is."""
    wanted = call.results[0]
    if wanted[0] != 1 or len(call.shapes[0]) != len(wanted):
        raise UnsupportedError(f"operator {call.op.name!r} ({call.op.label}): it makes several samples of one")
    return call.operand(0) * np.ones(wanted, np.float32)


def depth_to_space(call: Call) -> Any:
    """Channels become blocks of pixels."""
    _, height, width, channels = call.shapes[0]
    block = call.option("block_size")
    x = ops.reshape(call.operand(0), (-1, height, width, block, block, channels // block**2))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height * block, width * block, channels // block**2))


def space_to_depth(call: Call) -> Any:
    """Blocks of pixels become channels."""
    _, height, width, channels = call.shapes[0]
    block = call.option("block_size")
    x = ops.reshape(call.operand(0), (-1, height // block, block, width // block, block, channels))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height // block, width // block, channels * block**2))


def reverse(call: Call) -> Any:
    """In the opposite order along axes."""
    return ops.flip(call.operand(0), axis=call.integers(1))


def space_to_batch(call: Call) -> Any:
    """Blocks of pixels become samples, as before a dilated convolution; those of one place in the block together."""
    blocks, widths = call.integers(1), np.reshape(call.integers(2), (-1, 2)).tolist()
    count, shape = len(blocks), list(call.shapes[0])
    rest = shape[1 + count :]
    x = ops.pad(call.operand(0), [[0, 0], *widths, *[[0, 0] for _ in rest]])
    sizes = [size + sum(width) for size, width in zip(shape[1:], widths, strict=False)]
    split = [part for size, block in zip(sizes, blocks, strict=True) for part in (size // block, block)]
    x = ops.reshape(x, (-1, *split, *rest))
    order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), *range(2 * count + 1, len(x.shape))]
    return ops.reshape(ops.transpose(x, order), (-1, *(a // b for a, b in zip(sizes, blocks, strict=True)), *rest))


def batch_to_space(call: Call) -> Any:
    """The way back; what the second pair of numbers per axis says is cut off."""
    blocks, cuts = call.integers(1), np.reshape(call.integers(2), (-1, 2)).tolist()
    count, shape = len(blocks), list(call.shapes[0])
    sizes, rest = shape[1 : 1 + count], shape[1 + count :]
    x = ops.reshape(call.operand(0), (*blocks, -1, *sizes, *rest))
    pairs = [axis for place in range(count) for axis in (count + 1 + place, place)]
    x = ops.transpose(x, [count, *pairs, *range(2 * count + 1, len(x.shape))])
    sizes = [size * block for size, block in zip(sizes, blocks, strict=True)]
    kept = [slice(low, size - high) for size, (low, high) in zip(sizes, cuts, strict=True)]
    return ops.reshape(x, (-1, *sizes, *rest))[(slice(None), *kept)]
