"""Layers that join several tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.einsum import einsum
from tersor.formats.keras.layers.normalization import unit_length
from tersor.formats.keras.layers.reshape import reshaped


def broadcast(call: Call, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a result, element by element. Raises UnsupportedError if the operands do not fit."""
    try:
        return tuple(np.broadcast_shapes(a, b))
    except ValueError:
        raise call.refused(f"tensors of the shapes {list(a)} and {list(b)} do not fit each other") from None


def _levelled(call: Call) -> list[str]:
    """The tensors; those of fewer dimensions get some of size 1 behind the batch."""
    tensors = call.inputs()
    if len(tensors) < 2:
        raise call.refused("it is called with one tensor where it takes several")
    rank = max(len(call.shape(tensor)) for tensor in tensors)
    found = []
    for number, tensor in enumerate(tensors):
        batch, *sizes = call.shape(tensor)
        found.append(reshaped(call, tensor, (batch, *[1] * (rank - 1 - len(sizes)), *sizes), f"operand_{number}"))
    return found


def elementwise(kind: str, call: Call) -> str:
    """All tensors from left to right by one operator."""
    result, *others = _levelled(call)
    if kind in ("MAXIMUM", "MINIMUM", "MUL"):
        for tensor in call.inputs():
            call.no_mask(tensor)
    for number, other in enumerate(others, start=1):
        part = "" if number == len(others) else f"first_{number + 1}"
        result = call.op(kind, [result, other], broadcast(call, call.shape(result), call.shape(other)), None, part)
    return result


def average(call: Call) -> str:
    """The sum divided by the number of tensors."""
    result, *others = _levelled(call)
    for number, other in enumerate(others, start=1):
        shape = broadcast(call, call.shape(result), call.shape(other))
        result = call.op("ADD", [result, other], shape, None, f"first_{number + 1}")
    share = call.constant("share", np.float32(1 / (len(others) + 1)))
    return call.op("MUL", [result, share], call.shape(result))


def dot(call: Call) -> str:
    """`Dot`: the sum of products along one axis of each of two tensors."""
    tensors = call.inputs()
    if len(tensors) != 2:
        raise call.refused(f"it is called with {len(tensors)} tensors where it takes two")
    axes = call.option("axes")
    places = [axes, axes] if isinstance(axes, int) else list(axes)
    ranks = [len(call.shape(tensor)) for tensor in tensors]
    places = [int(place) % rank for place, rank in zip(places, ranks, strict=True)]
    if 0 in places:
        raise call.refused(f"axes {axes} name the batch")
    if call.option("normalize", False):
        pairs = zip(tensors, places, "ab", strict=True)
        tensors = [unit_length(call.at(f"{part}_unit"), tensor, place) for tensor, place, part in pairs]
    letters = iter("bcdefghijklmnopqrstuvw")
    left, right = (
        "".join("a" if place == 0 else "z" if place == own else next(letters) for place in range(rank))
        for own, rank in zip(places, ranks, strict=True)
    )
    result = "".join(letter for letter in left + right[1:] if letter != "z")
    if len(result) > 1:
        return einsum(call, (left, right, result), tensors[0], tensors[1])
    product = einsum(call, (left, right, result), tensors[0], tensors[1], "product")
    return reshaped(call, product, (call.batch(product), 1))


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
    "Dot": dot,
    "Maximum": partial(elementwise, "MAXIMUM"),
    "Minimum": partial(elementwise, "MINIMUM"),
    "Multiply": partial(elementwise, "MUL"),
    "Subtract": subtract,
}
