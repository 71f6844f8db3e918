"""Which channels of a network belong together: where one goes, the others have to go with it.

Every value has a number for each place along its last axis. Numbers are followed through the operators, and those that
an operator brings together (the sum of a residual block) are tied. What no operator here lets pass is a barrier: its
channels stay. The groups are those of a dependency graph (DepGraph, Fang et al. 2023, arXiv 2301.12900), found on the
file's operators.
"""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.numerics.packing import values_of
from tersor.ops import LAYERS, layer_operands

_UNARY = frozenset(
    {"ABS", "AVERAGE_POOL_2D", "ELU", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "NEG"}
    | {"RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SQRT"}
    | {"SQUARE", "TANH"}
)
"""Operators that keep channels apart, and nothing of which depends on how many there are."""

_BINARY = frozenset({"ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "PRELU", "SQUARED_DIFFERENCE", "SUB"})


class ChannelPaths:
    """The numbers of a graph's channels, and which of them are tied.

    Attributes:
        numbers: by value, a number for each place along its last axis.
        fixed: why a number's channel has to stay, by the number that stands for those tied to it.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.numbers: dict[str, Array] = {}
        self.fixed: dict[int, str] = {}
        self._parents: list[int] = []
        for name in graph.inputs:
            self._fix(self._fresh(name), "the model's inputs stay")
        for op in graph.ops:
            self._follow(op)
        for name in graph.outputs:
            self._fix(self.numbers.get(name), "the model's outputs stay")

    def of(self, name: str) -> Array:
        """For each place along a value's last axis the number that stands for all channels tied to it."""
        return np.array([self.root(int(number)) for number in self.numbers[name]], np.int64)

    def root(self, number: int) -> int:
        """The number that stands for those tied to this one."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def _follow(self, op: Op) -> None:
        if op.kind in LAYERS:
            self._follow_layer(op)
            return
        computed = [name for name in op.present_inputs if not self.graph.tensors[name].is_constant]
        passed = self._passed(op, computed) if computed and len(op.outputs) == 1 else None
        if passed is not None:
            self.numbers[op.outputs[0]] = passed
            return
        for name in computed:
            self._fix(self.numbers.get(name), f"channels cannot be followed through {op.label} ({op.name!r})")
        for name in op.outputs:
            self._fix(self._fresh(name), f"they come from {op.label} ({op.name!r})")

    def _follow_layer(self, op: Op) -> None:
        place = layer_operands(op.kind)
        data, weights = self.graph.operand(op, place.data), self.graph.operand(op, place.weights)
        assert data is not None
        given = self.numbers.get(data.name)
        result = self.graph.tensors[op.outputs[0]]
        if op.kind == "DEPTHWISE_CONV_2D" and given is not None and weights is not None and weights.is_constant:
            self.numbers[result.name] = np.repeat(given, weights.shape[-1] // len(given))
            return
        own = self._fresh(result.name)
        grouped = weights is None or not weights.is_constant or given is None or weights.shape[-1] != len(given)
        if grouped or len(self.graph.consumers[op.inputs[place.weights] or ""]) != 1:
            why = f"the weights of {op.name!r} are computed, shared, or those of groups"
            self._fix(given, why)
            self._fix(own, why)

    def _passed(self, op: Op, computed: list[str]) -> Array | None:
        """The numbers of an operator's result; None if they cannot be followed."""
        shapes = [self.graph.tensors[name].shape for name in op.present_inputs]
        result = self.graph.tensors[op.outputs[0]].shape
        first = self.numbers[computed[0]]
        if op.kind in _UNARY:
            return first
        if op.kind in _BINARY:
            return self._combined(op, computed, result)
        if op.kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
            axes = [int(axis) % len(shapes[0]) for axis in self._values(op, 1, ())]
            return first if axes and len(shapes[0]) - 1 not in axes else None
        if op.kind in ("PAD", "PADV2", "MIRROR_PAD"):
            amounts = np.reshape(self._values(op, 1, (1,)), (-1, 2)) if len(computed) == 1 else np.ones((1, 2))
            return first if not amounts[-1].any() else None
        if op.kind == "CONCATENATION":
            axis = op.option("axis", 0) % len(result)
            if axis == len(result) - 1:
                return (
                    None if len(computed) < len(shapes) else np.concatenate([self.numbers[name] for name in computed])
                )
            return self._combined(op, computed, result)
        if op.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
            size, last = len(first), result[-1] if result else 0
            if last % size or (last != size and op.kind != "RESHAPE"):
                return None
            return np.tile(first, last // size) if _keeps_inner(shapes[0], last) else None
        return None

    def _combined(self, op: Op, computed: list[str], result: tuple[int, ...]) -> Array | None:
        """Channel by channel; a value of one channel for all, and constants per channel, are fine."""
        whole = [name for name in computed if len(self.numbers[name]) == result[-1]]
        for name in set(computed) - set(whole):
            self._fix(self.numbers[name], f"{op.name!r} spreads it over others")
        constants = [self.graph.tensors[name] for name in op.present_inputs if name not in computed]
        if not whole or any(item.shape and item.shape[-1] not in (1, result[-1]) for item in constants):
            return None
        for name in whole[1:]:
            for one, other in zip(self.numbers[whole[0]], self.numbers[name], strict=True):
                self._tie(int(one), int(other))
        return self.numbers[whole[0]]

    def _values(self, op: Op, index: int, default: tuple[int, ...]) -> Array:
        tensor = self.graph.operand(op, index)
        return np.array(default) if tensor is None or not tensor.is_constant else values_of(tensor).reshape(-1)

    def _fresh(self, name: str) -> Array:
        shape = self.graph.tensors[name].shape
        first = len(self._parents)
        self._parents.extend(range(first, first + (shape[-1] if shape else 1)))
        self.numbers[name] = np.arange(first, len(self._parents))
        return self.numbers[name]

    def _fix(self, numbers: Array | None, reason: str) -> None:
        for number in () if numbers is None else numbers:
            self.fixed.setdefault(self.root(int(number)), reason)

    def _tie(self, one: int, other: int) -> None:
        kept, gone = self.root(one), self.root(other)
        if kept != gone:
            self._parents[gone] = kept
            reason = self.fixed.pop(gone, None)
            if reason is not None:
                self.fixed.setdefault(kept, reason)


def _keeps_inner(shape: tuple[int, ...], last: int) -> bool:
    """Whether the last axis of a reshaped value holds whole trailing axes of it."""
    size = 1
    for length in reversed(shape):
        size *= length
        if size == last:
            return True
    return False
