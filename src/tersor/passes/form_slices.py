"""SPLIT_V -> a SLICE per part; STRIDED_SLICE with masks -> SLICE (or STRIDED_SLICE without masks) and RESHAPE.

Where a part begins and how large it is stand in constants either way, and the same values are taken. Refused for bounds
that are computed, and for strides that run backwards.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, record_of, rewritten, shape_of
from tersor.passes._match import is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is formed anew."""
    if op.kind not in ("SPLIT_V", "STRIDED_SLICE"):
        return "it is no SPLIT_V or STRIDED_SLICE"
    if not all(is_float(graph, name) for name in op.outputs):
        return "its shape is open, or it is quantized"
    if op.kind == "SPLIT_V":
        return None if values(graph, op, 1) is not None and values(graph, op, 2) is not None else "sizes are computed"
    taken = _taken(graph, op)
    if taken is None:
        return "its bounds are computed"
    return "it runs backwards" if any(step < 1 for _, _, step in taken) else None


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators formed anew, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    if op.kind == "SPLIT_V":
        _form_parts(draft, op)
        return
    taken = _taken(draft.graph, op)
    assert taken is not None
    begin, count, step = ([item[place] for item in taken] for place in range(3))
    if all(each == 1 for each in step):
        operands = [op.inputs[0], draft.constant("begin", begin), draft.constant("size", count)]
        part = draft.op("SLICE", operands, count, "part")
    else:
        end = [first + (number - 1) * each + 1 for first, number, each in taken]
        bounds = [draft.constant(wish, given) for wish, given in (("begin", begin), ("end", end), ("strides", step))]
        part = draft.op("STRIDED_SLICE", [op.inputs[0], *bounds], count, "part")
    draft.end_reshaped(part)


def _form_parts(draft: Draft, op: Op) -> None:
    axes = values(draft.graph, op, 2)
    assert axes is not None
    axis = int(axes.reshape(-1)[0]) % len(shape_of(draft.graph, op))
    parts, begin = [], 0
    for name in op.outputs:
        shape = draft.graph.tensors[name].shape
        first = [begin if place == axis else 0 for place in range(len(shape))]
        operands = (op.inputs[0], draft.constant("begin", first), draft.constant("size", list(shape)))
        parts.append(Op(name, "SLICE", operands, (name,), options=record_of("SLICE")))
        begin += shape[axis]
    draft.end_with(*parts)


def _taken(graph: Graph, op: Op) -> list[tuple[int, int, int]] | None:
    """(first index, number, step) for each axis of the operand; None where that is computed."""
    given = [values(graph, op, index) for index in (1, 2, 3)]
    if any(item is None for item in given):
        return None
    begin, end, strides = (np.ravel(item).tolist() for item in given if item is not None)
    shape = shape_of(graph, op)
    masks = {
        name: int(op.option(f"{name}_mask", 0) or 0) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    entries = [
        _entry({name for name, mask in masks.items() if mask >> place & 1}, begin[place], end[place], strides[place])
        for place in range(len(begin))
    ]
    return _ranges([item for item in entries if item is not None], shape)


def _entry(marks: set[str], begin: int, end: int, step: int) -> object | None:
    """One entry of an index: Ellipsis, a number, or a slice; None for an axis that is added."""
    if "ellipsis" in marks:
        return Ellipsis
    if "new_axis" in marks:
        return None
    if "shrink_axis" in marks:
        return begin
    return slice(None if "begin" in marks else begin, None if "end" in marks else end, step)


def _ranges(entries: Sequence[object], shape: Sequence[int]) -> list[tuple[int, int, int]]:
    place = entries.index(Ellipsis) if Ellipsis in entries else len(entries)
    behind = list(entries[place + 1 :])
    middle: list[object] = [slice(None)] * (len(shape) - place - len(behind))
    found = []
    for entry, size in zip([*entries[:place], *middle, *behind], shape, strict=True):
        chosen = range(size)[entry] if isinstance(entry, slice) else range(size)[int(entry) :][:1]  # type: ignore[call-overload]
        found.append((chosen.start, len(chosen), chosen.step))
    return found
