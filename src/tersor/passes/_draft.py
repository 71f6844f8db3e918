"""How passes that put several operators in place of one write them down."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersor.ir.build import options_type
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op, Record, Tensor
from tersor.ir.outline import in_order

_DTYPES = {np.dtype(np.float32): DType.FLOAT32, np.dtype(np.int32): DType.INT32}


class Draft:
    """What takes the place of one operator after the other.

    Args:
        graph: the graph that the operators are in.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._tensors: dict[str, Tensor] = {}
        self._replaced: dict[str, tuple[Op, ...]] = {}
        self._op: Op | None = None
        self._parts: list[Op] = []

    def begin(self, op: Op) -> None:
        """What follows takes the place of this operator."""
        self._op, self._parts = op, []

    def constant(self, wish: str, values: Any) -> str:
        """Add a constant, float32 or int32, and return its name."""
        data = np.asarray(values)
        data = in_order(data, np.int32 if data.dtype.kind == "i" else np.float32)
        return self._add(Tensor(self._fresh(wish), data.shape, _DTYPES[data.dtype]).with_data(data))

    def op(
        self,
        kind: str,
        inputs: Sequence[str | None],
        shape: Sequence[int],
        wish: str,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """Add an operator with one float result, and return the result's name."""
        name = self.value(wish, shape)
        self._parts.append(Op(name, kind, tuple(inputs), (name,), options=record_of(kind, options)))
        return name

    def value(self, wish: str, shape: Sequence[int]) -> str:
        """Add a float value that an operator is to compute, and return its name."""
        return self._add(Tensor(self._fresh(wish), tuple(shape), DType.FLOAT32))

    def end(self, kind: str, inputs: Sequence[str | None], options: Mapping[str, Any] | None = None) -> None:
        """Add the operator that computes what the replaced one computed."""
        assert self._op is not None
        self.end_with(Op(self._op.name, kind, tuple(inputs), self._op.outputs, options=record_of(kind, options)))

    def end_with(self, *last: Op) -> None:
        """Likewise, for operators that are made already."""
        assert self._op is not None
        self._replaced[self._op.name] = (*self._parts, *last)
        self._op = None

    def reshaped(self, source: str, shape: Sequence[int], wish: str) -> str:
        """A RESHAPE, and its result's name."""
        return self.op(
            "RESHAPE", [source, self.constant(f"{wish}/shape", list(shape))], shape, wish, {"new_shape": tuple(shape)}
        )

    def end_reshaped(self, source: str) -> None:
        """End with a RESHAPE to the shape of what the replaced operator computed."""
        assert self._op is not None
        shape = self.graph.tensors[self._op.outputs[0]].shape
        target = self.constant("shape", np.array(shape, np.int32))
        self.end("RESHAPE", [source, target], {"new_shape": shape})

    def finished(self) -> Graph:
        """The graph with everything replaced; the same object if there is nothing."""
        if not self._replaced:
            return self.graph
        return self.graph.edit(replace_ops=self._replaced, tensors=self._tensors.values())

    def _add(self, tensor: Tensor) -> str:
        self._tensors[tensor.name] = tensor
        return tensor.name

    def _fresh(self, wish: str) -> str:
        assert self._op is not None
        return self.graph.fresh_name(f"{self._op.outputs[0]}/{wish}", self._tensors)


def rewritten(
    graph: Graph,
    only: Container[str] | None,
    refusal: Callable[[Graph, Op], str | None],
    form: Callable[[Draft, Op], None],
) -> Graph:
    """The graph with `form` applied to every operator that is not refused.

    Args:
        graph: the graph.
        only: names of operators; None for all.
        refusal: why an operator is left as it is.
        form: writes what takes its place, from the first part to `Draft.end`.
    """
    draft = Draft(graph)
    for op in graph.ops:
        if (only is None or op.name in only) and refusal(graph, op) is None:
            draft.begin(op)
            form(draft, op)
    return draft.finished()


def shape_of(graph: Graph, op: Op, index: int = 0) -> tuple[int, ...]:
    """The shape of an operand that is there."""
    name = op.inputs[index]
    assert name is not None
    return graph.tensors[name].shape


def full(value: float, shape: Sequence[int] = ()) -> Array:
    """One value in float32, in any shape."""
    return np.full(tuple(shape), value, np.float32)


def without_activation(op: Op) -> Op:
    """The operator without its fused activation function."""
    assert op.options is not None
    return replace(op, options=op.options.with_fields(fused_activation_function=0))


def record_of(kind: str, options: Mapping[str, Any] | None = None) -> Record | None:
    """The options table of an operator; None for one that has none."""
    table = options_type(kind)
    return None if table is None else Record(table, tuple((options or {}).items()))
