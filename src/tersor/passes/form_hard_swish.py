"""``x relu6(x + 3) / 6`` -> HARD_SWISH(x), in both orders in which the factor 1/6 is written.

One operator instead of four, whose integer kernels compute with one rounding. Refused where a value between is used
elsewhere.
"""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Graph, Op, Record
from tersor.passes._match import activation, is_float, per_channel

_TOLERANCE = 1e-6

_OPTIONS = Record("HardSwishOptions")


def apply(graph: Graph) -> Graph:
    """The graph with such groups of operators joined; the same object if there are none."""
    ops: dict[str, tuple[Op, ...]] = {}
    for op in graph.ops:
        found = match(graph, op)
        if found is None or any(item.name in ops for item in found[1]):
            continue
        source, parts = found
        ops |= {item.name: () for item in parts}
        ops[op.name] = (Op(op.name, "HARD_SWISH", (source,), op.outputs, options=_OPTIONS),)
    return graph.edit(replace_ops=ops) if ops else graph


def match(graph: Graph, op: Op) -> tuple[str, list[Op]] | None:
    """(x, the operators that are joined with `op`, the last of them), or None if `op` ends no hard swish."""
    if op.kind != "MUL" or activation(op) or not is_float(graph, op.outputs[0]):
        return None
    factor, product = _scaled(graph, op)
    if factor is not None and product is not None:  # (x relu6(x + 3)) / 6
        inner = _inner(graph, product)
        found = None if inner is None or inner.kind != "MUL" or activation(inner) else _gate(graph, inner)
        return None if found is None or inner is None else (found[0], [inner, *found[1]])
    for value, other in ((op.inputs[0], op.inputs[1]), (op.inputs[1], op.inputs[0])):  # x (relu6(x + 3) / 6)
        scaled = _inner(graph, value)
        if scaled is None or scaled.kind != "MUL" or activation(scaled) or other is None:
            continue
        factor, clipped = _scaled(graph, scaled)
        clip = None if factor is None else _inner(graph, clipped)
        parts = None if clip is None else _clipped(graph, clip, other)
        if parts is not None:
            return other, [scaled, *parts]
    return None


def _gate(graph: Graph, product: Op) -> tuple[str, list[Op]] | None:
    for value, other in ((product.inputs[0], product.inputs[1]), (product.inputs[1], product.inputs[0])):
        clip = _inner(graph, value)
        found = None if clip is None or other is None else _clipped(graph, clip, other)
        if found is not None and other is not None:
            return other, found
    return None


def _clipped(graph: Graph, clip: Op, source: str) -> list[Op] | None:
    """The operators of relu6(source + 3), if `clip` is the last of them."""
    parts = [clip]
    if clip.kind == "RELU6":
        shift = _inner(graph, clip.inputs[0])
        if shift is None or activation(shift):
            return None
        parts.append(shift)
    elif activation(clip) != 3:
        return None
    shift = parts[-1]
    constant = per_channel(graph, shift, 1, 1) if shift.kind == "ADD" else None
    return parts if constant is not None and shift.inputs[0] == source and constant[0] == 3 else None


def _scaled(graph: Graph, op: Op) -> tuple[float | None, str | None]:
    """(1/6, the other operand) of a product with 1/6."""
    constant = per_channel(graph, op, 1, 1)
    if constant is None or not np.isclose(constant[0], 1 / 6, rtol=_TOLERANCE):
        return None, None
    return float(constant[0]), op.inputs[0]


def _inner(graph: Graph, name: str | None) -> Op | None:
    """The operator that computes a value which nothing else reads."""
    if name is None or graph.sole_reader(name) is None:
        return None
    return graph.producers.get(name)
