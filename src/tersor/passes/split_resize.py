"""``RESIZE_NEAREST_NEIGHBOR`` by n -> by a, then by b, with ``n = a b``.

Value i of the result is value ``floor(i / n)`` of x, and ``floor(floor(i / a) / b) = floor(i / (a b))``: the same value
is copied. Refused for factors that are no products of two whole numbers up to 8, where corners are aligned, and for
bilinear resizing, whose steps would not add up to the same.
"""

from __future__ import annotations

from collections.abc import Container

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, rewritten, shape_of
from tersor.passes._match import is_float, values

_MOST = 8


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind != "RESIZE_NEAREST_NEIGHBOR" or op.inputs[0] is None or not is_float(graph, op.outputs[0]):
        return "it is no RESIZE_NEAREST_NEIGHBOR of floats"
    if op.option("align_corners", False) or values(graph, op, 1) is None:
        return "its corners are aligned, or its size is computed"
    before, after = shape_of(graph, op)[1:3], graph.tensors[op.outputs[0]].shape[1:3]
    if any(new % old for old, new in zip(before, after, strict=True)):
        return "its factors are no whole numbers"
    factors = [new // old for old, new in zip(before, after, strict=True)]
    if max(factors) <= _MOST:
        return f"its factors are {factors}"
    return None if all(_first(factor) is not None for factor in factors) else f"{factors} cannot be split"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _first(factor: int) -> int | None:
    """The larger of two whole numbers up to 8 whose product a factor is, as near to each other as they get."""
    pairs = [step for step in range(1, _MOST + 1) if factor % step == 0 and factor // step <= step]
    return min(pairs, default=None)


def _form(draft: Draft, op: Op) -> None:
    shape, result = shape_of(draft.graph, op), draft.graph.tensors[op.outputs[0]].shape
    steps = [_first(new // old) or 1 for old, new in zip(shape[1:3], result[1:3], strict=True)]
    between = [size * step for size, step in zip(shape[1:3], steps, strict=True)]
    options = {"half_pixel_centers": bool(op.option("half_pixel_centers", False))}
    operands = [op.inputs[0], draft.constant("size", between)]
    first = draft.op(op.kind, operands, (shape[0], *between, shape[3]), "between", options)
    draft.end(op.kind, [first, op.inputs[1]], options)
