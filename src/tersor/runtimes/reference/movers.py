"""Operators that move integers: shapes, slices, joins. All kernel sets agree."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tersor.ir.graph import Array
from tersor.runtimes.reference.call import Call


def reshape(call: Call) -> list[Array]:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the result's shape is in the file."""
    return [call.value(0).reshape(call.results[0].shape)]


def transpose(call: Call) -> list[Array]:
    """TRANSPOSE."""
    return [np.ascontiguousarray(call.value(0).transpose([int(axis) for axis in call.value(1)]))]


def pad(call: Call) -> list[Array]:
    """PAD and PADV2: with the integer of zero, or with the given one."""
    fill = call.value(2).item() if call.has(2) else call.result_quant().zero_point
    return [np.pad(call.value(0), [tuple(map(int, pair)) for pair in call.value(1)], constant_values=fill)]


def mirror_pad(call: Call) -> list[Array]:
    """MIRROR_PAD; mode 0 leaves out the border, 1 repeats it."""
    mode: Literal["symmetric", "reflect"] = "symmetric" if call.op.option("mode", 0) else "reflect"
    return [np.pad(call.value(0), [tuple(map(int, pair)) for pair in call.value(1)], mode=mode)]


def pack(call: Call) -> list[Array]:
    """PACK."""
    return [np.stack([call.value(index) for index in range(len(call.values))], axis=call.op.option("axis", 0))]


def unpack(call: Call) -> list[Array]:
    """UNPACK."""
    axis = call.op.option("axis", 0)
    return [call.value(0).take(index, axis=axis) for index in range(len(call.results))]


def split(call: Call) -> list[Array]:
    """SPLIT: operands are the axis and the value."""
    return np.split(call.value(1), len(call.results), axis=int(call.value(0)))


def slice_(call: Call) -> list[Array]:
    """SLICE: operands are the value, begins and sizes (-1: to the end)."""
    places = []
    for begin, size in zip(call.value(1).tolist(), call.value(2).tolist(), strict=True):
        places.append(slice(begin, None if size < 0 else begin + size))
    return [call.value(0)[tuple(places)]]


def strided_slice(call: Call) -> list[Array]:
    """STRIDED_SLICE; masks for begins, ends and dropped axes."""
    if call.op.option("ellipsis_mask", 0) or call.op.option("new_axis_mask", 0):
        raise call.refusal("it has an ellipsis or a new axis")
    begins, ends, steps = (call.value(index).tolist() for index in (1, 2, 3))
    places: list[slice | int] = []
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        if call.op.option("shrink_axis_mask", 0) >> axis & 1:
            places.append(begin)
            continue
        first = None if call.op.option("begin_mask", 0) >> axis & 1 else begin
        last = None if call.op.option("end_mask", 0) >> axis & 1 else end
        places.append(slice(first, last, step))
    return [call.value(0)[tuple(places)]]


def concatenate(call: Call) -> list[Array]:
    """CONCATENATION of integers of one scale."""
    for index in range(len(call.values)):
        if call.quant(index) != call.result_quant():
            raise call.refusal("its operands do not share the result's scale")
    parts = [call.value(index) for index in range(len(call.values))]
    return [np.concatenate(parts, axis=call.op.option("axis", 0))]


def depth_to_space(call: Call) -> list[Array]:
    """DEPTH_TO_SPACE."""
    block, (batch, height, width, depth) = call.op.option("block_size", 1), call.value(0).shape
    parts = call.value(0).reshape(batch, height, width, block, block, depth // block**2)
    return [parts.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * block, width * block, -1)]


def space_to_depth(call: Call) -> list[Array]:
    """SPACE_TO_DEPTH."""
    block, (batch, height, width, _) = call.op.option("block_size", 1), call.value(0).shape
    parts = call.value(0).reshape(batch, height // block, block, width // block, block, -1)
    return [parts.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // block, width // block, -1)]
