"""``MIRROR_PAD(x)`` -> CONCATENATION of ``x`` and SLICEs of one row or column each; PADV2 with zeros -> PAD.

Each row that is added is a copy of one that is there. Refused for other axes than height and width, for more than 8
rows or columns on a side, and for a padding that is not 0.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, rewritten, shape_of
from tersor.passes._match import is_float, values

_MOST_ROWS = 8
_SYMMETRIC = 1


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind not in ("MIRROR_PAD", "PADV2") or not is_float(graph, op.outputs[0]):
        return "it is no MIRROR_PAD or PADV2 of floats"
    amounts = values(graph, op, 1)
    if amounts is None or amounts.shape != (4, 2) or amounts[0].any() or amounts[3].any():
        return "it pads other axes than height and width, or by amounts that are computed"
    if op.kind == "PADV2":
        padding = values(graph, op, 2)
        return None if padding is not None and not padding.any() else "it pads with another value than 0"
    return None if amounts.max() <= _MOST_ROWS else f"it adds {amounts.max()} rows or columns"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    if op.kind == "PADV2":
        draft.end("PAD", [op.inputs[0], op.inputs[1]])
        return
    amounts, shape = values(draft.graph, op, 1), list(shape_of(draft.graph, op))
    assert amounts is not None
    source = op.inputs[0]
    assert source is not None
    skip = 0 if op.option("mode", 0) == _SYMMETRIC else 1
    padded = [axis for axis in (1, 2) if amounts[axis].any()]
    for axis in padded:
        before, after = (int(amount) for amount in amounts[axis])
        size = shape[axis]
        rows = [*range(before - 1 + skip, skip - 1, -1), None, *range(size - 1 - skip, size - 1 - skip - after, -1)]
        parts = [source if row is None else _row(draft, source, shape, axis, row) for row in rows]
        shape[axis] += before + after
        if axis == padded[-1]:
            draft.end("CONCATENATION", parts, {"axis": axis})
        else:
            source = draft.op("CONCATENATION", parts, shape, "taller", {"axis": axis})


def _row(draft: Draft, source: str, shape: list[int], axis: int, row: int) -> str:
    begin = np.zeros(len(shape), np.int32)
    begin[axis] = row
    size = [1 if place == axis else extent for place, extent in enumerate(shape)]
    return draft.op("SLICE", [source, draft.constant("begin", begin), draft.constant("extent", size)], size, "copy")
