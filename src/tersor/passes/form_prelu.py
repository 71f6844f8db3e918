"""LEAKY_RELU(x; a) -> PRELU(x; a for each channel); PRELU whose alpha differs from place to place is split.

Alpha that is the same at all places of a channel is stored once per channel. Any other one is a product:
``prelu(x) = r + alpha (x - r)`` with ``r = relu(x)``. All are equal in float; PRELU computes with one rounding as
LEAKY_RELU does, the split form with four: 0.1 to 0.6 dB more noise of that operator, with alpha in 0 to 1. Refused
where alpha is computed.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.passes._draft import Draft, full, rewritten, shape_of
from tersor.passes._match import is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is formed anew."""
    if op.kind not in ("LEAKY_RELU", "PRELU"):
        return "it is no LEAKY_RELU or PRELU"
    if not is_float(graph, op.outputs[0]) or len(shape_of(graph, op)) < 2:
        return "its shape is open, or it is quantized"
    if op.kind == "LEAKY_RELU":
        return None
    alpha = values(graph, op, 1)
    if alpha is None:
        return "alpha is computed"
    return "alpha is one value per channel already" if alpha.size == alpha.shape[-1] else None


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators formed anew, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    shape = shape_of(draft.graph, op)
    each = (*[1] * (len(shape) - 2), shape[-1])
    if op.kind == "LEAKY_RELU":
        draft.end("PRELU", [op.inputs[0], draft.constant("alpha", full(op.option("alpha", 0.0), each))])
        return
    alpha = values(draft.graph, op, 1)
    assert alpha is not None
    shared = _per_channel(alpha)
    if shared is not None:
        name = draft.constant("alpha", np.broadcast_to(shared, shape[-1:]).reshape(each))
        draft.end_with(replace(op, inputs=(op.inputs[0], name)))
        return
    rectified = draft.op("RELU", [op.inputs[0]], shape, "positive")
    rest = draft.op("SUB", [op.inputs[0], rectified], shape, "negative")
    scaled = draft.op("MUL", [rest, op.inputs[1]], shape, "scaled")
    draft.end("ADD", [rectified, scaled])


def _per_channel(alpha: Array) -> Array | None:
    """The values along the last axis if they are the same everywhere else."""
    rows = alpha.reshape(-1, alpha.shape[-1])
    return rows[0] if bool((rows == rows[0]).all()) else None
