"""What algorithms that rewrite a graph have in common: layers, and values between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ops import LAYERS, layer_operands

ACTIVATIONS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 3: (0.0, 6.0)}
"""Where a fused activation clamps, by its code in `schema.fbs`: none, RELU, RELU6."""


@dataclass(frozen=True)
class Weighted:
    """A layer whose weights and bias are constants that no other operator reads.

    Attributes:
        op: the operator.
        weights: in float64, output channels first: [O, taps, inputs]; for a depthwise layer [O, taps, 1].
        bias: [O] in float64.
        clamp: the smallest and largest value that its activation lets pass.
    """

    op: Op
    weights: Array
    bias: Array
    clamp: tuple[float, float]

    @property
    def data(self) -> str | None:
        """The name of the value that it reads."""
        return self.op.inputs[layer_operands(self.op.kind).data]

    @property
    def depthwise(self) -> bool:
        """Whether each output has an input of its own."""
        return self.op.kind == "DEPTHWISE_CONV_2D"


def weighted(graph: Graph, op: Op | None) -> Weighted | None:
    """The layer of an operator; None if it is none, shares its constants, or clamps otherwise."""
    if op is None or op.kind not in LAYERS:
        return None
    clamp = ACTIVATIONS.get(op.option("fused_activation_function", 0) or 0)
    data, weights, bias = (graph.operand(op, index) for index in layer_operands(op.kind))
    if clamp is None or data is None or data.is_constant or not data.shape:
        return None
    constants = [tensor for tensor in (weights, bias) if tensor is not None and _is_own(graph, tensor)]
    if len(constants) < 2:
        return None
    values, offsets = (tensor.data.astype(np.float64) for tensor in constants if tensor.data is not None)
    if op.kind == "DEPTHWISE_CONV_2D":
        if values.shape[-1] != data.shape[-1]:
            return None
        values = values.reshape(-1, values.shape[-1]).T[..., None]
    else:
        values = values.reshape(values.shape[0], -1, values.shape[-1])
        if values.shape[-1] != data.shape[-1]:
            return None
    return Weighted(op, values, offsets.reshape(-1), clamp)


def _is_own(graph: Graph, tensor: Tensor) -> bool:
    plain = tensor.dtype is DType.FLOAT32 and tensor.quant is None and tensor.sparsity is None
    return plain and tensor.is_constant and len(graph.consumers[tensor.name]) == 1 and tensor.name not in graph.outputs


def constants(graph: Graph, layer: Weighted) -> list[Tensor]:
    """The layer's constants as the graph keeps them."""
    weights, bias = (graph.operand(layer.op, index) for index in layer_operands(layer.op.kind)[1:])
    assert weights is not None
    assert bias is not None
    values = layer.weights
    if layer.depthwise:
        values = values[..., 0].T
    return [
        weights.with_data(np.ascontiguousarray(values.reshape(weights.shape).astype(np.float32))),
        bias.with_data(layer.bias.reshape(bias.shape).astype(np.float32)),
    ]
