"""``reshape(reshape(x))`` -> ``reshape(x)``; ``transpose_q(transpose_p(x))`` -> ``transpose_pq(x)``.

A reshape forgets all but the order of the values, so the last one of a row decides. For transpositions
``y[i] = x[p[i]]`` per axis, so the joint order is ``p[q]``. A mean that drops its axes before a RESHAPE that brings
them back as 1 keeps them instead. Refused where the value between is used elsewhere, too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Tensor
from tersor.passes._match import is_float, until_unchanged, values, with_input

_REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM")


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator cannot be merged with the one before it; None if it can."""
    if op.kind not in ("RESHAPE", "TRANSPOSE") or op.inputs[0] is None or not is_float(graph, op.outputs[0]):
        return "it is no RESHAPE or TRANSPOSE of floats"
    first = graph.producers.get(op.inputs[0])
    if first is None or not is_float(graph, op.inputs[0]):
        return "no operator computes its operand"
    if graph.sole_reader(op.inputs[0]) is not op:
        return f"{op.inputs[0]!r} is used elsewhere too"
    if first.kind in _REDUCTIONS and op.kind == "RESHAPE":
        return None if _keeps_axes(graph, first, op) else "the reshape does more than bring reduced axes back"
    if first.kind != op.kind:
        return f"a {first.kind} comes before it"
    if op.kind == "TRANSPOSE" and (values(graph, first, 1) is None or values(graph, op, 1) is None):
        return "the order of the axes is computed"
    return None


def apply(graph: Graph) -> Graph:
    """The graph with such operators merged; the same object if there are none."""
    return until_unchanged(graph, _round)


def _round(graph: Graph) -> Graph:
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: list[Tensor] = []
    for op in graph.ops:
        if refusal(graph, op) is not None or op.inputs[0] is None:
            continue
        first = graph.producers[op.inputs[0]]
        if first.name in ops or first.inputs[0] is None:
            continue
        ops[first.name] = ()
        if first.kind in _REDUCTIONS:
            assert first.options is not None
            options = first.options.with_fields(keep_dims=True)
            ops[op.name] = (replace(first, name=op.name, outputs=op.outputs, options=options),)
            continue
        merged = with_input(op, 0, first.inputs[0])
        if op.kind == "TRANSPOSE":
            order = _joint_order(graph, first, op)
            tensors.append(order)
            merged = with_input(merged, 1, order.name)
        ops[op.name] = (merged,)
    return graph.edit(replace_ops=ops, tensors=tensors) if ops else graph


def _joint_order(graph: Graph, first: Op, second: Op) -> Tensor:
    before, after = values(graph, first, 1), values(graph, second, 1)
    assert before is not None
    assert after is not None
    order = np.ascontiguousarray(before[after].astype(np.int32))
    return Tensor(graph.fresh_name(f"{second.name}/order"), order.shape, DType.INT32).with_data(order)


def _keeps_axes(graph: Graph, reduction: Op, reshape: Op) -> bool:
    axes = values(graph, reduction, 1)
    if axes is None or reduction.options is None or reduction.option("keep_dims", False) or reduction.inputs[0] is None:
        return False
    shape = graph.tensors[reduction.inputs[0]].shape
    reduced = {int(axis) % len(shape) for axis in axes.reshape(-1)}
    kept = tuple(1 if axis in reduced else size for axis, size in enumerate(shape))
    return graph.tensors[reshape.outputs[0]].shape == kept
