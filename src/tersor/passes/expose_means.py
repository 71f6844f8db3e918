"""``f(op(x))`` -> ``y = op(x), MEAN(y), f(y)``: what layers compute on average becomes outputs of the model.

The mean of each output channel over all positions, before the fused activation function f: that of ``W x + b``. The
runtime averages what lies in the cache, which takes a fifth of a run; values stay what they are, and outputs that were
there before stay first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Record, Tensor
from tersor.ops import LAYERS
from tersor.passes._match import activation

_KINDS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
"""Operators by the codes of fused ones in `schema.fbs`."""


def refusal(graph: Graph, op: Op) -> str | None:
    """Why a layer's mean cannot be shown; None if it can."""
    if op.kind not in LAYERS:
        return "it is no layer with weights"
    result = graph.tensors[op.outputs[0]]
    if result.dtype is not DType.FLOAT32:
        return "it is not computed in float32"
    if len(result.shape) < 2:
        return "it has no axis but that of its channels"
    return None if activation(op) in (0, *_KINDS) else "there is no operator for its activation function"


def apply(graph: Graph) -> tuple[Graph, dict[str, int]]:
    """Expose the means of all layers for which that is possible.

    Args:
        graph: a float graph.

    Returns:
        The graph with further outputs of shape [channels], and for the name of each layer the place of its mean among
        all outputs.
    """
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: dict[str, Tensor] = {}
    outputs = list(graph.outputs)
    places: dict[str, int] = {}
    for op in graph.ops:
        if refusal(graph, op) is not None:
            continue
        result = graph.tensors[op.outputs[0]]
        axes = Tensor(graph.fresh_name(f"axes_but_last_of_{len(result.shape)}"), (len(result.shape) - 1,), DType.INT32)
        tensors[axes.name] = axes.with_data(np.arange(len(result.shape) - 1, dtype=np.int32))
        shown, code = result.name, activation(op)
        ops[op.name] = (op,)
        if code and op.options is not None:
            shown = graph.fresh_name(f"{result.name}/linear", tensors)
            tensors[shown] = replace(result, name=shown)
            linear = replace(op, outputs=(shown,), options=op.options.with_fields(fused_activation_function=0))
            ops[op.name] = (linear, Op(f"{shown}/activation", _KINDS[code], (shown,), op.outputs))
        mean = graph.fresh_name(f"{result.name}/mean", tensors)
        tensors[mean] = Tensor(mean, result.shape[-1:], DType.FLOAT32)
        options = Record("ReducerOptions", (("keep_dims", False),))
        ops[op.name] += (Op(f"{mean}/op", "MEAN", (shown, axes.name), (mean,), options),)
        places[op.name] = len(outputs)
        outputs.append(mean)
    return graph.edit(replace_ops=ops, tensors=tensors.values(), outputs=outputs), places
