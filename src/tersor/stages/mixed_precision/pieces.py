"""Pieces of a float network that show what one rounding does: from the first operator concerned to the outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ir.plan import Plan
from tersor.ir.quant import QuantParams
from tersor.stages.mixed_precision.sources import roundings
from tersor.stages.quantize import conversion

_REAL = (DType.FLOAT32, None)


@dataclass(frozen=True)
class Piece:
    """A part of a network.

    Attributes:
        graph: its inputs are values of the float network.
        outputs: for each of its outputs, the network's output that it stands for.
    """

    graph: Graph
    outputs: tuple[str, ...]


def with_rounded_values(graph: Graph, plan: Plan, values: Collection[str], start: int) -> Piece:
    """The operators from a place on, with some values rounded, by QUANTIZE and DEQUANTIZE, where they are read."""
    rounding = _Rounding(graph)
    for op in graph.ops[start:]:
        inputs = list(op.inputs)
        for index, name in enumerate(op.inputs):
            if name is not None and name in values:
                inputs[index] = rounding.of(name, tuple(roundings(plan, op, index)))
        rounding.ops.append(replace(op, inputs=tuple(inputs)))
    outputs = {}
    for name in graph.outputs:
        planned = plan.tensors.get(name) if name in values else None
        at_door = (planned.params,) if planned is not None and planned.params is not None else ()
        outputs[name] = rounding.of(name, at_door)
    return _affected(_with(graph, rounding.tensors), rounding.ops, outputs, rounding.results)


def with_constants(graph: Graph, start: int, constants: Mapping[int, Array]) -> Piece:
    """The operators from a place on, the first of them with other constants at some operands (its own, if shared)."""
    op, tensors = graph.ops[start], {}
    for index, values in constants.items():
        tensor = graph.operand(op, index)
        assert tensor is not None
        name = graph.fresh_name(f"{tensor.name}/rounded")
        tensors[index] = replace(tensor, name=name).with_data(values.reshape(tensor.shape).astype(tensor.dtype.numpy))
    inputs = tuple(tensors[index].name if index in tensors else name for index, name in enumerate(op.inputs))
    ops = [replace(op, inputs=inputs), *graph.ops[start + 1 :]]
    outputs = {name: name for name in graph.outputs}
    changed = {tensor.name for tensor in tensors.values()}
    return _affected(_with(graph, tensors.values()), ops, outputs, changed)


class _Rounding:
    """Operators in order, with those that round values among them: once for each way a value is rounded."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._done: dict[tuple[str, tuple[QuantParams, ...]], str] = {}
        self.ops: list[Op] = []
        self.tensors: list[Tensor] = []
        self.results: set[str] = set()

    def of(self, name: str, ways: tuple[QuantParams, ...]) -> str:
        """The name of a value that went through integers of each kind."""
        if not ways:
            return name
        if (name, ways) not in self._done:
            source = self.of(name, ways[:-1])
            integers, real = (f"{name}/{kind}/{len(self._done)}" for kind in ("integers", "rounded"))
            numbers = (ways[-1].dtype, ways[-1])
            original = self._graph.tensors[name]
            self.tensors.append(replace(original, name=integers, dtype=numbers[0], quant=ways[-1], recorded_range=None))
            self.tensors.append(replace(original, name=real))
            self.ops.append(conversion(source, _REAL, integers, numbers))
            self.ops.append(conversion(integers, numbers, real, _REAL))
            self.results.add(real)
            self._done[name, ways] = real
        return self._done[name, ways]


def _with(graph: Graph, tensors: Iterable[Tensor]) -> Graph:
    """A graph that knows further tensors, for operators that are still to be put in."""
    return replace(graph, tensors={**graph.tensors, **{tensor.name: tensor for tensor in tensors}})


def _affected(graph: Graph, ops: Sequence[Op], outputs: Mapping[str, str], changed: Collection[str]) -> Piece:
    """The operators between what is changed and the outputs that this reaches, with what these read besides."""
    reached = set(changed)
    for op in ops:
        if not reached.isdisjoint(op.present_inputs):
            reached.update(op.outputs)
    ends = {name: own for name, own in outputs.items() if own in reached}
    needed, kept = set(ends.values()), []
    for op in reversed(ops):
        if not needed.isdisjoint(op.outputs):
            needed.update(op.present_inputs)
            kept.append(op)
    return Piece(graph.subgraph(kept[::-1], tuple(ends.values())), tuple(ends))
