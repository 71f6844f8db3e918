"""Structured pruning: channels that matter little are taken out, and the model is really smaller.

Channels that hang together go together (`channel_paths`). What is left computes what the whole model would if nothing
read the channels that went, which is tried on the runtime; fine-tuning then makes up for them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersor.errors import PlanError, RecipeError
from tersor.ir.graph import Array, Graph, Model, Op, Tensor
from tersor.ir.normal import Normal
from tersor.numerics.packing import values_of
from tersor.ops import LAYERS, layer_operands
from tersor.training.channel_paths import ChannelPaths
from tersor.training.operators.weights import OUTPUT_AXES
from tersor.training.same import require_equal_answers
from tersor.training.source import float_source

MULTIPLE = 8
"""Channels that kernels compute at once, at least: int8 vectors of 8 to 64, TensorFlow's `make_divisible` too."""

_NORMS = ("l1", "l2")


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of layers that can only lose the same ones.

    Attributes:
        layers: the operators that compute them.
        channels: how many there are, tied ones counted once.
        reason: why they stay; None if some can go.
    """

    layers: tuple[str, ...]
    channels: int
    reason: str | None


@dataclass(frozen=True)
class _Group:
    """A group with its numbers (see `ChannelPaths`), and how much each matters."""

    layers: tuple[str, ...]
    numbers: Array
    importance: Array
    reason: str | None


def channel_groups(model: Any) -> tuple[ChannelGroup, ...]:
    """What `remove_channels` can take channels out of, and what not, in the order of the model.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, a `Model`, or a network of this package.
    """
    graph = float_source(model).graph
    groups = _groups(graph, ChannelPaths(graph), "l2")
    return tuple(ChannelGroup(group.layers, len(group.numbers), group.reason) for group in groups)


def remove_channels(
    model: Any,
    share: float,
    *,
    layers: Mapping[str, float] | None = None,
    skip: Iterable[str] = (),
    multiple: int = MULTIPLE,
    norm: str = "l2",
) -> Model:
    """The float model without the channels that matter least.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, a `Model`, or a network of this package.
        share: how many of each group's channels go at most, 0.0 to 1.0.
        layers: other shares, by names of layers; a group takes the smallest that one of its layers has.
        skip: names of layers whose channels stay.
        multiple: what is left of a group is a multiple of this, or the whole group.
        norm: "l2" or "l1": of the weights that compute and read a channel, each as a share of the mean of its layer.

    Returns:
        A model that answers as the given one would if nothing read the channels that went.

    Raises:
        RecipeError: an argument is wrong.
        PlanError: no channels can go, with the reasons.
        VerificationError: the result does not answer so on the runtime, which would be a defect.
    """
    shares = dict.fromkeys(skip, 0.0) | dict(layers or {})
    for name, own in {"share": share, **shares}.items():
        if not 0.0 <= own < 1.0:
            raise RecipeError(f"{name} is {own}: it must be a share of channels, 0.0 or more and below 1.0")
    if norm not in _NORMS or multiple < 1:
        raise RecipeError(f"norm is {norm!r} and multiple {multiple}: there are norms l1 and l2, and multiples from 1")
    source = float_source(model)
    graph = source.graph
    paths = ChannelPaths(graph)
    groups = _groups(graph, paths, norm)
    _require_known(shares, [name for group in groups for name in group.layers])
    gone: set[int] = set()
    for group in groups:
        wanted = min([shares[key] for key in shares if _names(group.layers, key)], default=share)
        gone.update(_least(group, wanted, multiple))
    if not gone:
        kept = "\n".join(f"  {', '.join(g.layers)}: {g.reason or f'{len(g.numbers)} channels'}" for g in groups)
        raise PlanError(f"no channels can go (what is left is a multiple of {multiple}):\n{kept}")
    smaller = source.with_graph(_cut(graph, paths, gone))
    require_equal_answers(source.with_graph(_unread(graph, paths, gone)), smaller)
    return smaller


def _groups(graph: Graph, paths: ChannelPaths, norm: str) -> list[_Group]:
    """Layers that share numbers, with all these numbers."""
    members: dict[int, list[str]] = {}
    leader: dict[str, str] = {}

    def first(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    producers = [op for op in graph.ops if op.kind in LAYERS and op.kind != "DEPTHWISE_CONV_2D"]
    for op in producers:
        leader[op.name] = op.name
        for number in set(paths.of(op.outputs[0]).tolist()):
            for other in members.setdefault(number, [])[:1]:
                leader[first(op.name)] = first(other)
            members[number].append(op.name)
    importance = _importance(graph, paths, norm)
    groups = []
    for name in leader:
        if first(name) != name:
            continue
        names = tuple(own for own in leader if first(own) == name)
        numbers = np.array([number for number, own in members.items() if first(own[0]) == name], np.int64)
        reasons = {paths.fixed[number] for number in numbers.tolist() if number in paths.fixed}
        scores = np.array([importance.get(number, 0.0) for number in numbers.tolist()])
        groups.append(_Group(names, numbers, scores, min(reasons) if reasons else None))
    order = {op.name: place for place, op in enumerate(graph.ops)}
    return sorted(groups, key=lambda group: min(order[name] for name in group.layers))


def _importance(graph: Graph, paths: ChannelPaths, norm: str) -> dict[int, float]:
    """How much the channel of each number matters: all weights that compute or read it."""
    found: dict[int, float] = {}
    for op in graph.ops:
        weights = graph.operand(op, layer_operands(op.kind).weights) if op.kind in LAYERS else None
        if weights is None or not weights.is_constant:
            continue
        values = np.abs(values_of(weights).astype(np.float64))
        sizes = values if norm == "l1" else values**2
        for axis, numbers in _axes(op, paths, weights):
            own = sizes.sum(axis=tuple(other for other in range(sizes.ndim) if other != axis))
            for number, size in zip(numbers.tolist(), own / max(own.mean(), 1e-30), strict=True):
                found[number] = found.get(number, 0.0) + float(size)
    return found


def _axes(op: Op, paths: ChannelPaths, weights: Tensor) -> list[tuple[int, Array]]:
    """Axes of a layer's weights along which channels lie, with their numbers."""
    place = layer_operands(op.kind)
    axes = [(OUTPUT_AXES[op.kind], paths.of(op.outputs[0]))]
    data = op.inputs[place.data]
    if op.kind != "DEPTHWISE_CONV_2D" and data in paths.numbers:
        numbers = paths.of(data)
        if len(numbers) == weights.shape[-1]:
            axes.append((len(weights.shape) - 1, numbers))
    return axes


