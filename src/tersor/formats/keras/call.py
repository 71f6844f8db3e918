"""What a layer's function gets: the layer, the tensors it is called with, and how to emit operators for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tersor.errors import FormatError, UnsupportedError
from tersor.formats.keras.config import Layer
from tersor.formats.keras.weights import Shapes, Weights
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array

ELEMENT_LIMIT = 1 << 31
"""Values of one tensor; LiteRT counts bytes in 32 bits in places."""

REQUIRED = object()


class Edge(str):
    """The name of a tensor among arguments, which tells it from words."""

    __slots__ = ()


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: its class and configuration.
        name: what its result is called: the layer's name, behind those of the models it lies in.
        builder: takes the operators.
        args: the positional arguments; tensors are `Edge`s.
        kwargs: likewise.
        weights: the layer's arrays.
        generation: of Keras: 2 or 3. Some defaults changed.
        masks: for tensors that carry a mask of positions, what emits it; shared by all calls of a model.
        enter: emits the call of a layer inside this one and returns its results.
    """

    layer: Layer
    name: str
    builder: Builder
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    weights: Weights
    generation: int
    masks: MutableMapping[str, Callable[[], str]]
    enter: Callable[[Call], list[str]]

    @property
    def where(self) -> str:
        """The layer in messages."""
        return f"layer {self.name!r} ({self.layer.kind})"

    def option(self, key: str, default: Any = REQUIRED) -> Any:
        """A value of the configuration. Raises FormatError if it is required and not there."""
        value = self.layer.config.get(key, default)
        if value is REQUIRED:
            raise FormatError(f"{self.where}: the configuration has no {key}")
        return value

    def size(self, key: str) -> int:
        """A positive integer of the configuration."""
        value = self.option(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < ELEMENT_LIMIT:
            raise FormatError(f"{self.where}: {key} is {value!r}, not a positive integer")
        return value

    def sizes(self, key: str, rank: int, default: Any = REQUIRED) -> tuple[int, ...]:
        """`rank` positive integers of the configuration; one number stands for all."""
        value = self.option(key, default)
        values = [value] * rank if isinstance(value, int) else value
        if not isinstance(values, list | tuple) or len(values) != rank:
            raise FormatError(f"{self.where}: {key} is {value!r}, not {rank} integers")
        if not all(isinstance(item, int) and 0 < item < ELEMENT_LIMIT for item in values):
            raise FormatError(f"{self.where}: {key} is {value!r}, not {rank} positive integers")
        return tuple(values)

    def inputs(self, others: Sequence[str] = ()) -> list[str]:
        """The tensors that the layer is called with; `others` names keyword arguments that it reads itself."""
        rest = [*self.args[1:], *[item for key, item in self._rest() if key not in ("mask", *others)]]
        if any(self._is_tensors(item) for item in rest):
            raise self.refused("it is called with further tensors, which are not read")
        first = self.args[0] if self.args else next(iter(self.kwargs.values()), None)
        found = first if isinstance(first, list) else [first]
        tensors = [str(item) for item in found if isinstance(item, Edge)]
        if not tensors or len(tensors) != len(found):
            raise self.refused("it is not called with tensors")
        return tensors

    def _rest(self) -> list[tuple[str, Any]]:
        return list(self.kwargs.items())[0 if self.args else 1 :]

    def _is_tensors(self, value: Any) -> bool:
        return any(isinstance(item, Edge) for item in (value if isinstance(value, list) else [value]))

    def input(self, *ranks: int, others: Sequence[str] = ()) -> str:
        """The one tensor of real numbers that the layer is called with.

        Raises:
            FormatError: it is not of one of these ranks (any, if none).
            UnsupportedError: it is of integers.
        """
        tensor = self.any_input(*ranks, others=others)
        if self.builder.dtype_of(tensor) is not DType.FLOAT32:
            raise self.refused(f"its input is of the type {self.builder.dtype_of(tensor)}, and only float32 is read")
        return tensor

    def any_input(self, *ranks: int, others: Sequence[str] = ()) -> str:
        """The one tensor that the layer is called with, whatever its type; see `input`."""
        found = self.inputs(others)
        if len(found) != 1:
            raise FormatError(f"{self.where}: called with {len(found)} tensors where it takes one")
        rank = len(self.shape(found[0]))
        if ranks and rank not in ranks:
            wanted = " or ".join(map(str, ranks))
            raise FormatError(f"{self.where}: the input has {rank} dimensions where it takes {wanted}")
        return found[0]

    def real_input(self, *ranks: int) -> str:
        """The one tensor that the layer is called with, integers converted to float32."""
        tensor = self.any_input(*ranks)
        if self.builder.dtype_of(tensor) is DType.FLOAT32:
            return tensor
        return self.op("CAST", [tensor], self.shape(tensor), None, "real", dtype=DType.FLOAT32)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self.builder.shape_of(tensor)

    def batch(self, tensor: str) -> int:
        """How many samples a tensor has."""
        return self.shape(tensor)[0]

    def inside(self, layer: Layer, part: str, steps: tuple[str, ...], tensor: str, **kwargs: Any) -> Call:
        """A call, with a tensor, of a layer inside this one; see `Weights.inside` for `part` and `steps`."""
        name, weights = f"{self.name}/{layer.name}", self.weights.inside(part, *steps)
        return replace(self, layer=layer, name=name, args=(Edge(tensor),), kwargs=kwargs, weights=weights)

    def at(self, part: str) -> Call:
        """The same call, whose results are named after a part of it."""
        return replace(self, name=f"{self.name}/{part}")

    def take(self, shapes: Shapes, part: str = "") -> dict[str, Array]:
        """The layer's arrays by name; see `Weights.take`."""
        return self.weights.take(self.where, shapes, part)

    def constant(self, part: str, values: Any) -> str:
        """A constant named after the layer."""
        return self.builder.constant(f"{self.name}/{part}", values)

    def integers(self, part: str, values: Sequence[int] | Sequence[Sequence[int]]) -> str:
        """An int32 constant: axes, a shape, paddings."""
        return self.constant(part, np.array(values, np.int32))

    def op(
        self,
        kind: str,
        inputs: Sequence[str | None],
        shape: Sequence[int],
        options: Mapping[str, Any] | None = None,
        part: str = "",
        version: int = 1,
        dtype: DType | None = None,
    ) -> str:
        """Emit an operator; without `part` its result is the layer's. Its type is that of the first operand."""
        return self.op_with(kind, inputs, [shape], options, part, version, dtype)[0]

    def op_with(
        self,
        kind: str,
        inputs: Sequence[str | None],
        shapes: Sequence[Sequence[int]],
        options: Mapping[str, Any] | None = None,
        part: str = "",
        version: int = 1,
        dtype: DType | None = None,
    ) -> tuple[str, ...]:
        """Emit an operator with several results; see `op`."""
        for shape in shapes:
            self._check(shape)
        name = f"{self.name}/{part}" if part else self.name
        known = dtype or self.builder.dtype_of(next(item for item in inputs if item is not None))
        results = [(tuple(shape), known) for shape in shapes]
        return self.builder.op_with(kind, inputs, results, options, version=version, name=name)

    def _check(self, shape: Sequence[int]) -> None:
        if any(size <= 0 for size in shape):
            raise FormatError(f"{self.where}: its result would have the shape {list(shape)}: is the input too small?")
        if math.prod(shape) >= ELEMENT_LIMIT:
            raise UnsupportedError(f"{self.where}: its result of shape {list(shape)} is too large for LiteRT")

    def refused(self, reason: str) -> UnsupportedError:
        """The error that says what is not read."""
        return UnsupportedError(f"{self.where}: {reason}")

    def mask(self, tensor: str) -> str | None:
        """The mask that the call passes, or that a tensor carries from an Embedding or Masking before: bool."""
        given = self.kwargs.get("mask")
        if isinstance(given, Edge):
            return str(given)
        emit = self.masks.get(tensor)
        return None if emit is None else emit()

    def no_mask(self, tensor: str) -> None:
        """Raise UnsupportedError if a mask would change the result."""
        if isinstance(self.kwargs.get("mask"), Edge) or tensor in self.masks:
            raise self.refused(
                "its input is masked (by mask_zero, Masking or the argument mask), which is not read: "
                "use sequences of full length, or mask by hand with keras.ops"
            )
