"""``f(op(x))`` -> ``op_f(x)``: RELU, RELU6 and RELU_N1_TO_1 become the fused activation of the operator before them.

The kernels clamp their result before they store it, so values are the same. The fused operator takes the name of the
activation's result, which keeps what a batch normalization states of the value before it. Refused where that value is
used elsewhere, and for poolings: the Edge TPU does not take poolings with a fused activation.
"""

from __future__ import annotations

import math
from dataclasses import replace

from tersor.ir.graph import Graph, Op, Tensor
from tersor.passes._match import activation, is_float

_CODES = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
"""`schema.fbs`, enum ActivationFunctionType."""

_CLAMPS = {"RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}

_FUSING = frozenset({"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "FULLY_CONNECTED", "MUL", "SUB"})


def refusal(graph: Graph, op: Op) -> str | None:
    """Why an activation function cannot be fused into the operator before it; None if it can."""
    if op.kind not in _CODES or len(op.inputs) != 1 or op.inputs[0] is None:
        return "it is no activation function that kernels fuse"
    producer = graph.producers.get(op.inputs[0])
    if producer is None or producer.kind not in _FUSING or producer.options is None:
        return "the operator before it cannot fuse one"
    if activation(producer):
        return f"{producer.name!r} has an activation function already"
    if not (is_float(graph, op.inputs[0]) and is_float(graph, op.outputs[0])):
        return "it is not computed in float32"
    return None if graph.sole_reader(op.inputs[0]) is op else f"{op.inputs[0]!r} is used elsewhere too"


def apply(graph: Graph) -> Graph:
    """The graph with activation functions fused; the same object if there are none."""
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: list[Tensor] = []
    for op in graph.ops:
        if refusal(graph, op) is not None or op.inputs[0] is None:
            continue
        producer = graph.producers[op.inputs[0]]
        if producer.options is None or producer.name in ops:
            continue
        options = producer.options.with_fields(fused_activation_function=_CODES[op.kind])
        ops[producer.name] = (replace(producer, name=op.name, outputs=op.outputs, options=options),)
        ops[op.name] = ()
        before, result = (graph.tensors[name] for name in (op.inputs[0], op.outputs[0]))
        if before.normal is not None and result.normal is None:
            low, high = _CLAMPS[op.kind]
            tensors.append(replace(result, normal=replace(before.normal, low=low, high=high)))
    return graph.edit(replace_ops=ops, tensors=tensors) if ops else graph
