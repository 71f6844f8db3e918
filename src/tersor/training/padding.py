"""Convolutions of stride 2 that pad as much before as after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Record, Tensor
from tersor.targets.cpu.sparse_inference import pad_before, padding_of

_VALID = 1


def center_padding(model: Model) -> Model:
    """A model whose 3x3 and 5x5 convolutions of stride 2 pad half a window on every side, by an operator of their own.

    SAME pads an even size by nothing before and one row after, and so do Keras's MobileNets. XNNPACK's sparse kernels
    want one on each side. Results keep their shapes, but are computed one pixel off, so **outputs change**: do it
    before training, which gets used to it. Where the padding is even already, nothing changes.

    Args:
        model: a float model, simplified (`tersor.optimize`).
    """
    graph = model.graph
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: list[Tensor] = []
    taken: set[str] = set()
    for op in graph.ops:
        half = _half_window(graph, op)
        pad = pad_before(graph, op) if half else None
        source = None if half is None else (pad or op).inputs[0]
        if half is None or source is None or op.options is None:
            continue
        if pad is not None and padding_of(graph, op) == ((half, half), (half, half)):
            continue
        name, amounts = (graph.fresh_name(f"{op.name}/{what}", taken) for what in ("padded", "padding"))
        taken.update((name, amounts))
        batch, height, width, channels = graph.tensors[source].shape
        tensors.append(Tensor(name, (batch, height + 2 * half, width + 2 * half, channels), DType.FLOAT32))
        values = np.array([[0, 0], [half, half], [half, half], [0, 0]], np.int32)
        tensors.append(Tensor(amounts, (4, 2), DType.INT32).with_data(values))
        if pad is not None:
            ops[pad.name] = ()
        ops[op.name] = (
            Op(name, "PAD", (source, amounts), (name,), Record("PadOptions")),
            replace(op, inputs=(name, *op.inputs[1:]), options=op.options.with_fields(padding=_VALID)),
        )
    return model.with_graph(graph.edit(replace_ops=ops, tensors=tensors)) if ops else model


def _half_window(graph: Graph, op: Op) -> int | None:
    """What a convolution of stride 2 pads if it is centered; None for others."""
    weights, data = (graph.operand(op, 1), graph.operand(op, 0)) if op.kind in _KINDS else (None, None)
    if weights is None or data is None or data.dtype is not DType.FLOAT32 or padding_of(graph, op) is None:
        return None
    if (op.option("stride_h"), op.option("stride_w")) != (2, 2) or weights.shape[1:3] not in ((3, 3), (5, 5)):
        return None
    if (op.option("dilation_h_factor", 1), op.option("dilation_w_factor", 1)) != (1, 1):
        return None
    half = int(weights.shape[1]) // 2
    result = graph.tensors[op.outputs[0]].shape
    same = all(
        (size - 1) // 2 + 1 == result[axis] for axis, size in ((1, _size(graph, op, 1)), (2, _size(graph, op, 2)))
    )
    return half if same else None


def _size(graph: Graph, op: Op, axis: int) -> int:
    """The size along an axis before anything is padded."""
    source = (pad_before(graph, op) or op).inputs[0]
    assert source is not None
    return graph.tensors[source].shape[axis]


_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D")
