"""``BATCH_MATMUL(x, W)`` with a constant matrix W -> ``FULLY_CONNECTED(x, W^T)``.

A product with one constant matrix is a dense layer along the last axis. As such it has a scale per channel, weights of
4 bits, a bias into which what follows is folded and which can be corrected, and all algorithms; BATCH_MATMUL has one
scale for all weights, and no bias. Refused where W is a stack of several matrices, where an operand is transposed or
quantized, and where the result has more axes than x.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from tersor.ir.graph import Array, Graph, Op, Record, Tensor
from tersor.passes._match import is_float, renewed, values

_VERSION = 6
"""Of FULLY_CONNECTED without a bias (`op_version.cc`); it includes that of `keep_num_dims`."""


def refusal(graph: Graph, op: Op) -> str | None:
    """Why a product of matrices is no dense layer; None if it is."""
    if op.kind != "BATCH_MATMUL":
        return "it is no product of matrices"
    matrix, x = values(graph, op, 1), graph.operand(op, 0)
    if matrix is None or matrix.dtype != np.float32 or matrix.ndim < 2 or x is None or x.is_constant:
        return "its second operand alone has to be a constant, in float32"
    if prod(matrix.shape[:-2]) != 1:
        return "its constant is a stack of matrices"
    if op.option("adj_x", False) or len(x.shape) < 2:
        return "its first operand is transposed, or a vector"
    if not (is_float(graph, x.name) and is_float(graph, op.outputs[0])):
        return "it is not computed in float32"
    shape = (*x.shape[:-1], _turned(op, matrix).shape[0])
    return None if graph.tensors[op.outputs[0]].shape == shape else "its result has other axes"


def apply(graph: Graph) -> Graph:
    """The graph with such products as dense layers; the same object if there are none."""
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: dict[tuple[str | None, bool], Tensor] = {}
    for op in graph.ops:
        matrix = values(graph, op, 1) if refusal(graph, op) is None else None
        if matrix is None:
            continue
        key = op.inputs[1], bool(op.option("adj_y", False))
        if key not in tensors:
            tensors[key] = renewed(graph, op, 1, _turned(op, matrix), f"{op.name}/weights")
        rank = len(graph.tensors[op.outputs[0]].shape)
        fields = ("keep_num_dims", rank > 2), ("asymmetric_quantize_inputs", False)
        options = Record("FullyConnectedOptions", fields)
        inputs = (op.inputs[0], tensors[key].name)
        ops[op.name] = (replace(op, kind="FULLY_CONNECTED", inputs=inputs, options=options, version=_VERSION),)
    return graph.edit(replace_ops=ops, tensors=tensors.values()) if ops else graph


def _turned(op: Op, matrix: Array) -> Array:
    """The weights as FULLY_CONNECTED has them, [out, in]."""
    last = matrix.reshape(matrix.shape[-2:])
    return last if op.option("adj_y", False) else last.T
