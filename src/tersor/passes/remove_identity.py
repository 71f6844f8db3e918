"""``f(x) = x``: operators that do nothing are taken out, and their readers read the operand.

A RESHAPE to the shape it has, a TRANSPOSE that keeps the order, a PAD by nothing, a product with 1, a sum with 0, a
CONCATENATION of one. An output of the model keeps its name: what computes the operand computes the output instead, if
nothing else reads it; otherwise the operator stays. Refused, too, where an activation function is fused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.passes._match import activation, is_float, until_unchanged, values

_NEUTRAL: dict[str, Callable[[Array], bool]] = {
    "ADD": lambda given: not given.any(),
    "DIV": lambda given: bool(np.all(given == 1)),
    "MUL": lambda given: bool(np.all(given == 1)),
    "PAD": lambda given: not given.any(),
    "SUB": lambda given: not given.any(),
    "TRANSPOSE": lambda given: given.tolist() == list(range(given.size)),
}
"""Whether the constant second operand makes the operator do nothing."""


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator cannot be taken out; None if it can."""
    if op.kind not in (*_NEUTRAL, "RESHAPE", "CONCATENATION") or op.inputs[0] is None or len(op.outputs) != 1:
        return "it is no operator that may do nothing"
    if op.outputs[0] in graph.outputs and _takes_over(graph, op) is None:
        return f"{op.outputs[0]!r} is an output of the model, and its operand is used elsewhere too"
    if activation(op):
        return "it has an activation function"
    if not (is_float(graph, op.inputs[0]) and is_float(graph, op.outputs[0])):
        return "its shape is open, or it is quantized"
    if graph.tensors[op.inputs[0]].shape != graph.tensors[op.outputs[0]].shape:
        return "it changes the shape"
    if op.kind == "CONCATENATION":
        return None if len(op.inputs) == 1 else "it joins several values"
    constant = values(graph, op, 1)
    if op.kind in _NEUTRAL and (constant is None or not _NEUTRAL[op.kind](constant)):
        return "it changes values"
    return None


def apply(graph: Graph) -> Graph:
    """The graph without such operators; the same object if there are none."""
    return until_unchanged(_inside(graph), _at_output)


def _takes_over(graph: Graph, op: Op) -> Op | None:
    """The operator that could compute the result itself, under the result's name."""
    source = op.inputs[0]
    first = None if source is None else graph.producers.get(source)
    if source is None or first is None or len(first.outputs) != 1 or graph.sole_reader(source) is not op:
        return None
    return first


def _at_output(graph: Graph) -> Graph:
    for op in graph.ops:
        if op.outputs and op.outputs[0] in graph.outputs and refusal(graph, op) is None:
            first = _takes_over(graph, op)
            assert first is not None
            renamed = replace(first, name=op.name, outputs=op.outputs)
            return graph.edit(replace_ops={op.name: (), first.name: (renamed,)})
    return graph


def _inside(graph: Graph) -> Graph:
    alias: dict[str, str] = {}
    for op in graph.ops:
        if refusal(graph, op) is None and op.inputs[0] is not None and op.outputs[0] not in graph.outputs:
            alias[op.outputs[0]] = alias.get(op.inputs[0], op.inputs[0])
    if not alias:
        return graph
    ops: dict[str, tuple[Op, ...]] = {}
    for op in graph.ops:
        if op.outputs and op.outputs[0] in alias:
            ops[op.name] = ()
        elif any(name in alias for name in op.present_inputs):
            inputs = tuple(None if name is None else alias.get(name, name) for name in op.inputs)
            ops[op.name] = (replace(op, inputs=inputs),)
    return graph.edit(replace_ops=ops)
