"""Operators that move integers: shapes, slices, joins. Kernel sets agree."""

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


def split_by_sizes(call: Call) -> list[Array]:
    """SPLIT_V: operands are the value, the sizes and the axis."""
    ends = np.cumsum([item.shape[int(call.value(2))] for item in call.results])[:-1]
    return np.split(call.value(0), [int(end) for end in ends], axis=int(call.value(2)))


def gather(call: Call) -> list[Array]:
    """GATHER along an axis."""
    if call.op.option("batch_dims", 0):
        raise call.refusal("it has batch dimensions")
    return [call.value(0).take(call.value(1), axis=call.op.option("axis", 0))]


def tile(call: Call) -> list[Array]:
    """TILE."""
    return [np.tile(call.value(0), [int(count) for count in call.value(1)])]


def broadcast(call: Call) -> list[Array]:
    """BROADCAST_TO."""
    return [np.broadcast_to(call.value(0), [int(size) for size in call.value(1)]).copy()]


def reverse(call: Call) -> list[Array]:
    """REVERSE_V2."""
    return [np.flip(call.value(0), tuple(int(axis) for axis in call.value(1)))]


def space_to_batch(call: Call) -> list[Array]:
    """SPACE_TO_BATCH_ND of [batch, height, width, channels], padded with the integer of zero.

    micro's kernel (`space_to_batch_nd.cc`) never sets the number that it pads with.
    """
    (tall, wide), pads = _block(call), [(0, 0), *(tuple(map(int, pair)) for pair in call.value(2)), (0, 0)]
    if call.kernels == "micro" and any(map(any, pads)):
        raise call.refusal("TensorFlow Lite Micro pads with what its memory happens to hold")
    data = np.pad(call.value(0), pads, constant_values=call.result_quant().zero_point)
    batch, height, width, depth = data.shape
    parts = data.reshape(batch, height // tall, tall, width // wide, wide, depth)
    return [parts.transpose(2, 4, 0, 1, 3, 5).reshape(-1, height // tall, width // wide, depth)]


def batch_to_space(call: Call) -> list[Array]:
    """BATCH_TO_SPACE_ND of [batch, height, width, channels]."""
    (tall, wide), (batch, height, width, depth) = _block(call), call.value(0).shape
    parts = call.value(0).reshape(tall, wide, -1, height, width, depth).transpose(2, 3, 0, 4, 1, 5)
    whole = parts.reshape(batch // (tall * wide), height * tall, width * wide, depth)
    (top, bottom), (left, right) = call.value(2).tolist()
    return [whole[:, top : height * tall - bottom, left : width * wide - right]]


def _block(call: Call) -> tuple[int, int]:
    if call.value(0).ndim != 4:
        raise call.refusal(f"its operand has {call.value(0).ndim} dimensions, and only 4 are there")
    tall, wide = call.value(1).tolist()
    return tall, wide
