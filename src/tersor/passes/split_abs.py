"""``|x|`` -> ``max(x, -1 x)``, for devices that multiply and compare, and have no ABS. Exactly the same.

Refused where the shape is open.
"""

from __future__ import annotations

from collections.abc import Container

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, full, rewritten, shape_of
from tersor.passes._match import is_float


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind != "ABS":
        return "it is no ABS"
    return None if is_float(graph, op.outputs[0]) else "its shape is open, or it is quantized"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _split)


def _split(draft: Draft, op: Op) -> None:
    source, factor = op.inputs[0], draft.constant("minus_one", full(-1))
    draft.end("MAXIMUM", [source, draft.op("MUL", [source, factor], shape_of(draft.graph, op), "negated")])
