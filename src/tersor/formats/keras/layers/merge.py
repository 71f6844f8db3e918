"""Layers that join several tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tersor.formats.keras.call import Call


def broadcast(call: Call, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a result, element by element. Raises UnsupportedError if the operands do not fit."""
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError:
        raise call.refused(f"tensors of the shapes {list(a)} and {list(b)} do not fit each other") from None


def elementwise(kind: str, call: Call) -> str:
    """All tensors from left to right by one operator."""
    tensors = call.inputs()
    if len(tensors) < 2:
        raise call.refused("it is called with one tensor where it takes several")
    result = tensors[0]
    for number, other in enumerate(tensors[1:], start=1):
        part = "" if number == len(tensors) - 1 else f"first_{number + 1}"
        if len(call.shape(result)) != len(call.shape(other)):
            raise call.refused("its inputs have different numbers of dimensions: reshape them first")
        result = call.op(kind, [result, other], broadcast(call, call.shape(result), call.shape(other)), None, part)
    return result


def average(call: Call) -> str:
    """The sum divided by the number of tensors."""
    tensors = call.inputs()
    result = tensors[0]
    for number, other in enumerate(tensors[1:], start=1):
        shape = broadcast(call, call.shape(result), call.shape(other))
        result = call.op("ADD", [result, other], shape, None, f"first_{number + 1}")
    share = call.constant("share", np.float32(1 / len(tensors)))
    return call.op("MUL", [result, share], call.shape(result))


def subtract(call: Call) -> str:
    """The first less the second tensor."""
    if len(call.inputs()) != 2:
        raise call.refused(f"it is called with {len(call.inputs())} tensors where it takes two")
    return elementwise("SUB", call)


def concatenate(call: Call) -> str:
    """Tensors side by side along an axis."""
    return concatenated(call, call.inputs(), call.option("axis", -1))


def concatenated(call: Call, tensors: list[str], axis: int) -> str:
    """A CONCATENATION; one tensor is itself."""
    shapes = [call.shape(tensor) for tensor in tensors]
    place = axis % len(shapes[0])
    if any(shape[:place] + shape[place + 1 :] != shapes[0][:place] + shapes[0][place + 1 :] for shape in shapes):
        raise call.refused(f"tensors of the shapes {', '.join(str(list(s)) for s in shapes)} do not fit each other")
    if len(tensors) == 1:
        return tensors[0]
    total = sum(shape[place] for shape in shapes)
    result = (*shapes[0][:place], total, *shapes[0][place + 1 :])
    return call.op("CONCATENATION", tensors, result, {"axis": place})


def custom_scale(call: Call) -> str:
    """`CustomScaleLayer` of InceptionResNetV2: ``a + scale b``."""
    a, b = call.inputs()
    factor = call.constant("scale", np.float32(call.option("scale")))
    scaled = call.op("MUL", [b, factor], call.shape(b), None, "scaled")
    return call.op("ADD", [a, scaled], broadcast(call, call.shape(a), call.shape(b)))


LAYERS: dict[str, Callable[[Call], str]] = {
    "Add": partial(elementwise, "ADD"),
    "Average": average,
    "Concatenate": concatenate,
    "CustomScaleLayer": custom_scale,
    "Maximum": partial(elementwise, "MAXIMUM"),
    "Minimum": partial(elementwise, "MINIMUM"),
    "Multiply": partial(elementwise, "MUL"),
    "Subtract": subtract,
}
