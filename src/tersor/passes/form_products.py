"""``x / c`` -> ``x (1 / c)``, ``-x`` -> ``-1 x``, ``x^2`` -> ``x x``, ``x^3`` -> ``x x x``, ``|x|`` -> ``max(x, -x)``.

For devices that multiply and compare, and have none of DIV, NEG, SQUARE, POW, ABS. Quotients and powers differ by
roundings of float32, the others not at all. Refused for a divisor that is computed, or 0, or too small for its
reciprocal, and for other powers than 2 and 3.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.passes._draft import Draft, full, rewritten, shape_of
from tersor.passes._match import activation, is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is formed anew."""
    if op.kind not in ("ABS", "DIV", "NEG", "POW", "SQUARE"):
        return "it is no DIV, NEG, SQUARE, POW or ABS"
    if not is_float(graph, op.outputs[0]):
        return "its shape is open, or it is quantized"
    if op.kind == "DIV" and _reciprocal(graph, op) is None:
        return "the divisor is computed, or has no reciprocal"
    if op.kind == "POW" and _exponent(graph, op) not in (2, 3):
        return "its exponent is computed, or neither 2 nor 3"
    return None


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators formed anew, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _reciprocal(graph: Graph, op: Op) -> Array | None:
    divisor = values(graph, op, 1)
    if divisor is None or divisor.dtype != np.float32 or op.inputs[0] is None:
        return None
    with np.errstate(divide="ignore", over="ignore"):
        found = (1 / divisor.astype(np.float64)).astype(np.float32)
    return found if bool(np.isfinite(found).all()) else None


def _exponent(graph: Graph, op: Op) -> float | None:
    exponent = values(graph, op, 1)
    return float(exponent.reshape(-1)[0]) if exponent is not None and exponent.size == 1 else None


def _form(draft: Draft, op: Op) -> None:
    source = op.inputs[0]
    match op.kind:
        case "DIV":
            factor = draft.constant("reciprocal", _reciprocal(draft.graph, op))
            draft.end("MUL", [source, factor], {"fused_activation_function": activation(op)})
        case "NEG":
            draft.end("MUL", [source, draft.constant("minus_one", full(-1))])
        case "SQUARE":
            draft.end("MUL", [source, source])
        case "POW":
            is_square = _exponent(draft.graph, op) == 2
            square = source if is_square else draft.op("MUL", [source, source], shape_of(draft.graph, op), "square")
            draft.end("MUL", [square, source])
        case "ABS":
            factor = draft.constant("minus_one", full(-1))
            draft.end("MAXIMUM", [source, draft.op("MUL", [source, factor], shape_of(draft.graph, op), "negated")])
