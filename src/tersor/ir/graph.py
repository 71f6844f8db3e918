"""The central object: a network as frozen values.

A `Model` holds `Graph`s, a graph holds `Op`s and `Tensor`s, and edges are tensor names, unique in their graph.
Nothing is ever changed in place: `Graph.edit` returns a new graph that shares all the big arrays with the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from tersor.errors import GraphError
from tersor.ir.dtypes import DType
from tersor.ir.normal import Normal
from tersor.ir.quant import QuantParams

if TYPE_CHECKING:  # a fiftieth of a second
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Record:
    """A table of the file schema, as a value: its type's name and its fields in snake_case.

    Field values are None, bool, int, float, str, bytes, tuples of these, or further records.
    """

    type: str
    fields: tuple[tuple[str, Any], ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, or `default` where the record has no such field."""
        for key, value in self.fields:
            if key == name:
                return value
        return default

    def with_fields(self, **changes: Any) -> Record:
        """A copy with some fields set."""
        merged = dict(self.fields) | changes
        return Record(self.type, tuple(merged.items()))


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph: an activation, a constant, or a variable.

    Attributes:
        name: unique in the graph.
        shape: sizes; a dimension left open has the size the file states for allocation (usually 1).
        dtype: element type.
        data: the constant's values, read-only, or None for a value computed at run time. Shape `shape`, except for
            packed, string and sparse constants, which are kept as their flat bytes (uint8).
        quant: the quantization, if any.
        open_shape: the shape with -1 for open dimensions, or None where all are fixed.
        is_variable: state that persists between runs (recurrent networks).
        sparsity: the encoding of a sparse constant.
        recorded_range: (minimums, maximums) that a file may carry beside the scales.
        normal: how the channels spread in training, where a batch normalization says so; not in any `.tflite` file.
        extra: what the schema knows of a tensor and tersor does not use; carried along.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    data: Array | None = None
    quant: QuantParams | None = None
    open_shape: tuple[int, ...] | None = None
    is_variable: bool = False
    sparsity: Record | None = None
    recorded_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    normal: Normal | None = None
    extra: Record | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tensor):
            return NotImplemented
        mine, theirs = _scalar_fields(self), _scalar_fields(other)
        return mine == theirs and _equal_data(self.data, other.data)

    def __hash__(self) -> int:
        return hash((self.name, self.shape, self.dtype))

    @property
    def is_constant(self) -> bool:
        """Whether the values lie in the model."""
        return self.data is not None

    @property
    def elements(self) -> int:
        """The number of values."""
        return prod(self.shape)

    @property
    def byte_size(self) -> int:
        """Bytes of the values: in the file for a constant, in the arena for others (0 where unknown)."""
        if self.data is not None:
            return self.data.nbytes
        return self.dtype.byte_size(self.elements) or 0

    def with_data(self, data: Array, **changes: Any) -> Tensor:
        """A copy that holds `data`, made read-only."""
        data.flags.writeable = False
        return replace(self, data=data, **changes)


@dataclass(frozen=True)
class Op:
    """One operator of a graph.

    Attributes:
        name: unique in the graph; by default the name of its first output.
        kind: the builtin operator's name, as `CONV_2D`, or `CUSTOM`.
        inputs: tensor names; None for an optional operand that is left out.
        outputs: tensor names.
        options: the operator's options table.
        version: the operator version, which states the features that are used.
        custom_code: the name of a custom operator.
        custom_options: the bytes a custom operator is configured with.
        intermediates: tensors with the ranges of values inside a fused operator (LSTM).
        extra: what the schema knows of an operator and tersor does not use; carried along.
    """

    name: str
    kind: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    options: Record | None = None
    version: int = 1
    custom_code: str | None = None
    custom_options: bytes | None = None
    intermediates: tuple[str | None, ...] = ()
    extra: Record | None = None

    def option(self, name: str, default: Any = None) -> Any:
        """The value of one option, or `default` where the operator has no such option."""
        return default if self.options is None else self.options.get(name, default)

    @property
    def present_inputs(self) -> tuple[str, ...]:
        """The operands that are given."""
        inputs: Any = self.inputs
        return inputs if None not in inputs else tuple(name for name in inputs if name is not None)

    @property
    def label(self) -> str:
        """The operator's kind as a person reads it: the custom operator's own name where it is one."""
        return self.custom_code or self.kind


