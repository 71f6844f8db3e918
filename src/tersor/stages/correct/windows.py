"""How layers move over their input, and what made it."""

from __future__ import annotations

from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.numerics.patches import Spread, Window, same_padding
from tersor.ops import layer_operands


def window_of(graph: Graph, op: Op, weights: Tensor) -> Window:
    """The window of a layer with these weights."""
    if op.kind == "FULLY_CONNECTED":
        return Window(inputs=weights.shape[1])
    data = graph.operand(op, layer_operands(op.kind).data)
    assert data is not None
    channels = data.shape[-1]
    kernel = weights.shape[1], weights.shape[2]
    if op.kind == "TRANSPOSE_CONV":
        _, height, width, _ = graph.tensors[op.outputs[0]].shape
        same = op.option("padding", 0) == 0
        rows = _spread(height, kernel[0], op.option("stride_h", 1), same=same)
        columns = _spread(width, kernel[1], op.option("stride_w", 1), same=same)
        return Window(kernel=kernel, spread=(rows, columns))
    return Window(
        kernel=kernel,
        strides=(op.option("stride_h", 1), op.option("stride_w", 1)),
        dilation=(op.option("dilation_h_factor", 1), op.option("dilation_w_factor", 1)),
        same=op.option("padding", 0) == 0,
        groups=channels if op.kind == "DEPTHWISE_CONV_2D" else channels // weights.shape[3],
    )


def _spread(size: int, kernel: int, stride: int, *, same: bool) -> Spread:
    """How the input of a transposed convolution lies in what its kernel, turned, moves over to `size` results."""
    before = same_padding(size, kernel, stride, 1)[0] if same else 0
    return Spread(stride, kernel - 1 - before, size + kernel - 1)


def turned(kernel: Array) -> Array:
    """A kernel [O, height, width, channels] turned by half a turn."""
    return kernel[:, ::-1, ::-1]


def averaging_of(graph: Graph, op: Op) -> Op | None:
    """The operator that averages all positions of a sample to the vector that a layer reads; None if there is none.

    Each position has the channels that the layer has inputs.
    """
    place = layer_operands(op.kind)
    data, weights = graph.operand(op, place.data), graph.operand(op, place.weights)
    assert data is not None
    assert weights is not None
    before = graph.producers.get(data.name)
    while before is not None and before.kind in ("RESHAPE", "SQUEEZE"):
        before = graph.producers.get(before.inputs[0] or "")
    if before is None or before.kind not in ("MEAN", "AVERAGE_POOL_2D"):
        return None
    values = graph.operand(before, 0)
    assert values is not None
    inputs = weights.elements // graph.tensors[op.outputs[0]].shape[-1]
    whole = graph.tensors[before.outputs[0]].elements == inputs < values.elements
    return before if whole and values.shape[-1] == inputs else None
