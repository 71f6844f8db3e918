"""A float model without most of its weights, for whoever asks only which operators and types come out of a change.

Weights of dense layers and convolutions keep one input channel of all. Everything that looks at shapes and types goes
its way as before, and is quicker by what a hundred million products take.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.graph import Graph, Model, Op, Tensor
from tersor.ops import layer_operands

_THINNED = ("CONV_2D", "FULLY_CONNECTED")
_FEWEST = 1 << 14
"""Weights below this many take no time."""

_AFFINE = ("ADD", "DIV", "MUL", "SUB")
_PASSED = ("EXPAND_DIMS", "PAD", "RESHAPE", "SQUEEZE", "TRANSPOSE")
"""Behind these a product or sum per channel may still reach the layer, to be folded into each input channel."""


def thinned(model: Model) -> Model:
    """The model with one input channel in large weights, where nothing is going to look at the others."""
    graph = model.graph
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in op.present_inputs:
            readers.setdefault(name, []).append(op)
    changed = [
        tensor.with_data(np.ascontiguousarray(tensor.data[..., :1]), shape=(*tensor.shape[:-1], 1))
        for name, ops in readers.items()
        if (tensor := graph.tensors[name]).data is not None and all(_is_thinned(graph, op, tensor) for op in ops)
    ]
    return replace(model, graphs=(graph.edit(tensors=changed), *model.graphs[1:])) if changed else model


def _is_thinned(graph: Graph, op: Op, weights: Tensor) -> bool:
    if op.kind not in _THINNED or weights.elements < _FEWEST or not weights.dtype.is_float or weights.sparsity:
        return False
    place = layer_operands(op.kind)
    data = graph.operand(op, place.data)
    if op.inputs[place.weights] != weights.name or data is None or not data.shape:
        return False
    return weights.shape[-1] == data.shape[-1] != 1 and not _reads_affine(graph, data.name)


def _reads_affine(graph: Graph, name: str) -> bool:
    producer = graph.producers.get(name)
    while producer is not None and producer.kind in _PASSED and producer.inputs[0] is not None:
        producer = graph.producers.get(producer.inputs[0])
    constants = (
        () if producer is None else [item for item in producer.present_inputs if graph.tensors[item].is_constant]
    )
    return producer is not None and producer.kind in _AFFINE and bool(constants)


def restored(model: Model) -> Model:
    """The shapes as they were; values of what was thinned are all zero."""
    graph, changed = model.graph, []
    for op in graph.ops:
        if op.kind not in _THINNED:
            continue
        place = layer_operands(op.kind)
        data, weights = graph.operand(op, place.data), graph.operand(op, place.weights)
        if data is None or weights is None or weights.data is None or weights.shape[-1] != 1 or not data.shape:
            continue
        shape = (*weights.shape[:-1], data.shape[-1])
        changed.append(replace(weights, shape=shape, data=np.broadcast_to(np.zeros((), weights.data.dtype), shape)))
    return replace(model, graphs=(graph.edit(tensors=changed), *model.graphs[1:])) if changed else model
