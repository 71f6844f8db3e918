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
    wanted = (
        (-1, *target[1:]) if target[0] == call.batch(tensor) else target
    )  # -1: the file can be resized to any batch
    return call.op("RESHAPE", [tensor, call.integers(name, wanted)], target, {"new_shape": wanted}, part)


def reshape(call: Call) -> str:
    """`Reshape`; one size may be -1."""
    tensor = call.any_input()
    target = [int(size) for size in call.option("target_shape")]
    return reshaped(call, tensor, (call.batch(tensor), *_completed(call, target, int(np.prod(call.shape(tensor)[1:])))))


def _completed(call: Call, target: list[int], total: int) -> list[int]:
    known = int(np.prod([size for size in target if size != -1]))
    if target.count(-1) > 1 or known <= 0 or (-1 in target and total % known):
        raise call.refused(f"target_shape {target} does not fit {total} values")
    return [total // known if size == -1 else size for size in target]


def flatten(call: Call) -> str:
    """`Flatten`: all of a sample in a row."""
    tensor = call.any_input()
    return reshaped(call, tensor, (call.batch(tensor), int(np.prod(call.shape(tensor)[1:]))))


def permute(call: Call) -> str:
    """`Permute`: axes from 1 on in another order."""
    tensor = call.any_input()
    order = [0, *(int(axis) for axis in call.option("dims"))]
    if sorted(order) != list(range(len(call.shape(tensor)))):
        raise call.refused(f"dims {order[1:]} is not an order of the axes of {list(call.shape(tensor))}")
    return transposed(call, tensor, order)


def transposed(call: Call, tensor: str, order: Sequence[int], part: str = "") -> str:
    """A TRANSPOSE, where it changes something."""
    if list(order) == sorted(order):
        return tensor
    shape = [call.shape(tensor)[axis] for axis in order]
    return call.op("TRANSPOSE", [tensor, call.integers(f"{part}_order".lstrip("_"), list(order))], shape, None, part)


def sliced(call: Call, tensor: str, begin: Sequence[int], shape: Sequence[int], part: str = "") -> str:
    """A SLICE, where it leaves something out."""
    if tuple(shape) == call.shape(tensor):
        return tensor
    start, size = (f"{part}_{word}".lstrip("_") for word in ("begin", "size"))
    return call.op(
        "SLICE", [tensor, call.integers(start, list(begin)), call.integers(size, list(shape))], shape, None, part
    )


def last_of(call: Call, sequence: str) -> str:
    """The last moment of [batch, time, width]."""
    batch, steps, width = call.shape(sequence)
    last = call.op(
        "SLICE",
        [sequence, call.integers("begin", [0, steps - 1, 0]), call.integers("size", [batch, 1, width])],
        (batch, 1, width),
        None,
        "last",
    )
    return reshaped(call, last, (batch, width))


def reversed_along(call: Call, tensor: str, axis: int, part: str = "") -> str:
    """A REVERSE_V2."""
    return call.op(
        "REVERSE_V2", [tensor, call.integers(f"{part}_axis".lstrip("_"), [axis])], call.shape(tensor), None, part
    )


def repeat_vector(call: Call) -> str:
    """`RepeatVector`: [batch, n] -> [batch, times, n]."""
    tensor = call.any_input(2)
    times, (batch, width) = call.size("n"), call.shape(tensor)
    row = reshaped(call, tensor, (batch, 1, width), "row")
    return call.op("TILE", [row, call.integers("times", [1, times, 1])], (batch, times, width))


LAYERS: dict[str, Callable[[Call], str]] = {
    "Flatten": flatten,
    "Permute": permute,
    "RepeatVector": repeat_vector,
    "Reshape": reshape,
}
