"""Pooling with a fused activation function -> the same without it, and the function as an operator.

``f(pool(x))`` is computed in two steps instead of one: equal. Also ``clip(x, 0, 1)`` -> ``clip(relu(x), -1, 1)``, for
devices that know the second only. Refused for functions that have no operator.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, record_of, rewritten, shape_of, without_activation
from tersor.passes._match import activation, is_float

_FUNCTIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}
"""Operators by the codes of fused ones in `schema.fbs`."""

_HOSTS = ("AVERAGE_POOL_2D", "MAX_POOL_2D")


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind not in (*_HOSTS, "RELU_0_TO_1"):
        return "it does not pool values"
    if not is_float(graph, op.outputs[0]):
        return "its shape is open, or it is quantized"
    if op.kind != "RELU_0_TO_1" and activation(op) not in _FUNCTIONS:
        return "it has no activation function, or one without an operator"
    return None


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    shape = draft.graph.tensors[op.outputs[0]].shape
    if op.kind == "RELU_0_TO_1":
        draft.end("RELU_N1_TO_1", [draft.op("RELU", [op.inputs[0]], shape_of(draft.graph, op), "positive")])
        return
    plain = draft.value("plain", shape)
    last = replace(without_activation(op), name=plain, outputs=(plain,))
    function = _FUNCTIONS[activation(op)]
    draft.end_with(last, Op(op.name, function, (plain,), op.outputs, options=record_of(function)))
