"""``concat(x, c, y)`` with constants -> values and zeros joined two at a time, and the constants added to that.

For devices that join a value with zeros only. Adding 0 changes nothing, and in integers 0 is exact. (The Edge TPU
compiler takes both by its documentation; one public report has an ADD that it left on the CPU behind a padding.)
Refused where nothing is computed, or everything.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.passes._draft import Draft, full, rewritten
from tersor.passes._match import activation, is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind != "CONCATENATION" or not is_float(graph, op.outputs[0]):
        return "it is no CONCATENATION of floats"
    constants = [values(graph, op, index) for index in range(len(op.inputs))]
    if all(item is None for item in constants) or all(item is not None for item in constants):
        return "its operands are all computed, or all constant"
    return "it has an activation function" if activation(op) else None


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    graph, count = draft.graph, len(op.inputs)
    result = graph.tensors[op.outputs[0]].shape
    axis = int(op.option("axis", 0)) % len(result)
    parts = [values(graph, op, index) for index in range(count)]
    shapes = [graph.tensors[name].shape for name in op.present_inputs]
    filled = [full(0, shape) if part is None else part for shape, part in zip(shapes, parts, strict=True)]
    whole = np.concatenate(filled, axis)
    first = next(index for index, part in enumerate(parts) if part is None)
    order = [first, *reversed(range(first)), *range(first + 1, count)]
    joined, extent = op.inputs[first], filled[first].shape[axis]
    for number, index in enumerate(order[1:], 1):
        part = op.inputs[index] if parts[index] is None else draft.constant("zeros", full(0, filled[index].shape))
        extent += filled[index].shape[axis]
        shape = (*result[:axis], extent, *result[axis + 1 :])
        pair = [part, joined] if index < first else [joined, part]
        if number == count - 1 and not whole.any():
            draft.end("CONCATENATION", pair, {"axis": axis})
            return
        joined = draft.op("CONCATENATION", pair, shape, f"join_{number}", {"axis": axis})
    draft.end("ADD", [joined, draft.constant("constants", _narrow(whole))])


def _narrow(whole: Array) -> Array:
    """The array with 1 for axes along which it does not change: broadcasting brings them back."""
    for axis in range(whole.ndim):
        first = whole.take([0], axis)
        whole = first if bool((whole == first).all()) else whole
    return whole