@dataclass(frozen=True)
class Graph:
    """Operators in an order in which they can run, and the tensors between them."""

    name: str
    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    extra: Record | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Graph, (self.name, dict(self.tensors), self.ops, self.inputs, self.outputs, self.extra))

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name. Raises GraphError if there is none."""
        try:
            return self.tensors[name]
        except KeyError:
            raise GraphError(f"graph {self.name!r} has no tensor {name!r}") from None

    @cached_property
    def producers(self) -> Mapping[str, Op]:
        """For each computed tensor, the operator that writes it."""
        return {name: op for op in self.ops for name in op.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Op, ...]]:
        """For each tensor that is read by operators, these operators in order."""
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for name in dict.fromkeys(op.present_inputs):
                found.setdefault(name, []).append(op)
        return {name: tuple(ops) for name, ops in found.items()}

    def sole_reader(self, name: str) -> Op | None:
        """The one operator that reads a value, once; None if there are others or the value is an output."""
        readers = self.consumers.get(name, ())
        if len(readers) != 1 or name in self.outputs or readers[0].present_inputs.count(name) != 1:
            return None
        return readers[0]

    def operand(self, op: Op, index: int) -> Tensor | None:
        """The tensor of operand `index`, or None if the operator was not given one."""
        if index >= len(op.inputs):
            return None
        name = op.inputs[index]
        return None if name is None else self.tensors[name]

    def fresh_name(self, wish: str, taken: Iterable[str] = ()) -> str:
        """`wish`, or `wish` with the first number that makes it unique among the tensors and `taken`."""
        taken = set(taken)
        name, number = wish, 2
        while name in self.tensors or name in taken:
            name, number = f"{wish}_{number}", number + 1
        return name

    def edit(
        self,
        *,
        replace_ops: Mapping[str, Sequence[Op]] | None = None,
        prepend: Sequence[Op] = (),
        append: Sequence[Op] = (),
        tensors: Iterable[Tensor] = (),
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> Graph:
        """A new graph with a batch of changes; the only way to change one.

        Args:
            replace_ops: for an operator's name, the operators that take its place (none removes it).
            prepend: operators to run before all others.
            append: operators to run after all others.
            tensors: tensors to add, or to put in place of those of the same name.
            inputs: the new graph inputs.
            outputs: the new graph outputs.

        Tensors that were in use and no longer are, are dropped. Raises GraphError for an operator that is not there.
        """
        replace_ops, tensors = dict(replace_ops or {}), tuple(tensors)
        ops: list[Op] = list(prepend)
        for op in self.ops:
            ops.extend(replace_ops.pop(op.name, (op,)))
        ops.extend(append)
        if replace_ops:
            raise GraphError(f"graph {self.name!r} has no operator {next(iter(replace_ops))!r} to replace")
        table = dict(self.tensors) | {tensor.name: tensor for tensor in tensors}
        edited = Graph(
            self.name,
            table,
            tuple(ops),
            self.inputs if inputs is None else tuple(inputs),
            self.outputs if outputs is None else tuple(outputs),
            self.extra,
        )
        dropped = (self.used_tensors | {t.name for t in tensors}) - edited.used_tensors
        if not dropped:
            return edited
        return replace(edited, tensors={name: t for name, t in table.items() if name not in dropped})

    def subgraph(self, ops: Sequence[Op], outputs: Sequence[str]) -> Graph:
        """Some operators as a graph of their own; its inputs are the values that they read and do not compute.

        Args:
            ops: operators of this graph, in order.
            outputs: values that they compute.
        """
        computed = {name for op in ops for name in op.outputs}
        read = dict.fromkeys(name for op in ops for name in op.present_inputs if name not in computed)
        inputs = tuple(name for name in read if not (self.tensors[name].is_constant or self.tensors[name].is_variable))
        part = Graph(self.name, self.tensors, tuple(ops), inputs, tuple(outputs))
        return replace(part, tensors={name: self.tensors[name] for name in self.tensors if name in part.used_tensors})

    def pruned(self) -> Graph:
        """The graph without constants that nothing mentions; the same object if there are none."""
        kept = {name: item for name, item in self.tensors.items() if name in self.used_tensors or not item.is_constant}
        return self if len(kept) == len(self.tensors) else replace(self, tensors=kept)

    @cached_property
    def used_tensors(self) -> frozenset[str]:
        """Names of all tensors that an operator or the graph's interface mentions."""
        used = {*self.inputs, *self.outputs}
        for op in self.ops:
            used.update(op.present_inputs, op.outputs)
            used.update(name for name in op.intermediates if name is not None)
        for tensor in self.tensors.values():
            if tensor.quant is not None and tensor.quant.axis is not None:
                granularity = tensor.quant.granularity
                for attribute in ("scales_tensor", "zero_points_tensor"):
                    name = getattr(granularity, attribute, None)
                    if name is not None:
                        used.add(name)
        return frozenset(used)


@dataclass(frozen=True)
class Signature:
    """A named entry point: names for the inputs and outputs of one graph."""

    key: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    graph: int = 0


@dataclass(frozen=True)
class Model:
    """A whole model file.

    Attributes:
        graphs: the first one is what runs.
        description: free text.
        signatures: named entry points.
        metadata: names and bytes, such as the LiteRT metadata flatbuffer.
        attachments: names and bytes of the files that a zip archive behind the model holds (labels, vocabularies).
        schema_version: of the file format.
        extra: what the schema knows of a model and tersor does not use; carried along.
        source: where it was read from, for messages.
    """

    graphs: tuple[Graph, ...]
    description: str = ""
    signatures: tuple[Signature, ...] = ()
    metadata: tuple[tuple[str, bytes], ...] = ()
    attachments: tuple[tuple[str, bytes], ...] = ()
    schema_version: int = 3
    extra: Record | None = None
    source: str = field(default="", compare=False)

    @property
    def graph(self) -> Graph:
        """The graph that runs when the model is run."""
        return self.graphs[0]

    def with_graph(self, graph: Graph) -> Model:
        """A copy with another main graph; it is no longer what lies in the file."""
        return replace(self, graphs=(graph, *self.graphs[1:]), source="")


def _scalar_fields(tensor: Tensor) -> tuple[Any, ...]:
    return (
        tensor.name,
        tensor.shape,
        tensor.dtype,
        tensor.quant,
        tensor.open_shape,
        tensor.is_variable,
        tensor.sparsity,
        tensor.recorded_range,
        tensor.normal,
        tensor.extra,
    )


def _equal_data(mine: Array | None, theirs: Array | None) -> bool:
    if mine is theirs:
        return True
    if mine is None or theirs is None or mine.dtype != theirs.dtype or mine.shape != theirs.shape:
        return False
    return mine.tobytes() == theirs.tobytes()
