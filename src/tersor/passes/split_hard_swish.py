"""HARD_SWISH(x) -> ``x relu6(x + 3) / 6``, as ADD with a fused ReLU6 and two MULs.

For devices without HARD_SWISH. Equal in float. In integers the gate ``relu6(x + 3)`` is rounded once more than in one
kernel, and the product with 1/6 is exact, since the scales of both sides are 6 apart.
"""

from __future__ import annotations

from collections.abc import Container

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, full, rewritten, shape_of
from tersor.passes._match import is_float

_RELU6 = 3


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind != "HARD_SWISH":
        return "it is no HARD_SWISH"
    return None if is_float(graph, op.outputs[0]) else "its shape is open, or it is quantized"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with hard swishes split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    source, shape = op.inputs[0], shape_of(draft.graph, op)
    shifted = [source, draft.constant("three", full(3))]
    gate = draft.op("ADD", shifted, shape, "gate", {"fused_activation_function": _RELU6})
    product = draft.op("MUL", [source, gate], shape, "product")
    draft.end("MUL", [product, draft.constant("sixth", full(1 / 6))])
