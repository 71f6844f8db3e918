"""``mean_hw(x)`` -> ``mean_w(mean_h(x))``; reductions over a batch of one sample -> the same without that axis.

Means of equally many values may be averaged in turn: equal but for the rounding of float32. A reduction over an axis of
one value does nothing there, and a RESHAPE gives the result its shape. Refused for axes that are computed, and for a
mean over one axis.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, rewritten, shape_of
from tersor.passes._match import is_float, values

_REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM")


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind not in _REDUCTIONS or op.inputs[0] is None:
        return "it is no reduction"
    if not (is_float(graph, op.inputs[0]) and is_float(graph, op.outputs[0])):
        return "its shape is open, or it is quantized"
    axes = _axes(graph, op)
    if axes is None:
        return "its axes are computed"
    if axes and axes[0] == 0 and shape_of(graph, op)[0] == 1:
        return None
    return None if op.kind == "MEAN" and len(axes) > 1 else "it is no mean over several axes"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _axes(graph: Graph, op: Op) -> list[int] | None:
    axes, rank = values(graph, op, 1), len(shape_of(graph, op))
    return None if axes is None else sorted({int(axis) % rank for axis in np.ravel(axes)})


def _form(draft: Draft, op: Op) -> None:
    shape, axes = list(shape_of(draft.graph, op)), _axes(draft.graph, op)
    assert axes is not None
    assert op.inputs[0] is not None
    source = op.inputs[0]
    rest = [axis for axis in axes if not (axis == 0 and shape[0] == 1)]
    steps = [[axis] for axis in rest] if len(rest) == len(axes) else [rest] if rest else []
    for step in steps:
        shape = [1 if axis in step else size for axis, size in enumerate(shape)]
        reduced = [source, draft.constant("axes", step)]
        source = draft.op(op.kind, reduced, shape, f"over_{'_'.join(map(str, step))}", {"keep_dims": True})
    draft.end_reshaped(source)
