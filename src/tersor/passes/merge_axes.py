"""``transpose_p(x)`` over many axes -> ``reshape(transpose_q(reshape(x)))`` over as few as there are.

Axes that stay side by side in the same order move as one, and those of one value need no place: [1, h, w, g, c] to
[1, h, w, c, g] is [h w, g, c] to [h w, c, g]. Refused where more than three axes are left, or none fewer.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, rewritten, shape_of
from tersor.passes._match import is_float, values

_MOST_AXES = 3


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if its axes are merged."""
    if op.kind != "TRANSPOSE" or op.inputs[0] is None or not is_float(graph, op.outputs[0]):
        return "it is no TRANSPOSE of floats"
    order = values(graph, op, 1)
    if order is None:
        return "the order of the axes is computed"
    shape = shape_of(graph, op)
    groups = _groups(shape, [int(axis) for axis in order])
    if len(groups) > _MOST_AXES:
        return f"it moves {len(groups)} groups of axes"
    return None if len(groups) > 1 and math.prod(shape[:-_MOST_AXES]) > 1 else "it has no axes to merge"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such axes merged, of those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _groups(shape: Sequence[int], order: Sequence[int]) -> list[list[int]]:
    """Axes of more than one value, in the order that they get, with those together that were together."""
    long = [axis for axis, size in enumerate(shape) if size > 1]
    groups: list[list[int]] = []
    for axis in (axis for axis in order if shape[axis] > 1):
        if groups and long.index(axis) == long.index(groups[-1][-1]) + 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _form(draft: Draft, op: Op) -> None:
    order = values(draft.graph, op, 1)
    assert order is not None
    assert op.inputs[0] is not None
    shape = shape_of(draft.graph, op)
    groups = _groups(shape, [int(axis) for axis in order])
    before = sorted(groups)
    lead = [1] * (_MOST_AXES + 1 - len(groups))
    sizes = [*lead, *(math.prod(shape[axis] for axis in group) for group in before)]
    places = [*range(len(lead)), *(len(lead) + before.index(group) for group in groups)]
    merged = draft.reshaped(op.inputs[0], sizes, "merged")
    moved = [merged, draft.constant("order", places)]
    draft.end_reshaped(draft.op("TRANSPOSE", moved, [sizes[place] for place in places], "moved"))
