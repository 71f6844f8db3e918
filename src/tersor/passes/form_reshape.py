"""SQUEEZE(x) -> RESHAPE(x): the shape that is left, written down.

For devices that take SQUEEZE for leading dimensions only. No value moves either way.
"""

from __future__ import annotations

from collections.abc import Container

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, rewritten
from tersor.passes._match import is_float


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it becomes a RESHAPE."""
    if op.kind != "SQUEEZE" or op.inputs[0] is None:
        return "it is no SQUEEZE"
    return None if is_float(graph, op.outputs[0]) else "its shape is open, or it is quantized"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators replaced, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    assert op.inputs[0] is not None
    draft.end_reshaped(op.inputs[0])
