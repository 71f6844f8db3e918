"""Graphs that show what debugging looks at.

One is the float network with two branches beside each operator, both fed with the float network's own values rounded to
integers: its integer twin, and the float operator once more on what these integers stand for. Where the branches differ
is the twin's own fault, not that of its operands. The other is the quantized network with all its activations as
outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Record, Tensor
from tersor.stages.debug.match import CONVERSIONS

_PREFIX = "branch/"


@dataclass(frozen=True)
class Shown:
    """A graph that shows values, and where.

    Attributes:
        graph: what to run.
        places: by name of a value of the quantized graph, the place of what is shown for it among the outputs.
        float_places: likewise for the float value that it stands for.
        wanted_places: likewise for what an operator should make of its rounded operands.
    """

    graph: Graph
    places: Mapping[str, int]
    float_places: Mapping[str, int]
    wanted_places: Mapping[str, int]


def with_branches(floats: Graph, quantized: Graph, counterparts: Mapping[str, str]) -> Shown:
    """The float graph with a branch for each quantized operator whose operands and result have counterparts."""
    branches = _Branches(floats, quantized, counterparts)
    shown: list[str] = list(floats.outputs)
    places, float_places, wanted_places = {}, {}, {}
    for op in quantized.ops:
        for name in op.outputs:
            if name in counterparts:
                float_places[name] = _place(shown, counterparts[name])
        if op.kind not in CONVERSIONS and branches.add(op):
            for name in op.outputs:
                places[name] = _place(shown, f"{_PREFIX}{name}")
                wanted_places[name] = _place(shown, branches.wanted(counterparts[name]))
    for name in quantized.inputs:
        if name in counterparts:
            float_places[name] = _place(shown, counterparts[name])
    graph = floats.edit(append=branches.ops, tensors=branches.tensors.values(), outputs=shown)
    return Shown(graph, places, float_places, wanted_places)


def with_all_outputs(quantized: Graph, names: list[str]) -> Shown:
    """The quantized graph with further outputs."""
    shown = list(quantized.outputs)
    places = {name: _place(shown, name) for name in names}
    return Shown(quantized.edit(outputs=shown), places, {}, {})


def _place(shown: list[str], name: str) -> int:
    if name not in shown:
        shown.append(name)
    return shown.index(name)


class _Branches:
    def __init__(self, floats: Graph, quantized: Graph, counterparts: Mapping[str, str]) -> None:
        self._floats = floats
        self._quantized = quantized
        self._counterparts = counterparts
        self.ops: list[Op] = []
        self.tensors: dict[str, Tensor] = {}
        self._rounded: dict[str, str] = {}
        self._wanted: dict[str, str] = {}

    def wanted(self, name: str) -> str:
        """What stands for a float value in the branch that is exact: that of the network if it needs no branch."""
        return self._wanted.get(name, name)

    def add(self, op: Op) -> bool:
        """Add the branch of an operator; False if an operand or its result has no counterpart."""
        if any(name not in self._counterparts for name in op.outputs) or not op.outputs:
            return False
        if all(self._quantized.tensors[name].quant is None for name in op.outputs):
            return False
        activations = [name for name in op.present_inputs if not self._is_own(name)]
        if any(name not in self._counterparts for name in activations):
            return False
        inputs = tuple(None if name is None else self._operand(name) for name in op.inputs)
        inside = tuple(None if name is None else self._copied(name) for name in op.intermediates)
        outputs = tuple(self._copied(name) for name in op.outputs)
        self.ops.append(replace(op, name=f"{_PREFIX}{op.name}", inputs=inputs, outputs=outputs, intermediates=inside))
        self._add_exact(self._floats.producers[self._counterparts[op.outputs[0]]], activations)
        return True

    def _add_exact(self, twin: Op, activations: Sequence[str]) -> None:
        """Add the float operator on rounded operands; one that keeps state is left out."""
        rounded = {self._counterparts[name]: self._rounded[name] for name in activations if name in self._rounded}
        if not rounded or any(self._floats.tensors[name].is_variable for name in twin.present_inputs):
            return
        names = {name: f"{_PREFIX}{name}/wanted" for name in twin.outputs}
        self.tensors |= {new: replace(self._floats.tensors[name], name=new) for name, new in names.items()}
        inputs = tuple(None if name is None else rounded.get(name, name) for name in twin.inputs)
        outputs = tuple(names[name] for name in twin.outputs)
        self.ops.append(replace(twin, name=outputs[0], inputs=inputs, outputs=outputs))
        self._wanted |= names

    def _is_own(self, name: str) -> bool:
        return self._quantized.tensors[name].is_constant or self._quantized.tensors[name].is_variable

    def _operand(self, name: str) -> str:
        if self._is_own(name):
            return self._copied(name)
        tensor, source = self._quantized.tensors[name], self._counterparts[name]
        if tensor.quant is None or self._floats.tensors[source].dtype is not DType.FLOAT32:
            return source
        target = f"{_PREFIX}{name}/given"
        if target not in self.tensors:
            self.tensors[target] = replace(tensor, name=target)
            self.ops.append(Op(f"{target}/op", "QUANTIZE", (source,), (target,), Record("QuantizeOptions")))
            real = f"{target}/real"
            self.tensors[real] = replace(tensor, name=real, dtype=DType.FLOAT32, quant=None)
            version = 3 if tensor.dtype is DType.INT16 else 2
            self.ops.append(Op(f"{real}/op", "DEQUANTIZE", (target,), (real,), Record("DequantizeOptions"), version))
            self._rounded[name] = real
        return target

    def _copied(self, name: str) -> str:
        """A tensor of the quantized graph under a name of the branches."""
        target = f"{_PREFIX}{name}"
        self.tensors.setdefault(target, replace(self._quantized.tensors[name], name=target))
        return target
