"""Graph -> which values of an activation its readers can tell apart.

A hard swish is 0 for everything below -3, and an int8 sigmoid 0 below -6.2: what an activation is there makes no
difference, and neither does an integer that stops there. Operators that only move or compare values show as much of
them as is seen of their results. Of an operand of a sum, what is seen ends where the other one, at its largest, cannot
bring the sum back to what is seen of that: before a ReLU, at 0 less the largest value of the shortcut.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ir.quant import PerTensor
from tersor.numerics.affine import dequantize
from tersor.numerics.packing import values_of
from tersor.ops import ABOVE, ALL, BELOW, CLAMPS, DATA, OPS, SAME, OpSpec, Range

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


class Visibility:
    """What is seen of the activations of a graph.

    Args:
        graph: float or quantized.
        computes: the type in which an operator computes; by default that of its result.
        reach: the numbers that an activation can be stored as; by default those of the graph's quantized values.
    """

    def __init__(
        self,
        graph: Graph,
        computes: Callable[[Op], DType] | None = None,
        reach: Callable[[str], Range] | None = None,
    ) -> None:
        self._graph = graph
        self._computes = computes or (lambda op: graph.tensors[op.outputs[0]].dtype)
        self._stored = reach or self._of_graph
        self._known: dict[str, Range] = {}

    def range(self, name: str) -> Range:
        """The bounds beyond which an activation's values are to all its readers as the bounds are.

        Infinite where there is none: of inputs and outputs of the graph, and where nothing reads it.
        """
        if name not in self._known:
            readers = self._graph.consumers.get(name, ())
            at_door = name in self._graph.outputs or name in self._graph.inputs
            seen = [ALL] if at_door or not readers else [self.by(op, name) for op in readers]
            self._known[name] = min(low for low, _ in seen), max(high for _, high in seen)
        return self._known[name]

    def by(self, op: Op, name: str) -> Range:
        """Likewise to one reader."""
        if op.kind in _CONVERSIONS:
            return self.range(op.outputs[0])
        spec = OPS.get(op.kind)
        if spec is None or any(spec.operand_role(i) != DATA for i, own in enumerate(op.inputs) if own == name):
            return ALL
        if spec.signs:
            return self._in_sum(op, spec, name)
        if op.kind == "MUL":
            return self._in_gate(op, name)
        if spec.scale != SAME:
            return narrowed(spec.saturates, spec.saturates_rounded.get(self._computes(op), ALL))
        if spec.averages or any(spec.result_role(place) != DATA for place in range(len(op.outputs))):
            return ALL
        results = [self.range(result) for result in op.outputs]
        whole = min(low for low, _ in results), max(high for _, high in results)
        return narrowed(whole, self._limits(op, spec))

    def readers(self, name: str) -> list[str]:
        """The kinds of the operators that saturate behind an activation, in the order in which they come."""
        found = [
            kind
            for op in self._graph.consumers.get(name, ())
            for kind in (
                [kind for result in op.outputs for kind in self.readers(result)]
                if op.kind in _CONVERSIONS or OPS[op.kind].scale == SAME or _passes_on(op)
                else [op.kind]
            )
        ]
        return list(dict.fromkeys(found))

    def _in_gate(self, op: Op, name: str) -> Range:
        """What is seen of a factor, the other being ``relu(factor + c)``: below -c both that and the product are 0."""
        other = next((own for own in op.present_inputs if own != name), None)
        gate = None if other is None else self._graph.producers.get(other)
        if gate is None or gate.kind != "ADD" or gate.inputs.count(name) != 1:
            return ALL
        clamp = CLAMPS.get(gate.option("fused_activation_function", 0) or 0)
        offset = self._reach(next(own for own in gate.present_inputs if own != name))
        return (-offset[1], math.inf) if clamp is not None and clamp[0] == 0 else ALL

    def _in_sum(self, op: Op, spec: OpSpec, name: str) -> Range:
        """What is seen of one operand of a sum in integers, the other being what it can be."""
        clamp = CLAMPS.get(op.option("fused_activation_function", 0) or 0)
        if clamp is None or self._computes(op).is_float or len(set(op.inputs)) < 2:
            return ALL
        low, high = narrowed(clamp, self.range(op.outputs[0]))
        place = op.inputs.index(name)
        terms = [_times(self._reach(own), sign) for own, sign in zip(op.present_inputs, spec.signs, strict=True)]
        (a, b), (c, d) = terms[place], terms[1 - place]
        # where even the largest sum lies below, each operand is left alone: two cuts might add up to more
        low = low - d if b + d >= low else -math.inf
        high = high - c if a + c <= high else math.inf
        return _times((low, high), spec.signs[place])

    def _reach(self, name: str) -> Range:
        """The smallest and the largest number that an operand can be."""
        tensor = self._graph.tensors[name]
        if not tensor.is_constant:
            return self._stored(name)
        if tensor.sparsity is not None or not tensor.elements:
            return ALL
        values = values_of(tensor) if tensor.quant is None else dequantize(values_of(tensor), tensor.quant)
        return float(values.min()), float(values.max())

    def _of_graph(self, name: str) -> Range:
        params = self._graph.tensors[name].quant
        per_tensor = params is not None and isinstance(params.granularity, PerTensor) and params.scales
        return params.real_range if params is not None and per_tensor else ALL

    def _limits(self, op: Op, spec: OpSpec) -> Range:
        """Where a constant operand bounds the result."""
        tensors = [self._graph.tensors[name] for name in op.present_inputs]
        constants = [tensor.name for tensor in tensors if tensor.is_constant]
        if spec.limited is None or not constants:
            return ALL
        low, high = self._reach(constants[0])
        return (low if spec.limited == BELOW else -math.inf), (high if spec.limited == ABOVE else math.inf)


def _times(bounds: Range, sign: int) -> Range:
    return bounds if sign > 0 else (-bounds[1], -bounds[0])


def _passes_on(op: Op) -> bool:
    """Whether a sum saturates only where what is behind it does."""
    return bool(OPS[op.kind].signs) and not op.option("fused_activation_function", 0)


def narrowed(first: Range, second: Range) -> Range:
    """What is seen where one bounds the other; a point where that is always the same."""
    low = max(first[0], second[0])
    return low, max(low, min(first[1], second[1]))
