"""Where the channels that a layer computes go: through operators that keep them apart, to the layers that read them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tersor.algorithms._match import ACTIVATIONS, Weighted, weighted
from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ops import layer_operands
from tersor.recipe import Scheme

_PROPORTIONAL = ("AVERAGE_POOL_2D", "LEAKY_RELU", "MAX_POOL_2D", "MEAN", "PAD", "RELU")
"""Operators f without constants per channel, with ``f(s x) = s f(x)`` for s > 0."""

_BENT = ("ELU", "GELU", "HARD_SWISH", "LOGISTIC", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "TANH")
"""Functions of single values without this property."""


@dataclass(frozen=True)
class Channels:
    """Channels between layers.

    Attributes:
        first: the layer that computes them.
        between: the operators on the way; depthwise layers among them.
        readers: the layers that read the last value.
        proportional: whether channels that are made smaller come out as much smaller.
    """

    first: Weighted
    between: tuple[Op, ...]
    readers: tuple[Weighted, ...]
    proportional: bool

    @property
    def values(self) -> tuple[str, ...]:
        """The names of the values on the way; the last is what is read."""
        return tuple(op.outputs[0] for op in (self.first.op, *self.between))


def channels_of(graph: Graph, op: Op) -> Channels | None:
    """The channels that a layer computes; None where something else than layers depends on them."""
    first = weighted(graph, op)
    if first is None or first.op.kind not in ("CONV_2D", "FULLY_CONNECTED"):
        return None
    between: list[Op] = []
    proportional = np.isinf(first.clamp[1])
    name = op.outputs[0]
    while name not in graph.outputs:
        readers = [weighted(graph, reader) for reader in graph.consumers.get(name, ())]
        whole = [item for item in readers if item is not None and not item.depthwise and item.data == name]
        if readers and len(whole) == len(readers):
            return Channels(first, tuple(between), tuple(whole), bool(proportional))
        reader = graph.sole_reader(name)
        if reader is None or not _keeps_apart(graph, reader, name):
            return None
        clamp = ACTIVATIONS.get(reader.option("fused_activation_function", 0) or 0, (0.0, 0.0))
        proportional = proportional and reader.kind not in _BENT and np.isinf(clamp[1])
        between.append(reader)
        name = reader.outputs[0]
    return None


def _keeps_apart(graph: Graph, op: Op, name: str) -> bool:
    """Whether each channel of an operator's result comes from the same channel of its input alone."""
    if op.inputs[0] != name or graph.tensors[op.outputs[0]].shape[-1:] != graph.tensors[name].shape[-1:]:
        return False
    if op.kind == "MEAN":
        axes = graph.operand(op, 1)
        last = len(graph.tensors[name].shape) - 1
        return axes is not None and axes.data is not None and not np.isin([-1, last], axes.data).any()
    if op.kind == "DEPTHWISE_CONV_2D":
        return weighted(graph, op) is not None
    return op.kind in (*_PROPORTIONAL, *_BENT)


def weight_steps(weights: Array, scheme: Scheme) -> Array:
    """What weights [O, taps, channels] are rounded to multiples of, [O, 1, 1], or [1, 1, 1] for one scale."""
    axis = None if scheme.granularity == "per_tensor" else (1, 2)
    return np.asarray(np.abs(weights).max(axis=axis, keepdims=True) / scheme.weights.integer_range[1])


def copied(graph: Graph, channels: Channels, smaller: Array, lighter: Array, scheme: Scheme) -> Graph:
    """The graph with some channels computed several times; what it computes stays.

    Args:
        graph: the graph.
        channels: of it.
        smaller: by what each channel is divided where it is computed, [channels] of integers.
        lighter: by what the weights that read it are divided; there are ``smaller * lighter`` copies of it then.
        scheme: the numbers of the layers.

    The weights that read n copies differ by parts of a step, -1/2 + 1/2n, ... 1/2 - 1/2n, which add up to nothing. So
    the sum of the rounded ones is that of all, rounded once.
    """
    copies = smaller * lighter
    order = np.concatenate([np.arange(len(copies)), np.repeat(np.arange(len(copies)), copies - 1)])
    number = np.concatenate([np.zeros(len(copies)), *(np.arange(1, count) for count in copies)])
    parts = (number + 0.5) / copies[order] - 0.5
    down = 1.0 / smaller[order]
    tensors = [divided(item, 0, order, down) for item in layer_constants(graph, channels.first.op)]
    for op in channels.between:
        if op.kind == "DEPTHWISE_CONV_2D":
            weights, bias = layer_constants(graph, op)
            tensors += [divided(weights, 3, order, np.ones_like(down)), divided(bias, 0, order, down)]
    for layer in channels.readers:
        weights, _ = layer_constants(graph, layer.op)
        values = layer.weights[..., order] / lighter[order]
        values = (
            (values + parts * weight_steps(values, scheme)).reshape(*weights.shape[:-1], len(order)).astype(np.float32)
        )
        tensors.append(weights.with_data(values, shape=values.shape))
    for name in channels.values:
        tensor = graph.tensors[name]
        shapes = (None if shape is None else (*shape[:-1], len(order)) for shape in (tensor.shape, tensor.open_shape))
        shape, open_shape = shapes
        assert shape is not None
        tensors.append(replace(tensor, shape=shape, open_shape=open_shape))
    return graph.edit(tensors=tensors)


def layer_constants(graph: Graph, op: Op) -> tuple[Tensor, Tensor]:
    """The weights and the bias of a layer."""
    weights, bias = (graph.operand(op, index) for index in layer_operands(op.kind)[1:])
    assert weights is not None
    assert bias is not None
    return weights, bias


def divided(tensor: Tensor, axis: int, order: Array, factors: Array) -> Tensor:
    """A constant with copies of its channels along an axis, each times a factor."""
    assert tensor.data is not None
    axis = min(axis, len(tensor.shape) - 1)
    shape = [1] * len(tensor.shape)
    shape[axis] = -1
    values = tensor.data.take(order, axis).astype(np.float64) * factors.reshape(shape)
    return tensor.with_data(np.ascontiguousarray(values.astype(np.float32)), shape=values.shape)
