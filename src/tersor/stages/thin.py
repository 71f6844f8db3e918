"""A float model without most of its weights, for whoever asks only which operators and types come out of a change.

Large weights of layers become outlines: everything that looks at shapes and types goes its way as before, and is
quicker by what a hundred million products take.
"""

from __future__ import annotations

from dataclasses import replace

from tersor.ir.graph import Model, Op, Tensor
from tersor.ir.outline import SMALLEST, outline
from tersor.ops import layer_operands

_THINNED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def thinned(model: Model) -> Model:
    """The model with outlines for large weights that nothing but layers reads."""
    graph = model.graph
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in op.present_inputs:
            readers.setdefault(name, []).append(op)
    changed = [
        tensor.with_data(outline(tensor.shape, tensor.dtype.numpy))
        for name, ops in readers.items()
        if _is_large(tensor := graph.tensors[name]) and all(_is_weight(op, name) for op in ops)
    ]
    return replace(model, graphs=(graph.edit(tensors=changed), *model.graphs[1:])) if changed else model


def _is_large(tensor: Tensor) -> bool:
    return tensor.is_constant and tensor.elements >= SMALLEST and tensor.dtype.is_float and not tensor.sparsity


def _is_weight(op: Op, name: str) -> bool:
    if op.kind not in _THINNED:
        return False
    place = layer_operands(op.kind).weights
    return op.inputs[place] == name and op.inputs.count(name) == 1
