"""``f(transpose_p(x))`` -> ``transpose_p(f(x))``: transpositions move behind what does not mind the order of axes.

For functions of single values, for those of several operands if all are transposed alike (constants are transposed back
here), and along mapped axes for CONCATENATION, PAD and reductions. There they meet the next transposition, and
`merge_reshapes` makes one of both, or none: a network in channels_first order, where each layer is transposed there and
back, becomes one in channels_last.

Refused where a transposed value is used elsewhere too, where operands are transposed differently, and for axes that are
computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op, Record, Tensor
from tersor.passes._match import is_float, until_unchanged, values, with_input

_POINTWISE = frozenset(
    {
        "ABS", "ADD", "DIV", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "MAXIMUM", "MINIMUM",
        "MUL", "NEG", "POW", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT", "SQRT", "SQUARE",
        "SQUARED_DIFFERENCE", "SUB", "TANH",
    }
)  # fmt: skip

_REDUCTIONS = frozenset({"MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"})


def refusal(graph: Graph, op: Op) -> str | None:
    """Why transpositions do not move behind an operator; None if they do."""
    if op.kind not in (*_POINTWISE, *_REDUCTIONS, "CONCATENATION", "PAD") or len(op.outputs) != 1:
        return "the order of axes matters to it"
    if not is_float(graph, op.outputs[0]):
        return "its shape is open, or it is quantized"
    transposed = _transposed(graph, op)
    if not transposed:
        return "none of its operands is transposed"
    if op.kind in ("PAD", *_REDUCTIONS) and (len(transposed) != 1 or values(graph, op, 1) is None):
        return "its axes are computed"
    orders = {tuple(_order(graph, item)) for item in transposed}
    if len(orders) != 1:
        return "its operands are transposed differently"
    order = orders.pop()
    if op.kind in _REDUCTIONS and not op.option("keep_dims", False) and not _keeps_order(graph, op, order):
        return "what it leaves would have to be transposed in another way"
    for index in _others(graph, op):
        constant = values(graph, op, index)
        if constant is None:
            return "an operand is not transposed"
        if constant.ndim > len(order):
            return f"operand {index} has more axes than are transposed"
    return None


def apply(graph: Graph) -> Graph:
    """The graph with them moved as far as they go; the same object if there are none."""
    return until_unchanged(graph, _round)


def _round(graph: Graph) -> Graph:
    for op in graph.ops:
        if refusal(graph, op) is None:
            return _sunk(graph, op)
    return graph


def _transposed(graph: Graph, op: Op) -> list[Op]:
    """The transpositions whose results an operator reads, and nothing else does."""
    found = []
    for name in dict.fromkeys(op.present_inputs):
        source = graph.producers.get(name)
        if source is None or source.kind != "TRANSPOSE" or values(graph, source, 1) is None:
            continue
        readers = graph.consumers.get(name, ())
        if len(readers) == 1 and name not in graph.outputs and source.inputs[0] is not None:
            found.append(source)
    return found


def _others(graph: Graph, op: Op) -> list[int]:
    """The operands that are neither transposed nor axes."""
    known = {item.outputs[0] for item in _transposed(graph, op)}
    if op.kind in ("PAD", *_REDUCTIONS):
        return []
    return [index for index, name in enumerate(op.inputs) if name is not None and name not in known]


def _order(graph: Graph, transpose: Op) -> Sequence[int]:
    order = values(graph, transpose, 1)
    assert order is not None
    return [int(axis) for axis in order]


def _keeps_order(graph: Graph, op: Op, order: Sequence[int]) -> bool:
    """Whether the axes that a reduction leaves come in the same order before and behind the transposition."""
    left = [order[axis] for axis in range(len(order)) if axis not in _axes(graph, op, len(order))]
    return left == sorted(left)


def _axes(graph: Graph, op: Op, rank: int) -> set[int]:
    axes = values(graph, op, 1)
    assert axes is not None
    return {int(axis) % rank for axis in axes.reshape(-1)}


def _sunk(graph: Graph, op: Op) -> Graph:
    transposed = _transposed(graph, op)
    order = _order(graph, transposed[0])
    back = [list(order).index(axis) for axis in range(len(order))]
    sources = {item.outputs[0]: item.inputs[0] for item in transposed}
    tensors: list[Tensor] = []

    def constant(wish: str, data: Array, dtype: DType) -> str:
        name = graph.fresh_name(f"{op.name}/{wish}", [item.name for item in tensors])
        tensors.append(Tensor(name, data.shape, dtype).with_data(np.ascontiguousarray(data)))
        return name

    inner = replace(op, inputs=tuple(None if name is None else sources.get(name, name) for name in op.inputs))
    for index in _others(graph, op):
        data = values(graph, op, index)
        assert data is not None
        if data.size > 1:
            wide = data.reshape((1,) * (len(order) - data.ndim) + data.shape)
            inner = with_input(inner, index, constant(f"operand_{index}", wide.transpose(back), DType.FLOAT32))
    if op.kind == "PAD":
        amounts = values(graph, op, 1)
        assert amounts is not None
        inner = with_input(inner, 1, constant("paddings", amounts[back].astype(np.int32), DType.INT32))
    elif op.kind in _REDUCTIONS:
        axes = np.array(sorted(order[axis] for axis in _axes(graph, op, len(order))), np.int32)
        inner = with_input(inner, 1, constant("axes", axes, DType.INT32))
    elif op.kind == "CONCATENATION" and inner.options is not None:
        axis = order[int(op.option("axis", 0)) % len(order)]
        inner = replace(inner, options=inner.options.with_fields(axis=axis))
    removed: dict[str, tuple[Op, ...]] = {item.name: () for item in transposed}
    if op.kind in _REDUCTIONS and not op.option("keep_dims", False):
        return graph.edit(replace_ops={**removed, op.name: (inner,)}, tensors=tensors)
    shape = tuple(graph.tensors[op.outputs[0]].shape[axis] for axis in back)
    value = graph.fresh_name(f"{op.name}/untransposed")
    tensors.append(Tensor(value, shape, DType.FLOAT32))
    places = constant("order", np.array(order, np.int32), DType.INT32)
    inner = replace(inner, name=value, outputs=(value,))
    outer = Op(op.name, "TRANSPOSE", (value, places), op.outputs, options=Record("TransposeOptions"))
    return graph.edit(replace_ops={**removed, op.name: (inner, outer)}, tensors=tensors)