def _least(group: _Group, share: float, multiple: int) -> list[int]:
    """The numbers of a group that go."""
    count = len(group.numbers)
    kept = -(-max(round(count * (1.0 - share)), 1) // multiple) * multiple
    if group.reason is not None or kept >= count:
        return []
    order = np.argsort(group.importance, kind="stable")
    return [int(number) for number in group.numbers[order[: count - kept]]]


def _unread(graph: Graph, paths: ChannelPaths, gone: set[int]) -> Graph:
    """The graph with weights that read these channels set to 0."""
    changed: dict[str, Tensor] = {}
    for op in graph.ops:
        if op.kind not in LAYERS or op.kind == "DEPTHWISE_CONV_2D":
            continue
        weights = graph.operand(op, layer_operands(op.kind).weights)
        if weights is None or not weights.is_constant or len(_axes(op, paths, weights)) < 2:
            continue
        (_, (_, numbers)) = _axes(op, paths, weights)
        stays = ~np.isin(numbers, list(gone))
        if not stays.all():
            changed[weights.name] = weights.with_data(values_of(weights) * stays.astype(np.float32))
    return graph.edit(tensors=changed.values())


def _cut(graph: Graph, paths: ChannelPaths, gone: set[int]) -> Graph:
    """The graph without these channels."""
    return _Cutter(graph, paths, gone).run()


class _Cutter:
    """Writes every value and constant anew that has fewer channels."""

    def __init__(self, graph: Graph, paths: ChannelPaths, gone: set[int]) -> None:
        self._graph = graph
        self._stays = {name: ~np.isin(paths.of(name), list(gone)) for name in paths.numbers}
        self._paths = paths
        self._tensors: dict[str, Tensor] = {}
        self._ops: dict[str, tuple[Op, ...]] = {}

    def run(self) -> Graph:
        for name, stays in self._stays.items():
            if not stays.all():
                tensor = self._graph.tensors[name]
                shape, open_shape = (
                    (*own[:-1], int(stays.sum())) if own else own for own in (tensor.shape, tensor.open_shape)
                )
                assert shape is not None
                normal = None if tensor.normal is None else _normal(tensor.normal, stays)
                self._tensors[name] = replace(tensor, shape=shape, open_shape=open_shape, normal=normal)
        for op in self._graph.ops:
            if op.kind in LAYERS:
                self._cut_layer(op)
            elif op.kind == "RESHAPE":
                self._cut_reshape(op)
            elif op.outputs and op.outputs[0] in self._stays:
                self._cut_constants(op)
        return self._graph.edit(replace_ops=self._ops, tensors=self._tensors.values())

    def _cut_layer(self, op: Op) -> None:
        place = layer_operands(op.kind)
        weights, bias = self._graph.operand(op, place.weights), self._graph.operand(op, place.bias)
        outputs = self._stays[op.outputs[0]]
        if weights is None or not weights.is_constant:
            return
        values = values_of(weights)
        for axis, numbers in _axes(op, self._paths, weights):
            stays = outputs if axis == OUTPUT_AXES[op.kind] else self._stays[op.inputs[place.data] or ""]
            assert len(numbers) == len(stays)
            values = np.compress(stays, values, axis=axis)
        self._put(op, place.weights, values)
        if bias is not None and bias.is_constant and bias.elements == len(outputs):
            self._put(op, place.bias, np.compress(outputs, values_of(bias)))
        if op.kind == "TRANSPOSE_CONV":
            shape = self._graph.operand(op, 0)
            if shape is not None and shape.is_constant:
                self._put(op, 0, np.array([*values_of(shape)[:-1], outputs.sum()], np.int32))

    def _cut_reshape(self, op: Op) -> None:
        stays = self._stays[op.outputs[0]]
        if stays.all():
            return
        count = int(stays.sum())
        wanted = self._graph.operand(op, 1)
        if wanted is not None and wanted.is_constant and values_of(wanted).reshape(-1)[-1] != -1:
            self._put(op, 1, np.array([*values_of(wanted).reshape(-1)[:-1], count], np.int32))
        stated = op.option("new_shape")
        if op.options is not None and stated is not None and len(stated):
            now = self._ops.get(op.name, (op,))[0]
            self._ops[op.name] = (replace(now, options=op.options.with_fields(new_shape=(*stated[:-1], count))),)

    def _cut_constants(self, op: Op) -> None:
        """Constants with a number per channel, as of a product or a PReLU."""
        stays = self._stays[op.outputs[0]]
        for index, name in enumerate(op.inputs):
            tensor = None if name is None else self._graph.tensors[name]
            if tensor is None or not tensor.is_constant or stays.all() or op.kind in _SHAPED:
                continue
            if tensor.shape and tensor.shape[-1] == len(stays) and len(stays) > 1:
                self._put(op, index, np.compress(stays, values_of(tensor), axis=-1))

    def _put(self, op: Op, index: int, values: Array) -> None:
        """Give an operator a constant of its own."""
        name = op.inputs[index]
        assert name is not None
        tensor = self._graph.tensors[name]
        if values.shape == tensor.shape and np.array_equal(values, values_of(tensor)):
            return
        own = self._graph.fresh_name(f"{op.name}/{index}", self._tensors) if self._is_shared(name) else name
        now = self._ops.get(op.name, (op,))[0]
        inputs = tuple(own if place == index else given for place, given in enumerate(now.inputs))
        self._ops[op.name] = (replace(now, inputs=inputs),)
        self._tensors[own] = replace(tensor, name=own).with_data(np.ascontiguousarray(values), shape=values.shape)

    def _is_shared(self, name: str) -> bool:
        return len(self._graph.consumers[name]) > 1


_SHAPED = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "PAD", "PADV2", "MIRROR_PAD", "SQUEEZE", "EXPAND_DIMS"})
"""Operators whose constants are axes and amounts."""


def _normal(normal: Normal, stays: Array) -> Normal:
    mean, deviation = (tuple(np.compress(stays, own).tolist()) for own in (normal.mean, normal.deviation))
    return Normal(mean, deviation, normal.low, normal.high)


def _names(layers: Iterable[str], pattern: str) -> bool:
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in layers)


def _require_known(patterns: Iterable[str], layers: list[str]) -> None:
    for pattern in patterns:
        if not _names(layers, pattern):
            raise RecipeError(f"{pattern!r} names no layer that computes channels; there are {', '.join(layers)}")
