"""Moves the spread between the channels of an activation into the weights that read it.

An activation has one scale for all its channels, and a few large ones leave no integers for the others, as behind the
layer normalizations of transformers. Weights have a scale per output, and room: with ``v = a * g + c``, whose constants
g and c are per channel, and layers ``W v + b`` that alone read v, ``W v = (W S) (a * (g / s) + c / s)`` for any s > 0
and S = diag(s). Per channel j, ``s = sqrt(max |v_j| / max |W_j|)``, over all layers that read it, gives both the same
share of the spread. A ReLU on v does not mind; what clamps above does.

Patterns: MUL by a constant, or that and ADD of a constant, read by CONV_2D and FULLY_CONNECTED only: layer
normalizations in front of dense layers, batch normalizations in front of convolutions (pre-activation networks).
Between two layers `cross_layer_equalization` does this.

Xiao et al. 2023 (SmoothQuant, arXiv 2211.10438, equation 4 with alpha = 0.5). Rewrites the float model exactly, costs a
run of it over the data, and nothing in size or latency. Hurts where channels are alike and weights are not, as large
factors then widen rows of the weights for little; with 4-bit weights, which have no room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tersor.algorithms._contract import ChannelRanges
from tersor.algorithms._match import ACTIVATIONS, Weighted, constants, weighted
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.recipe import Scheme


@dataclass(frozen=True)
class _Scaled:
    """A value v, the constants that scale it, and the layers that read it."""

    name: str
    constants: tuple[Tensor, ...]
    readers: tuple[Weighted, ...]


def watched(graph: Graph) -> list[str]:
    """The activations whose ranges are asked for."""
    return [item.name for item in _scaled_values(graph)]


def rewrite(graph: Graph, ranges: ChannelRanges, scheme: Scheme) -> Graph:
    """The graph with such activations equalized; the same object if there are none."""
    changed: list[Tensor] = []
    for item in _scaled_values(graph):
        seen = ranges.get(item.name)
        if seen is None:
            continue
        factors = _factors(np.maximum(np.abs(seen[0]), np.abs(seen[1])), item.readers)
        for tensor in item.constants:
            assert tensor.data is not None
            changed.append(tensor.with_data((tensor.data / factors).astype(np.float32)))
        for layer in item.readers:
            weights, _ = constants(graph, replace(layer, weights=layer.weights * factors))
            changed.append(weights)
    return graph.edit(tensors=changed) if changed else graph


def _factors(sizes: Array, readers: tuple[Weighted, ...]) -> Array:
    """Each channel's s; 1 in the geometric mean, and where a channel or its weights are 0."""
    weights = np.max([np.abs(layer.weights).max((0, 1)) for layer in readers], axis=0)
    alive = (sizes > 0) & (weights > 0)
    logs = np.log(np.divide(sizes, weights, out=np.ones(len(sizes)), where=alive)) / 2
    centre = logs[alive].mean() if alive.any() else 0.0
    return np.asarray(np.where(alive, np.exp(logs - centre), 1.0))


def _scaled_values(graph: Graph) -> list[_Scaled]:
    found = []
    for op in graph.ops:
        name = op.outputs[0] if op.outputs else ""
        scaling = _scaling(graph, op) if op.kind in ("ADD", "MUL") and name not in graph.outputs else ()
        layers = [weighted(graph, reader) for reader in graph.consumers.get(name, ())] if scaling else []
        readers = tuple(layer for layer in layers if layer is not None and not layer.depthwise)
        if readers and len(readers) == len(layers) and all(_reads(layer, name) for layer in readers):
            found.append(_Scaled(name, scaling, readers))
    return found


def _reads(layer: Weighted, name: str) -> bool:
    return layer.data == name


def _scaling(graph: Graph, op: Op) -> tuple[Tensor, ...]:
    """The constants g, or g and c, of ``a * g + c``, with op its last operator; empty if it is nothing such."""
    low, high = ACTIVATIONS.get(op.option("fused_activation_function", 0) or 0, (-1.0, 1.0))
    split = _per_channel(graph, op)
    if split is None or low not in (0, -np.inf) or np.isfinite(high):
        return ()
    constant, other = split
    if op.kind == "MUL":
        return (constant,)
    before = graph.producers.get(other)
    if before is None or before.kind != "MUL" or before.option("fused_activation_function", 0):
        return ()
    if len(graph.consumers[other]) != 1 or other in graph.outputs:
        return ()
    factor = _per_channel(graph, before)
    return () if factor is None else (factor[0], constant)


def _per_channel(graph: Graph, op: Op) -> tuple[Tensor, str] | None:
    """The constant per channel of an operator with two operands, and the other operand; None if there is none."""
    if len(op.present_inputs) != 2:
        return None
    channels = graph.tensors[op.outputs[0]].shape[-1:]
    for name, other in (op.present_inputs, op.present_inputs[::-1]):
        tensor, values = graph.tensors[name], graph.tensors[other]
        plain = tensor.is_constant and tensor.dtype is DType.FLOAT32 and tensor.quant is None
        own = len(graph.consumers[name]) == 1 and name not in graph.outputs
        shaped = tensor.shape[-1:] == channels == values.shape[-1:] and (tensor.elements,) == channels
        if plain and own and shaped and not values.is_constant:
            return tensor, other
    return None
