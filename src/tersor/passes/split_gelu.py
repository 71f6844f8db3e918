"""GELU(x) -> ``x sigmoid(clip(u, -8, 8))`` with ``u = 2 sqrt(2 / pi) (x + 0.044715 x^3)``: six products and sums.

The form with tanh that GELU was published with (Hendrycks and Gimpel 2016, section 2), as
``(1 + tanh(u / 2)) / 2 = sigmoid(u)``. From the form with erf it differs by at most 0.0005, and the clip, which lets 8
bits hold u, adds at most 0.0004 |x|: less than a tenth of a step of 8 bits over the values that are computed, but not
equal in float. ``x sigmoid(1.702 x)``, which is shorter, would differ by 0.02. Refused where the shape is open.
"""

from __future__ import annotations

import math
from collections.abc import Container

from tersor.ir.graph import Graph, Op
from tersor.passes._draft import Draft, full, rewritten, shape_of
from tersor.passes._match import is_float

_CLIP = 8
_N1_TO_1 = 2
_LINEAR = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is split."""
    if op.kind != "GELU":
        return "it is no GELU"
    return None if is_float(graph, op.outputs[0]) else "its shape is open, or it is quantized"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with GELUs split, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    source, shape = op.inputs[0], shape_of(draft.graph, op)
    linear = draft.constant("linear", full(_LINEAR / _CLIP))
    square = draft.op("MUL", [source, source], shape, "square")
    scaled = draft.op("MUL", [square, draft.constant("cubic", full(_LINEAR * _CUBIC / _CLIP))], shape, "scaled")
    slope = draft.op("ADD", [scaled, linear], shape, "slope")
    clipped = draft.op("MUL", [source, slope], shape, "clipped", {"fused_activation_function": _N1_TO_1})
    argument = draft.op("MUL", [clipped, draft.constant("clip", full(_CLIP))], shape, "argument")
    draft.end("MUL", [source, draft.op("LOGISTIC", [argument], shape, "gate")])
