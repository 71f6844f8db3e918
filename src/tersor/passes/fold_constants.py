"""``f(c) -> c'``: operators on constants alone are carried out once, here.

Only operators whose float result is exactly defined: arithmetic in float32, and moving values. Refused where a fused
activation function, an open shape or a quantized operand is involved, where the result is an output of the model, and
where it would be larger than its operands by more than a megabyte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.passes._match import activation, is_float, until_unchanged, values

_GROWTH_LIMIT = 1 << 20

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ABS": np.abs,
    "ADD": np.add,
    "DIV": np.divide,
    "EXPAND_DIMS": lambda data, axis: np.expand_dims(data, int(axis.reshape(-1)[0])),
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "MUL": np.multiply,
    "NEG": np.negative,
    "SUB": np.subtract,
    "TRANSPOSE": lambda data, order: np.transpose(data, order.tolist()),
}


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator cannot be carried out; None if it can."""
    if op.kind not in (*_FUNCTIONS, "RESHAPE") or len(op.outputs) != 1:
        return "it is no operator that is carried out here"
    operands = [values(graph, op, index) for index in range(len(op.inputs))]
    if any(item is None for item in operands[: 1 if op.kind == "RESHAPE" else None]):
        return "it has an operand that is computed, or quantized"
    if activation(op) or not is_float(graph, op.outputs[0]):
        return "it has an activation function, or no float32 result of fixed shape"
    if op.outputs[0] in graph.outputs:
        return f"{op.outputs[0]!r} is an output of the model"
    grown = graph.tensors[op.outputs[0]].byte_size - sum(item.nbytes for item in operands if item is not None)
    return f"the model would grow by {grown:,} bytes" if grown > _GROWTH_LIMIT else None


def apply(graph: Graph) -> Graph:
    """The graph with such operators carried out; the same object if there are none."""
    return until_unchanged(graph, _round)


def _round(graph: Graph) -> Graph:
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: list[Tensor] = []
    for op in graph.ops:
        if refusal(graph, op) is not None:
            continue
        result = graph.tensors[op.outputs[0]]
        with np.errstate(all="ignore"):
            data = _computed(graph, op)
        if data.shape == result.shape and np.all(np.isfinite(data)):
            ops[op.name] = ()
            tensors.append(result.with_data(data))
    return graph.edit(replace_ops=ops, tensors=tensors) if ops else graph


def _computed(graph: Graph, op: Op) -> Array:
    operands = [item for item in (values(graph, op, index) for index in range(len(op.inputs))) if item is not None]
    if op.kind == "RESHAPE":
        return np.ascontiguousarray(operands[0].reshape(graph.tensors[op.outputs[0]].shape))
    return np.ascontiguousarray(_FUNCTIONS[op.kind](*operands).astype(np.float32))
