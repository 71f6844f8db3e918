"""What a layer's function gets: the layer, the tensors it is called with, and how to emit operators for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: its class and configuration.
        name: what its result is called: the layer's name, behind those of the models it lies in.
        builder: takes the operators.
        args: the positional arguments; tensors are names.
        kwargs: likewise.
        weights: the layer's arrays.
        generation: of Keras: 2 or 3. Some defaults changed.
    """

    layer: Layer
    name: str
    builder: Builder
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    weights: Weights
    generation: int

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

    def inputs(self) -> list[str]:
        """The tensors that the layer is called with."""
        others = [*self.args[1:], *list(self.kwargs.values())[0 if self.args else 1 :]]
        if any(isinstance(item, str | list) and self._is_tensors(item) for item in others):
            raise self.refused("it is called with further tensors, which are not read")
        first = self.args[0] if self.args else next(iter(self.kwargs.values()), None)
        found = first if isinstance(first, list) else [first]
        tensors = [item for item in found if isinstance(item, str)]
        if not tensors or len(tensors) != len(found):
            raise self.refused("it is not called with tensors")
        return tensors

    def _is_tensors(self, value: Any) -> bool:
        return any(isinstance(item, str) for item in (value if isinstance(value, list) else [value]))

    def input(self, *ranks: int) -> str:
        """The one tensor that the layer is called with. Raises if it is not of one of these ranks (any, if none)."""
        found = self.inputs()
        if len(found) != 1:
            raise FormatError(f"{self.where}: called with {len(found)} tensors where it takes one")
        rank = len(self.shape(found[0]))
        if ranks and rank not in ranks:
            wanted = " or ".join(map(str, ranks))
            raise FormatError(f"{self.where}: the input has {rank} dimensions where it takes {wanted}")
        return found[0]

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self.builder.shape_of(tensor)

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
    ) -> str:
        """Emit an operator; without `part` its result is the layer's."""
        if any(size <= 0 for size in shape):
            raise FormatError(f"{self.where}: its result would have the shape {list(shape)}: is the input too small?")
        if np.prod([float(size) for size in shape]) >= ELEMENT_LIMIT:
            raise UnsupportedError(f"{self.where}: its result of shape {list(shape)} is too large for LiteRT")
        name = f"{self.name}/{part}" if part else self.name
        return self.builder.op(kind, inputs, shape, options, version=version, name=name, dtype=DType.FLOAT32)

    def refused(self, reason: str) -> UnsupportedError:
        """The error that says what is not read."""
        return UnsupportedError(f"{self.where}: {reason}")

    def channels_last(self) -> None:
        """Raise UnsupportedError for the other data format."""
        if self.layer.config.get("data_format") == "channels_first":
            raise self.refused("data_format channels_first is not read: build the model with channels_last and save it")

    def no_mask(self) -> None:
        """Raise UnsupportedError if the call passes a mask."""
        if isinstance(self.kwargs.get("mask"), str):
            raise self.refused("it is called with a mask, which is not read")
