"""What is done to values while a network trains, as values: from a plan, and into a saved model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tersor.ir.dtypes import DType
from tersor.ops import ALL, Range

Noise = tuple[float, tuple[int | None, ...] | None]
"""The rate of a dropout, and the shape in which it is drawn; None for the value's own."""

Penalty = tuple[float, float]
"""On the sum of magnitudes (L1), and on that of squares (L2)."""


@dataclass(frozen=True)
class Value:
    """How one activation is rounded.

    Attributes:
        dtype: INT8 or INT16.
        fixed: scale and zero point, where the kernel fixes them.
        visible: what its readers tell apart.
        bounds: the range to begin with; None to take that of the first batch.
        bits: fewer than 8 for the highest so many integers of INT8 only, the lowest of which is 0: the activation is
            never negative.
        pact: whether its upper end is learned from what lies beyond it alone.
    """

    dtype: DType
    fixed: tuple[float, int] | None = None
    visible: Range = ALL
    bounds: Range | None = None
    bits: int = 8
    pact: bool = False

    @property
    def below(self) -> float:
        """How far the range reaches below 0, in parts of what it reaches above, where it has fewer bits."""
        return (256 - 2**self.bits) / (2**self.bits - 1)

    def to_config(self) -> dict[str, Any]:
        """For JSON."""
        own = {"dtype": self.dtype.value, "fixed": self.fixed, "visible": self.visible, "bounds": self.bounds}
        return own | {"bits": self.bits, "pact": self.pact}

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Value:
        """The way back."""
        fixed, bounds = (None if config[key] is None else tuple(config[key]) for key in ("fixed", "bounds"))
        low, high = config["visible"]
        dtype, visible = DType(config["dtype"]), (float(low), float(high))
        return cls(dtype, fixed, visible, bounds, config["bits"], config["pact"])


@dataclass(frozen=True)
class Scheme:
    """How an operator's constants are rounded.

    Attributes:
        weights: the type of a layer's weights; None to leave them in float.
        per_channel: whether they have a scale per channel.
        data: types of further constant operands, by their index.
        quantizer: what rounds the weights, as Keras serialises it; None for equal steps up to the largest.
    """

    weights: DType | None = None
    per_channel: bool = True
    data: Mapping[int, DType] = field(default_factory=dict)
    quantizer: Mapping[str, Any] | None = None

    def to_config(self) -> dict[str, Any]:
        """For JSON."""
        data = {str(index): dtype.value for index, dtype in self.data.items()}
        weights = self.weights and self.weights.value
        return {"weights": weights, "per_channel": self.per_channel, "data": data, "quantizer": self.quantizer}

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Scheme:
        """The way back."""
        weights = None if config["weights"] is None else DType(config["weights"])
        data = {int(index): DType(own) for index, own in config["data"].items()}
        return cls(weights, config["per_channel"], data, config["quantizer"])


NOTHING = Scheme()


@dataclass(frozen=True)
class Rounding:
    """What is rounded, and what else is done in training; nothing by default.

    Attributes:
        values: activations, by name.
        groups: names of activations that share a scale.
        operands: activations that one operator reads in other numbers than they have, by its name and the operand's
            index: those of the value of that name, or numbers of their own.
        schemes: by operator.
        learned: whether ranges are learned by their gradients instead of followed.
        noise: dropout, by the value that it is put on (`carried`).
        penalties: on kernels, by operator.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    groups: tuple[tuple[str, ...], ...] = ()
    operands: Mapping[tuple[str, int], str | Value] = field(default_factory=dict)
    schemes: Mapping[str, Scheme] = field(default_factory=dict)
    learned: bool = False
    noise: Mapping[str, Noise] = field(default_factory=dict)
    penalties: Mapping[str, Penalty] = field(default_factory=dict)

    def to_config(self) -> dict[str, Any]:
        """For JSON."""
        operands = [[*key, own if isinstance(own, str) else own.to_config()] for key, own in self.operands.items()]
        return {
            "values": {name: own.to_config() for name, own in self.values.items()},
            "groups": [list(names) for names in self.groups],
            "operands": operands,
            "schemes": {name: own.to_config() for name, own in self.schemes.items()},
            "learned": self.learned,
            "noise": {name: [rate, shape and list(shape)] for name, (rate, shape) in self.noise.items()},
            "penalties": {name: list(own) for name, own in self.penalties.items()},
        }

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Rounding:
        """The way back."""
        return cls(
            {name: Value.of_config(own) for name, own in config["values"].items()},
            tuple(tuple(names) for names in config["groups"]),
            {
                (name, int(index)): own if isinstance(own, str) else Value.of_config(own)
                for name, index, own in config["operands"]
            },
            {name: Scheme.of_config(own) for name, own in config["schemes"].items()},
            bool(config["learned"]),
            {name: (float(rate), shape and tuple(shape)) for name, (rate, shape) in config["noise"].items()},
            {name: (float(first), float(second)) for name, (first, second) in config["penalties"].items()},
        )
