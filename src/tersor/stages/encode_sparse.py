"""Weights with many zeros, stored without these: ``layer(x, w)`` -> ``layer(x, densify(sparse w))``.

LiteRT's DENSIFY makes them dense again when the model is loaded, so what is computed stays the same, and takes as long;
the file is smaller. And where DENSIFY stands before its weights XNNPACK looks for its sparse kernels
(`targets/cpu/sparse_inference`), which are there on Arm and in browsers.
"""

from __future__ import annotations

from dataclasses import replace

from tersor.errors import UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Record, Tensor
from tersor.numerics.sparse import encoded_size, sparsify
from tersor.ops import LAYERS, layer_operands
from tersor.passes import separate_mean
from tersor.targets.cpu.sparse_inference import sparse_inference

_TYPES = (DType.FLOAT32, DType.FLOAT16, DType.INT8)
"""What DENSIFY and XNNPACK unpack."""


def encode_sparse(model: Model) -> Model:
    """The model with weights stored sparsely where that is smaller: int8 weights need more than half of zeros for it.

    Raises UnsupportedError where XNNPACK refuses the result or answers wrongly, on devices with its sparse kernels.
    """
    separated = separate_mean.apply(model.graph)
    graph = _encoded(separated)
    if graph is separated:
        return model
    failing = [verdict for verdict in sparse_inference(graph) if verdict.fails]
    if failing:
        raise UnsupportedError(
            f"stored sparsely, {failing[0].name!r} could not be run on devices with sparse kernels: "
            f"{failing[0].reason}; save it densely, and compress the file"
        )
    return model.with_graph(graph)


def refusal(graph: Graph, op: Op) -> str | None:
    """Why a layer's weights stay as they are stored; None if they become smaller."""
    weights = graph.operand(op, layer_operands(op.kind).weights) if op.kind in LAYERS else None
    if weights is None or not weights.is_constant or weights.sparsity is not None:
        return "it has no dense constant weights"
    if weights.dtype not in _TYPES:
        return f"DENSIFY has no {weights.dtype}"
    if weights.dtype is DType.INT8 and op.kind == "FULLY_CONNECTED":
        return "XNNPACK takes no int8 weights of fully connected layers from DENSIFY"
    if weights.dtype is DType.INT8 and op.kind == "TRANSPOSE_CONV" and graph.tensors[op.outputs[0]].dtype.is_float:
        return "XNNPACK takes no int8 weights of transposed convolutions from DENSIFY beside float values"
    if any(reader.kind not in LAYERS for reader in graph.consumers[weights.name]) or weights.name in graph.outputs:
        return "others read its weights"
    if not weights.shape or not weights.elements:
        return "it has no weights"
    size = encoded_size(sparsify(weights))
    return None if size < weights.byte_size else f"its weights take {weights.byte_size:,} bytes, and sparsely {size:,}"


def _encoded(graph: Graph) -> Graph:
    tensors: dict[str, Tensor] = {}
    unpacking: list[Op] = []
    for op in graph.ops:
        weights = None if refusal(graph, op) else graph.operand(op, layer_operands(op.kind).weights)
        if weights is None or weights.name in tensors:
            continue
        name = graph.fresh_name(f"{weights.name}/sparse", tensors)
        tensors[name] = replace(sparsify(weights), name=name)
        tensors[weights.name] = replace(weights, data=None)
        unpacking.append(Op(weights.name, "DENSIFY", (name,), (weights.name,), Record("DensifyOptions")))
    return graph.edit(prepend=unpacking, tensors=tensors.values()) if unpacking else graph
