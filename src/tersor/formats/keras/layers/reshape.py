"""Layers that move values without changing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tersor.formats.keras.call import Call


def reshaped(call: Call, tensor: str, shape: Sequence[int], part: str = "") -> str:
    """A RESHAPE, where the shape differs."""
    target = tuple(int(size) for size in shape)
    if np.prod(target) != np.prod(call.shape(tensor)):
        raise call.refused(f"{list(call.shape(tensor))} cannot be reshaped to {list(target)}")
    if call.shape(tensor) == target:
        return tensor
    name = f"{part}_shape" if part else "shape"
    return call.op("RESHAPE", [tensor, call.integers(name, target)], target, {"new_shape": target}, part)


def reshape(call: Call) -> str:
    """`Reshape`; one size may be -1."""
    tensor = call.input()
    target = [int(size) for size in call.option("target_shape")]
    return reshaped(call, tensor, (1, *_completed(call, target, int(np.prod(call.shape(tensor)[1:])))))


def _completed(call: Call, target: list[int], total: int) -> list[int]:
    known = int(np.prod([size for size in target if size != -1]))
    if target.count(-1) > 1 or known <= 0 or (-1 in target and total % known):
        raise call.refused(f"target_shape {target} does not fit {total} values")
    return [total // known if size == -1 else size for size in target]


def flatten(call: Call) -> str:
    """`Flatten`: all of a sample in a row."""
    call.channels_last()
    tensor = call.input()
    return reshaped(call, tensor, (1, int(np.prod(call.shape(tensor)[1:]))))


def permute(call: Call) -> str:
    """`Permute`: axes from 1 on in another order."""
    tensor = call.input()
    order = [0, *(int(axis) for axis in call.option("dims"))]
    if sorted(order) != list(range(len(call.shape(tensor)))):
        raise call.refused(f"dims {order[1:]} is not an order of the axes of {list(call.shape(tensor))}")
    return transposed(call, tensor, order)


def transposed(call: Call, tensor: str, order: Sequence[int]) -> str:
    """A TRANSPOSE, where it changes something."""
    if list(order) == sorted(order):
        return tensor
    shape = [call.shape(tensor)[axis] for axis in order]
    return call.op("TRANSPOSE", [tensor, call.integers("order", list(order))], shape)


def repeat_vector(call: Call) -> str:
    """`RepeatVector`: [1, n] -> [1, times, n]."""
    tensor = call.input(2)
    times, width = call.size("n"), call.shape(tensor)[1]
    row = reshaped(call, tensor, (1, 1, width), "row")
    return call.op("TILE", [row, call.integers("times", [1, times, 1])], (1, times, width))


LAYERS: dict[str, Callable[[Call], str]] = {
    "Flatten": flatten,
    "Permute": permute,
    "RepeatVector": repeat_vector,
    "Reshape": reshape,
}
