"""``FULLY_CONNECTED(x; W)`` over several vectors -> ``CONV_2D(x; W)`` with a 1x1 kernel.

For devices that multiply one vector at a time. The vectors stand side by side in an image, [1, 1, vectors, depth], and
each of its points meets the same weights: the same sums. A mean over channels is one such sum, with weights 1/n.
Refused where weights are computed.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.passes._draft import Draft, full, rewritten, shape_of
from tersor.passes._match import activation, is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an operator is left as it is; None if it becomes a convolution."""
    if op.kind not in ("FULLY_CONNECTED", "MEAN") or op.inputs[0] is None:
        return "it is no FULLY_CONNECTED or MEAN"
    if not (is_float(graph, op.inputs[0]) and is_float(graph, op.outputs[0])):
        return "its shape is open, or it is quantized"
    if op.kind == "MEAN":
        axes, rank = values(graph, op, 1), len(shape_of(graph, op))
        is_over_channels = axes is not None and {int(axis) % rank for axis in np.ravel(axes)} == {rank - 1}
        return None if is_over_channels else "it is no mean over channels alone"
    weights = values(graph, op, 1)
    return None if weights is not None and weights.ndim == 2 else "its weights are computed"


def apply(graph: Graph, only: Container[str] | None = None) -> Graph:
    """The graph with such operators formed anew, those named in `only` or all; the same object if there are none."""
    return rewritten(graph, only, refusal, _form)


def _form(draft: Draft, op: Op) -> None:
    assert op.inputs[0] is not None
    weights = _weights(draft.graph, op)
    outputs, depth = weights.shape
    elements = int(np.prod(shape_of(draft.graph, op)))
    image = draft.reshaped(op.inputs[0], (1, 1, elements // depth, depth), "image")
    kernel = draft.constant("kernel", weights.reshape(outputs, 1, 1, depth))
    bias = op.inputs[2] if op.kind == "FULLY_CONNECTED" and len(op.inputs) > 2 else None
    options = {
        "padding": 1,
        "stride_w": 1,
        "stride_h": 1,
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        "fused_activation_function": activation(op),
    }
    operands = [image, kernel, bias or draft.constant("bias", full(0, [outputs]))]
    draft.end_reshaped(draft.op("CONV_2D", operands, (1, 1, elements // depth, outputs), "points", options))


def _weights(graph: Graph, op: Op) -> Array:
    """[outputs, depth]."""
    if op.kind == "MEAN":
        depth = shape_of(graph, op)[-1]
        return full(1 / depth, (1, depth))
    weights = values(graph, op, 1)
    assert weights is not None
    return weights
