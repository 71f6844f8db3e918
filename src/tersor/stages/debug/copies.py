"""Channels that a quantized network computes several times, computed as often in the float one.

`outlier_splitting` and `staggered_copies` leave names as they are, and give values more channels behind their own:
copies, each some whole number of times as small. Which channel one copies is seen at the weights that compute it. With
the same copies the float network still computes the same, and every value of the quantized one has a counterpart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.algorithms._channels import Channels, channels_of, divided, layer_constants
from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ops import LAYERS, layer_operands
from tersor.stages.debug.match import real_values

_ALIKE = 0.05
"""Share of their size by which the weights of a channel and of its copy differ at most: they are rounded alike."""


def with_copies(floats: Graph, quantized: Graph) -> Graph:
    """The float graph with the copies that the quantized one has; the same object where it has none."""
    for op in floats.ops:
        channels = channels_of(floats, op)
        if channels is not None and all(_has_more(floats, quantized, name) for name in channels.values):
            floats = _copied(floats, quantized, channels)
    return floats


def _has_more(floats: Graph, quantized: Graph, name: str) -> bool:
    """Whether a value has more channels in the quantized graph, and is otherwise the same."""
    ours, theirs = floats.tensors[name], quantized.tensors.get(name)
    made = quantized.producers.get(name)
    if theirs is None or made is None or made.kind != floats.producers[name].kind:
        return False
    return ours.shape[:-1] == theirs.shape[:-1] and ours.shape[-1] < theirs.shape[-1]


def _copied(floats: Graph, quantized: Graph, channels: Channels) -> Graph:
    """The float graph with copies of some channels; as it is where these are not found."""
    found = _order(floats, quantized, channels.first.op)
    if found is None:
        return floats
    order, sizes = found
    tensors: list[Tensor] = []
    for op in (channels.first.op, *(op for op in channels.between if op.kind in LAYERS)):
        weights, bias = layer_constants(floats, op)
        axis, factors = (0, sizes) if op is channels.first.op else (3, np.ones_like(sizes))
        more = divided(bias, 0, order, sizes)
        assert more.data is not None
        apart = _apart(quantized, op, order, sizes).reshape(more.shape)
        tensors += [divided(weights, axis, order, factors), more.with_data((more.data + apart).astype(np.float32))]
    shares = 1 / (np.bincount(order)[order] * sizes)
    for layer in channels.readers:
        weights, _ = layer_constants(floats, layer.op)
        tensors.append(divided(weights, len(weights.shape) - 1, order, shares))
    for name in channels.values:
        tensor = floats.tensors[name]
        open_shape = None if tensor.open_shape is None else (*tensor.open_shape[:-1], len(order))
        tensors.append(replace(tensor, shape=(*tensor.shape[:-1], len(order)), open_shape=open_shape))
    return floats.edit(tensors=tensors)


def _order(floats: Graph, quantized: Graph, op: Op) -> tuple[Array, Array] | None:
    """Which channel each of the quantized layer's copies, and by what it is multiplied; None if one copies none."""
    rows, made = _rows(floats, op), _rows(quantized, quantized.producers[op.outputs[0]])
    if rows is None or made is None or rows[0].shape[1] != made[0].shape[1]:
        return None
    count = len(rows[0])
    weights, biases = made
    squares = np.sum(weights**2, axis=1)
    larger = np.maximum(squares[count:, None], squares[:count])
    far = squares[count:, None] + squares[:count] - 2 * weights[count:] @ weights[:count].T
    near = far <= _ALIKE**2 * larger
    if not near.any(1).all():
        return None
    apart = np.abs(biases[count:, None] - biases[:count])
    order = np.concatenate([np.arange(count), np.where(near, apart, np.inf).argmin(1)])
    whole, own = (np.column_stack([weights[:count], biases[:count]]) for weights, biases in (rows, made))
    return order, _sizes(whole, own, np.bincount(order))[order]


def _sizes(rows: Array, made: Array, counts: Array) -> Array:
    """By what each channel is multiplied: one over a divisor of the number of its copies, as fits its numbers best."""
    parts = np.sum(made * rows, axis=1) / np.maximum(np.sum(rows**2, axis=1), np.finfo(np.float32).tiny)
    found = np.ones(len(rows))
    for channel in np.flatnonzero((counts > 1) & (parts > 0)):
        divisors = [n for n in range(1, counts[channel] + 1) if counts[channel] % n == 0]
        found[channel] = 1 / min(divisors, key=lambda n: abs(np.log(parts[channel] * n)))
    return found


def _rows(graph: Graph, op: Op) -> tuple[Array, Array] | None:
    """A layer's weights, [outputs, what each multiplies], and its biases, [outputs]; None where these are not known."""
    place = layer_operands(op.kind)
    tensors = graph.operand(op, place.weights), graph.operand(op, place.bias)
    values = [None if tensor is None else real_values(tensor) for tensor in tensors]
    if values[0] is None or values[1] is None:
        return None
    return values[0].reshape(len(values[0]), -1).astype(np.float64), values[1].reshape(-1).astype(np.float64)


def _apart(quantized: Graph, op: Op, order: Array, sizes: Array) -> Array:
    """By what the biases of copies differ on purpose from that of all of them together, [channels with copies]."""
    made = quantized.producers[op.outputs[0]]
    bias = quantized.operand(made, layer_operands(made.kind).bias)
    values = None if bias is None else real_values(bias)
    if values is None:
        return np.zeros(len(order))
    whole = values.reshape(-1).astype(np.float64) / sizes
    means = np.bincount(order, whole) / np.bincount(order)
    return np.asarray((whole - means[order]) * sizes)
