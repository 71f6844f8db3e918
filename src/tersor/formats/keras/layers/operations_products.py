"""Functions of `keras.ops` that are sums of products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.einsum import einsum, einsum_with, spread
from tersor.formats.keras.layers.operands import constant, operands, real, setting
from tersor.formats.keras.layers.reshape import reshaped
from tersor.ir.graph import Array

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def product(call: Call, terms: tuple[str, str, str], given: list[Any]) -> str:
    """A product of two operands by an equation, of which the second may be an array."""
    a, b = given
    if not isinstance(a, Edge) and isinstance(b, Edge):
        return product(call, (terms[1], terms[0], terms[2]), [b, a])
    if not isinstance(a, Edge):
        raise call.refused("it is not called with a tensor")
    tensor = real(call, a, "a_real")
    if isinstance(b, Edge):
        return einsum(call, terms, tensor, real(call, b, "b_real"))
    return einsum_with(call, terms, tensor, array_of(call, b), None, is_last=True)


def array_of(call: Call, value: Any) -> Array:
    """An operand as float32. Raises UnsupportedError if it is none."""
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise call.refused("one of its operands is neither a tensor nor numbers") from None


def _rank(call: Call, value: Any) -> int:
    return len(call.shape(value)) if isinstance(value, Edge) else array_of(call, value).ndim


def matmul(call: Call) -> str:
    """Products of the matrices in the last two axes; the axes before are the same, or only one operand has them."""
    given = operands(call)
    ranks = [_rank(call, value) for value in given]
    if len(given) != 2 or min(ranks) < 2:
        raise call.refused("it is not called with two tensors of at least two dimensions")
    shapes = [call.shape(item) if isinstance(item, Edge) else array_of(call, item).shape for item in given]
    before = [shape[:-2] for shape in shapes]
    if all(before) and before[0] != before[1]:
        return _broadcast_product(call, given, shapes)
    letters = _LETTERS[: max(ranks) - 2]
    left, right = ((letters if batch else "") + tail for batch, tail in zip(before, ("xy", "yz"), strict=True))
    return product(call, (left, right, letters + "xz"), given)


def _broadcast_product(call: Call, given: list[Any], shapes: list[tuple[int, ...]]) -> str:
    names = [
        real(call, item, f"{part}_real") if isinstance(item, Edge) else constant(call, item, part)
        for item, part in zip(given, "ab", strict=True)
    ]
    rank = max(map(len, shapes))
    names = [
        reshaped(call, name, (*[1] * (rank - len(shape)), *shape), f"{part}_levelled")
        for name, shape, part in zip(names, shapes, "ab", strict=True)
    ]
    if shapes[0][-1] != shapes[1][-2]:
        raise call.refused(f"matrices of {list(shapes[0])} and {list(shapes[1])} do not fit each other")
    try:
        whole = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])
    except ValueError:
        raise call.refused(f"tensors of {list(shapes[0])} and {list(shapes[1])} do not fit each other") from None
    shape = (*whole, shapes[0][-2], shapes[1][-1])
    return call.op("BATCH_MATMUL", names, shape, {"adj_x": False, "adj_y": False})


def dot(call: Call) -> str:
    """The last axis of the first operand with the last but one of the second."""
    given = operands(call)
    ranks = [_rank(call, value) for value in given]
    if min(ranks) < 2:
        raise call.refused("it is called with vectors: use a product and a sum")
    left, right = _LETTERS[: ranks[0] - 1], _LETTERS[ranks[0] : ranks[0] + ranks[1] - 1]
    return product(call, (left + "z", f"{right[:-1]}z{right[-1]}", left + right), given)


def tensordot(call: Call) -> str:
    """Sums of products along pairs of axes."""
    given = operands(call)
    ranks = [_rank(call, value) for value in given]
    axes = setting(call, "axes", 2, 2)
    if isinstance(axes, int):
        axes = [list(range(ranks[0] - axes, ranks[0])), list(range(axes))]
    pairs = [[item] if isinstance(item, int) else list(item) for item in axes]
    left, right = list(_LETTERS[: ranks[0]]), list(_LETTERS[ranks[0] : sum(ranks)])
    for a, b in zip(*pairs, strict=True):
        right[b] = left[a]
    kept = [letter for letter in left + right if (letter in left) != (letter in right)]
    return product(call, ("".join(left), "".join(right), "".join(kept)), given)


def einsum_operation(call: Call) -> str:
    """A product of two operands by an equation."""
    words = [item for item in call.args if isinstance(item, str) and not isinstance(item, Edge)]
    equation = str(call.layer.config.get("subscripts") or (words or [""])[0]).replace(" ", "")
    given = [item for item in call.args if item not in words or isinstance(item, Edge)]
    terms, arrow, result = equation.partition("->")
    parts = terms.split(",")
    if not arrow or len(parts) != 2 or len(given) != 2:
        raise call.refused(f"the equation {equation!r} is not read: two operands and a result are")
    counts = [_rank(call, value) - len(part.replace("...", "")) for part, value in zip(parts, given, strict=True)]
    left, right = (spread(call, part, count) for part, count in zip(parts, counts, strict=True))
    return product(call, (left, right, spread(call, result, max(counts))), given)


LAYERS: dict[str, Callable[[Call], str | tuple[str, ...]]] = {
    "ops.Dot": dot,
    "ops.Einsum": einsum_operation,
    "ops.Matmul": matmul,
    "ops.Tensordot": tensordot,
}
