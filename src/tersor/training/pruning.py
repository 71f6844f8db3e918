"""What a user wants of pruning, as a value that is read from TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from tersor.errors import RecipeError
from tersor.training.masking import SCHEDULES, Masking, schedule_to_config
from tersor.training.patterns import NofM, Pattern, pattern_of
from tersor.training.schedules import Constant, Schedule

POLICIES = ("all", "for_xnnpack")
SPREADS = ("uniform", "lamp")


@dataclass(frozen=True)
class Pruning:
    """Which weights become zeros, and when.

    Attributes:
        sparsity: the share of zeros in the end; that of an N:M pattern follows from it.
        pattern: "unstructured", "block", or N:M as "2:4" (of 4 weights along the inputs, 2 stay).
        block: outputs and inputs of a block, for the pattern "block"; LiteRT's sparse kernels take [1, 4] in float and
            [1, 16] in int8.
        schedule: `Constant` or `PolynomialDecay`.
        spread: "uniform": every layer has the sparsity; "lamp": all layers together have it, and each as much as its
            weights can do without.
        policy: "all" layers but depthwise ones, which have few weights and need them; or "for_xnnpack": those that
            XNNPACK's sparse kernels take.
        only: names of layers, all others stay dense; empty for those of the policy.
        skip: names of layers that stay dense.
        layers: the sparsity of single layers by name, where it is another one.
    """

    sparsity: float | None = None
    pattern: str = "unstructured"
    block: tuple[int, int] | None = None
    schedule: Schedule = field(default_factory=Constant)
    spread: str = "uniform"
    policy: str = "all"
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    layers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pattern = self.pattern_of_weights
        if isinstance(pattern, NofM):
            if self.sparsity is not None and abs(self.sparsity - pattern.reachable(0)) > 1e-6:
                raise RecipeError(
                    f"sparsity is {self.sparsity}: {pattern} is one of {pattern.reachable(0):g}; leave it"
                )
            if self.spread != "uniform":
                raise RecipeError(f"spread is {self.spread!r}: the sparsity of {pattern} is the same for all layers")
            if self.layers:
                raise RecipeError(f"layers: the sparsity of {pattern} is the same for all; use skip, or only")
        elif self.sparsity is None:
            raise RecipeError("sparsity is missing: the share of zeros in the end, as 0.5")
        for name, share in {"sparsity": self.wanted, **{f"layers.{own}": s for own, s in self.layers.items()}}.items():
            if not 0.0 <= share < 1.0:
                raise RecipeError(f"{name} is {share}: it must be a share of zeros, 0.0 or more and below 1.0")
        _one_of("policy", self.policy, POLICIES)
        _one_of("spread", self.spread, SPREADS)

    @property
    def pattern_of_weights(self) -> Pattern:
        """The pattern itself."""
        return pattern_of(self.pattern, self.block)

    @property
    def wanted(self) -> float:
        """The sparsity that is wanted of the whole."""
        return self.pattern_of_weights.reachable(self.sparsity or 0.0)

    def masking(self, sparsity: float) -> Masking:
        """What becomes of a layer that shall have this sparsity."""
        return Masking(sparsity, self.pattern_of_weights, self.schedule)

    @classmethod
    def parse(cls, table: Mapping[str, Any], source: str = "pruning") -> Pruning:
        """From a TOML table. Raises RecipeError for what it does not know."""
        try:
            _known(table, [item.name for item in fields(cls)])
            values = dict(table)
            if "schedule" in values:
                values["schedule"] = _schedule(values["schedule"])
            if values.get("block") is not None:
                values["block"] = _numbers("block", values["block"])
            for key in ("only", "skip"):
                values[key] = _strings(key, values.get(key, ()))
            for key in ("pattern", "spread", "policy"):
                if not isinstance(values.get(key, ""), str):
                    raise RecipeError(f"{key} is {values[key]!r}: it must be a string")
            if "sparsity" in values:
                values["sparsity"] = _share("sparsity", values["sparsity"])
            layers = values.get("layers", {})
            if not isinstance(layers, Mapping):
                raise RecipeError(f"layers is {layers!r}: it must be a table of names and shares")
            values["layers"] = {name: _share(f"layers.{name}", own) for name, own in layers.items()}
            return cls(**values)
        except RecipeError as error:
            raise RecipeError(f"{source}: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> Pruning:
        """From a TOML file. Raises RecipeError."""
        try:
            return cls.parse(tomllib.loads(Path(path).read_text("utf-8")), str(path))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read: {error}") from error

    def to_table(self) -> dict[str, Any]:
        """What `parse` reads as this value; for TOML, and for JSON."""
        table = {item.name: getattr(self, item.name) for item in fields(self)}
        schedule = schedule_to_config(self.schedule)
        table["schedule"] = {key: own for key, own in schedule.items() if own is not None}
        for key in ("block", "only", "skip"):
            table[key] = None if table[key] is None else list(table[key])
        table["layers"] = dict(self.layers)
        return {key: own for key, own in table.items() if own is not None}


def _schedule(table: Any) -> Schedule:
    if not isinstance(table, Mapping) or table.get("kind") not in SCHEDULES:
        kinds = " or ".join(f"{name!r}" for name in SCHEDULES)
        raise RecipeError(f"schedule is {table!r}: it must be a table whose kind is {kinds}")
    made = SCHEDULES[table["kind"]]
    types = get_type_hints(made)
    _known(table, ("kind", *types), "schedule: ")
    for key, own in table.items():
        number = types.get(key) is float
        if key != "kind" and (not isinstance(own, (int, float) if number else int) or isinstance(own, bool)):
            raise RecipeError(f"schedule: {key} is {own!r}: it must be a {'number' if number else 'step'}")
    try:
        return made(**{key: own for key, own in table.items() if key != "kind"})
    except TypeError:
        raise RecipeError(f"schedule: {table['kind']} needs begin and end, in steps (batches)") from None


def _known(table: Mapping[str, Any], keys: Collection[str], where: str = "") -> None:
    for key in table:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(keys)}"
            raise RecipeError(f"{where}unknown key {key!r}: {hint}")


def _share(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise RecipeError(f"{name} is {value!r}: it must be a share, as 0.5")
    return float(value)


def _strings(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise RecipeError(f"{key} is {value!r}: it must be a list of strings")
    return tuple(value)


def _numbers(key: str, value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or [type(item) for item in value] != [int, int]:
        raise RecipeError(f"{key} is {value!r}: it must be two numbers, [outputs, inputs]")
    return value[0], value[1]


def _one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise RecipeError(f"{key} is {value!r}: it must be one of {', '.join(allowed)}")
