"""Graph -> which values of an activation its readers can tell apart.

A hard swish is 0 for everything below -3, and an int8 sigmoid 0 below -6.2: what an activation is there makes no
difference, and neither does an integer that stops there. Operators that only move or compare values show as much of
them as is seen of their results.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.numerics.packing import values_of
from tersor.ops import ABOVE, ALL, BELOW, DATA, OPS, SAME, OpSpec, Range

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


class Visibility:
    """What is seen of the activations of a graph.

    Args:
        graph: float or quantized.
        computes: the type in which an operator computes; by default that of its result.
    """

    def __init__(self, graph: Graph, computes: Callable[[Op], DType] | None = None) -> None:
        self._graph = graph
        self._computes = computes or (lambda op: graph.tensors[op.outputs[0]].dtype)
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
                if op.kind in _CONVERSIONS or OPS[op.kind].scale == SAME
                else [op.kind]
            )
        ]
        return list(dict.fromkeys(found))

    def _limits(self, op: Op, spec: OpSpec) -> Range:
        """Where a constant operand bounds the result."""
        tensors = [self._graph.tensors[name] for name in op.present_inputs]
        constants = [values_of(tensor) for tensor in tensors if tensor.is_constant and tensor.dtype is DType.FLOAT32]
        if spec.limited is None or not constants or not constants[0].size:
            return ALL
        low, high = float(constants[0].min()), float(constants[0].max())
        return (low if spec.limited == BELOW else -math.inf), (high if spec.limited == ABOVE else math.inf)


def narrowed(first: Range, second: Range) -> Range:
    """What is seen where one bounds the other; a point where that is always the same."""
    low = max(first[0], second[0])
    return low, max(low, min(first[1], second[1]))
