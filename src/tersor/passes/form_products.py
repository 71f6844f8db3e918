"""``x / c`` -> ``x (1 / c)``, ``x / y`` -> ``x (1 / y)``, ``-x`` -> ``-1 x``, ``x^2`` -> ``x x``, ``x^3`` -> ``x x x``.

Integer kernels multiply well. There are none for powers; that of NEG takes no scales; that of DIV is lost on small
quotients, and so fit for reciprocals only, which are not small. A computed divisor becomes a reciprocal where that
makes half as many divisions or fewer: one number for a row. Quotients and powers differ by roundings of float32, the
others not at all. Refused for a constant divisor that is 0, or too small for its reciprocal, and for other powers.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.passes._draft import Draft, full, rewritten, shape_of
from tersor.passes._match import activation, is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it is formed anew."""
    if op.kind not in ("DIV", "NEG", "POW", "SQUARE"):
        return "it is no DIV, NEG, SQUARE or POW"
    if not is_float(graph, op.outputs[0]):
        return "its shape is open, or it is quantized"
    if op.kind == "DIV":
        return _why_no_factor(graph, op)
    if op.kind == "POW" and _exponent(graph, op) not in (2, 3):
        return "its exponent is computed, or neither 2 nor 3"
    return None


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators formed anew, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _why_no_factor(graph: Graph, op: Op) -> str | None:
    over, under = graph.operand(op, 0), graph.operand(op, 1)
    if over is None or under is None:
        return "it has no two operands"
    if under.is_constant:
        return "the divisor has no reciprocal" if _reciprocal(graph, op) is None else None
    if not is_float(graph, under.name) or over.elements < 2 * under.elements:
        return "the divisor is computed, and a reciprocal would save too little"
    return None


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
            found = _reciprocal(draft.graph, op)
            factor = _reciprocals(draft, op) if found is None else draft.constant("reciprocal", found)
            draft.end("MUL", [source, factor], {"fused_activation_function": activation(op)})
        case "NEG":
            draft.end("MUL", [source, draft.constant("minus_one", full(-1))])
        case "SQUARE":
            draft.end("MUL", [source, source])
        case "POW":
            is_square = _exponent(draft.graph, op) == 2
            square = source if is_square else draft.op("MUL", [source, source], shape_of(draft.graph, op), "square")
            draft.end("MUL", [square, source])


def _reciprocals(draft: Draft, op: Op) -> str:
    options = {"fused_activation_function": 0}
    return draft.op(
        "DIV", [draft.constant("one", full(1)), op.inputs[1]], shape_of(draft.graph, op, 1), "reciprocal", options
    )
