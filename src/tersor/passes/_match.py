"""What passes have in common: what they ask of a graph, and how they change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ir.outline import in_order


def until_unchanged(graph: Graph, once: Callable[[Graph], Graph]) -> Graph:
    """Apply a rewrite again and again until it returns the graph that it was given."""
    while (changed := once(graph)) is not graph:
        graph = changed
    return graph


def values(graph: Graph, op: Op, index: int) -> Array | None:
    """The values of a dense constant operand in float32 or an integer type, or None."""
    tensor = graph.operand(op, index)
    if tensor is None or tensor.data is None or tensor.quant is not None or tensor.sparsity is not None:
        return None
    return tensor.data if tensor.dtype in (DType.FLOAT32, DType.INT32, DType.INT64) else None


def is_float(graph: Graph, name: str) -> bool:
    """Whether a tensor is a float32 value of fixed shape, without quantization."""
    tensor = graph.tensors[name]
    return tensor.dtype is DType.FLOAT32 and tensor.quant is None and tensor.open_shape is None


def activation(op: Op) -> int:
    """The code of the fused activation function, 0 for none."""
    return int(op.option("fused_activation_function", 0) or 0)


def per_channel(graph: Graph, op: Op, index: int, channels: int) -> Array | None:
    """A float constant with one value, or one per channel of the last axis, as [channels] in float64; or None."""
    constant = values(graph, op, index)
    if constant is None or constant.dtype != np.float32 or not np.all(np.isfinite(constant)):
        return None
    if constant.size != 1 and (constant.size != channels or constant.shape[-1] != channels):
        return None
    return np.broadcast_to(constant.astype(np.float64).reshape(-1), (channels,))


def renewed(graph: Graph, op: Op, index: int, data: Array, wish: str) -> Tensor:
    """A float constant for an operand: under its own name if nobody else reads it, else under a new one."""
    name = op.inputs[index] if index < len(op.inputs) else None
    alone = name is not None and graph.sole_reader(name) is op
    chosen = name if alone and name is not None else graph.fresh_name(wish)
    dense = in_order(data)
    return Tensor(chosen, dense.shape, DType.FLOAT32).with_data(dense)


def with_input(op: Op, index: int, name: str) -> Op:
    """The operator with another operand; one that was left out at the end is filled up to there."""
    inputs = [*op.inputs, *[None] * (index + 1 - len(op.inputs))]
    inputs[index] = name
    return replace(op, inputs=tuple(inputs))
