"""``layer(mean(x))`` -> ``layer(reshape(mean(x)))`` where a head begins: the reshape keeps the shape.

XNNPACK's sparse regions (`targets/cpu/sparse_inference`) end in a mean over height and width; but a 1x1 convolution
behind it becomes part of the region, whose end is missing then, and XNNPACK refuses to load the file. A RESHAPE, which
costs nothing, is never part of a region. Refused for means that come back to what they were taken of, as in squeeze and
excitation: they stay inside.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Record, Tensor
from tersor.passes._match import is_float, with_input

_LAYERS = ("CONV_2D", "FULLY_CONNECTED")


def refusal(graph: Graph, op: Op) -> str | None:
    """Why no reshape is put behind a mean; None if one is."""
    if op.kind != "MEAN" or not is_float(graph, op.outputs[0]):
        return "it is no MEAN of floats"
    if not any(reader.kind in _LAYERS for reader in graph.consumers.get(op.outputs[0], ())):
        return "no layer reads it"
    behind = set(op.outputs)
    for later in graph.ops:
        if not behind.isdisjoint(later.present_inputs):
            for name in later.present_inputs:
                if name not in behind and not _is_fixed(graph, name):
                    return f"{later.name!r} reads it together with {name!r}"
            behind.update(later.outputs)
    return None


def apply(graph: Graph) -> Graph:
    """The graph with such reshapes; the same object if there are none."""
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: list[Tensor] = []
    for op in graph.ops:
        if refusal(graph, op) is not None:
            continue
        result = graph.tensors[op.outputs[0]]
        name, shape = graph.fresh_name(f"{result.name}/separated"), graph.fresh_name(f"{result.name}/shape")
        tensors += [
            replace(result, name=name),
            Tensor(shape, (len(result.shape),), DType.INT32).with_data(np.array(result.shape, np.int32)),
        ]
        reshape = Op(name, "RESHAPE", (result.name, shape), (name,), Record("ReshapeOptions"))
        ops[op.name] = (op, reshape)
        for reader in graph.consumers[result.name]:
            if reader.kind in _LAYERS:
                ops[reader.name] = (with_input(reader, 0, name),)
    return graph.edit(replace_ops=ops, tensors=tensors) if ops else graph


def _is_fixed(graph: Graph, name: str) -> bool:
    """Whether a value is a constant, or unpacked from one."""
    producer = graph.producers.get(name)
    return graph.tensors[name].is_constant or (producer is not None and producer.kind in ("DENSIFY", "DEQUANTIZE"))
