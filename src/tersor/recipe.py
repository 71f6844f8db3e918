"""What the user wants, as a value that is written in TOML.

A recipe says which numbers a model shall compute with, not how to get there; the planner decides that per tensor and
says why. Presets lie in `tersor/presets`; their file names are the flavours of ``tersor quantize --as``.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.numerics.affine import WEIGHT_OBSERVERS

ACTIVATIONS = (DType.FLOAT32, DType.INT8, DType.INT16)
WEIGHTS = (DType.FLOAT32, DType.FLOAT16, DType.INT8, DType.INT4, DType.INT2)
INTERFACES = (DType.FLOAT32, DType.INT8, DType.UINT8, DType.INT16)
COMPUTE = ("integer", "dynamic", "float")
GRANULARITIES = ("per_channel", "per_tensor")


@dataclass(frozen=True, slots=True)
class Scheme:
    """The numbers one operator works with.

    Attributes:
        activations: float32, int8 or int16.
        weights: float32, float16, int8, int4 or int2; where no kernel takes so few bits, the next larger type is meant.
        granularity: "per_channel" or "per_tensor" scales of weights.
        compute: "integer"; "dynamic" (activations are quantized on the fly by the hybrid kernels); "float" (weights are
            restored to float before use).
    """

    activations: DType = DType.FLOAT32
    weights: DType = DType.FLOAT32
    granularity: str = "per_channel"
    compute: str = "float"

    def __post_init__(self) -> None:
        _one_of("activations", self.activations, ACTIVATIONS)
        _one_of("weights", self.weights, WEIGHTS)
        _one_of("granularity", self.granularity, GRANULARITIES)
        _one_of("compute", self.compute, COMPUTE)
        integer = self.activations is not DType.FLOAT32
        if integer != (self.compute == "integer"):
            raise RecipeError(f"activations {self.activations} do not go with compute {self.compute!r}")
        if integer and self.weights not in (DType.INT8, DType.INT4, DType.INT2):
            raise RecipeError(f"activations {self.activations} need weights int8, int4 or int2, not {self.weights}")
        if not integer and self.weights is DType.INT2:
            raise RecipeError("weights int2 need activations int8: what restores weights to float takes none of 2 bits")
        if self.compute == "dynamic" and self.weights is not DType.INT8:
            raise RecipeError(f"compute 'dynamic' needs weights int8, not {self.weights}")


@dataclass(frozen=True, slots=True)
class Rule:
    """An exception for some operators: those that match every condition given get other numbers.

    Attributes:
        scheme: fields of `Scheme` to change, with their new values.
        operators: operator kinds, e.g. ("SOFTMAX",); empty for all.
        names: tensor or layer names of the operators' results; empty for all.
        pattern: a regular expression searched in the result's name; empty for all.
    """

    scheme: tuple[tuple[str, str], ...]
    operators: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    pattern: str = ""

    def matches(self, kind: str, name: str) -> bool:
        """Whether the rule speaks of an operator of this kind and name."""
        if self.operators and kind not in self.operators:
            return False
        if self.names and name not in self.names:
            return False
        return re.search(self.pattern, name) is not None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole wish.

    Attributes:
        name: what it is called in tables.
        scheme: the numbers of all operators that no rule speaks of.
        interface: the type of the model's float inputs and outputs in the result.
        float_fallback: whether operators without an integer kernel may stay in float.
        observer: the observer of activations, a file name of `observers`.
        weight_observer: how the ranges of weights are chosen, "min_max" or "mse"; layers with state keep "min_max".
        algorithms: what is done about rounding, file names of `algorithms` in the order of their application.
        algorithms_without_data: likewise where there is no data, for recipes that need none.
        fan_in_limit: algorithms that need the covariance of a layer's inputs leave layers with more inputs alone.
        per_tensor_algorithms: the algorithms where one scale per weight tensor is asked for; empty for the same.
        per_tensor_fan_in_limit: the limit for these.
        minimum_elements: weights with fewer values stay in float where compute is not "integer".
        small_layers_share: where weights have 4 bits, the smallest layers, which together hold no more than this share
            of them, keep 8.
        target: whose accelerator is to run it, a file name of `targets`: what that does not take is rewritten first;
            empty for none.
        split: cut the result in files for the target: what its accelerator runs, in integers, and what the CPU runs, in
            float.
        finetune: train what was made by all this on the calibration samples, against the float model.
        rules: exceptions; the last that matches wins.
    """

    name: str
    scheme: Scheme = field(default_factory=Scheme)
    interface: DType = DType.FLOAT32
    float_fallback: bool = True
    observer: str = "percentile"
    weight_observer: str = "min_max"
    algorithms: tuple[str, ...] = ()
    algorithms_without_data: tuple[str, ...] = ()
    fan_in_limit: int = 64
    per_tensor_algorithms: tuple[str, ...] = ()
    per_tensor_fan_in_limit: int = 64
    minimum_elements: int = 1024
    small_layers_share: float = 0.0
    target: str = ""
    split: bool = False
    finetune: bool = False
    rules: tuple[Rule, ...] = field(default=())

    def __post_init__(self) -> None:
        _one_of("interface", self.interface, INTERFACES)
        _one_of("weight_observer", self.weight_observer, WEIGHT_OBSERVERS)
        if not 0.0 <= self.small_layers_share <= 1.0:
            raise RecipeError(f"small_layers_share is {self.small_layers_share}: it must be a share, 0.0 to 1.0")
        if self.split and not self.target:
            raise RecipeError("split = true needs a target: it says for whose accelerator the network is cut")

    def scheme_of(self, kind: str, name: str) -> Scheme:
        """The numbers wanted for one operator."""
        if not self.rules:
            return self.scheme
        values: dict[str, Any] = asdict(self.scheme)
        for rule in self.rules:
            if rule.matches(kind, name):
                values |= dict(rule.scheme)
        return _scheme(values, f"the rule for {kind} {name!r}")

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations are needed."""
        if self.scheme.activations is not DType.FLOAT32:
            return True
        return any(dict(rule.scheme).get("activations", "float32") != "float32" for rule in self.rules)


_FLOAT_FIELDS = {"activations": "float32", "weights": "float32", "compute": "float"}


def left_in_float(names: tuple[str, ...]) -> Rule:
    """The rule that operators with results of these names compute in float."""
    return Rule(tuple(_FLOAT_FIELDS.items()), names=names)


def presets() -> list[str]:
    """The names of the recipes that ship."""
    folder = importlib.resources.files("tersor.presets")
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A preset by name, or a recipe file. Raises RecipeError."""
    name = str(name_or_path)
    if name in presets():
        return parse_recipe((importlib.resources.files("tersor.presets") / f"{name}.toml").read_text("utf-8"), name)
    path = Path(name)
    if path.suffix != ".toml":
        raise RecipeError(f"unknown flavour {name!r}: there are {', '.join(presets())}, or the path of a .toml recipe")
    try:
        return parse_recipe(path.read_text("utf-8"), path.stem, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error


def adjusted(
    recipe: Recipe,
    *,
    observer: str | None = None,
    per_tensor: bool = False,
    interface: str | None = None,
    allow_float: bool = False,
    keep_float: Sequence[str] = (),
    algorithms: Sequence[str] | None = None,
    finetune: bool = False,
) -> Recipe:
    """A recipe with single wishes changed; those not given stay.

    Args:
        recipe: what to start from.
        observer: another observer.
        per_tensor: one scale per weight tensor, with the recipe's algorithms for it.
        interface: another type of the model's inputs and outputs; ignored by recipes that quantize no activations.
        allow_float: let operators without an integer kernel stay in float.
        keep_float: operator kinds, or regular expressions of result names, to leave in float (which allows it).
        algorithms: other algorithms; ignored by recipes that have none and quantize no activations.
        finetune: train the result, too; ignored by recipes that quantize no activations.

    Raises RecipeError.
    """
    changes: dict[str, Any] = {}
    if observer is not None:
        changes["observer"] = observer
    if per_tensor:
        changes["scheme"] = replace(recipe.scheme, granularity="per_tensor")
        if recipe.per_tensor_algorithms:
            changes["algorithms"] = recipe.per_tensor_algorithms
            changes["fan_in_limit"] = recipe.per_tensor_fan_in_limit
    if algorithms is not None and (recipe.algorithms or recipe.algorithms_without_data or recipe.needs_calibration):
        changes["algorithms"] = tuple(algorithms)
        changes["algorithms_without_data"] = () if recipe.needs_calibration else tuple(algorithms)
    if finetune and recipe.needs_calibration:
        changes["finetune"] = True
    if interface is not None and recipe.needs_calibration:
        changes["interface"] = _dtype("--io", interface)
    if allow_float or keep_float:
        changes["float_fallback"] = True
    added = tuple(
        Rule(tuple(_FLOAT_FIELDS.items()), operators=(wish,))
        if re.fullmatch(r"[A-Z0-9_]+", wish)
        else _rule({"pattern": wish} | _FLOAT_FIELDS)
        for wish in keep_float
    )
    return replace(recipe, rules=recipe.rules + added, **changes)


def parse_recipe(text: str, name: str, source: str = "recipe", *, beside: Sequence[str] = ()) -> Recipe:
    """A recipe from TOML. Raises RecipeError that names the wrong key.

    Args:
        text: TOML.
        name: of the recipe, unless it has one.
        source: for messages.
        beside: tables that are for somebody else.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{source}: not TOML: {error}") from error
    for other in beside:
        table.pop(other, None)
    try:
        rules = tuple(_rule(item) for item in table.pop("rules", []))
        scheme_keys = {item.name for item in fields(Scheme)}
        scheme = _scheme({key: table.pop(key) for key in list(table) if key in scheme_keys}, source)
        known = {item.name for item in fields(Recipe)} - {"scheme", "rules"}
        unknown = sorted(set(table) - known)
        if unknown:
            raise RecipeError(f"unknown key {unknown[0]!r}: there are {', '.join(sorted(known | scheme_keys))}, rules")
        _check_types(table)
        table["interface"] = _dtype("interface", table.get("interface", "float32"))
        for key in ("algorithms", "algorithms_without_data", "per_tensor_algorithms"):
            table[key] = _strings(key, table.get(key, []))
        recipe = Recipe(**{"name": name, "scheme": scheme, "rules": rules, **table})
        for rule in rules:
            recipe.scheme_of("", rule.names[0] if rule.names else "")
        return recipe
    except (RecipeError, TypeError, AttributeError) as error:
        raise RecipeError(f"{source}: {error}") from error


def to_toml(recipe: Recipe, remarks: Sequence[str] = ()) -> str:
    """The text that `parse_recipe` reads as this recipe; remarks become comments at its head."""
    scheme = {item.name: getattr(recipe.scheme, item.name) for item in fields(Scheme)}
    others = {item.name: getattr(recipe, item.name) for item in fields(Recipe) if item.name not in ("scheme", "rules")}
    name = {"name": others.pop("name")} if re.fullmatch(_NAME, recipe.name) else {}
    others.pop("name", None)
    lines = [f"# {re.sub(_CONTROL, ' ', remark)}" for remark in remarks]
    lines += [f"{key} = {_toml(value)}" for key, value in (name | scheme | others).items()]
    for rule in recipe.rules:
        conditions = {"operators": rule.operators, "names": rule.names, "pattern": rule.pattern}
        given = {key: value for key, value in conditions.items() if value} | dict(rule.scheme)
        lines += ["", "[[rules]]", *(f"{key} = {_toml(value)}" for key, value in given.items())]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A value of a recipe in TOML, whose strings are JSON's but for one control character."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


_CONTROL = "[\x00-\x1f\x7f]"
"""Characters that a comment of TOML must not hold; line ends among them."""

_NAME = r"[\w.-]+"
"""What a recipe may be called: the name becomes part of a file's."""

_TYPES = {
    "name": str,
    "float_fallback": bool,
    "observer": str,
    "weight_observer": str,
    "fan_in_limit": int,
    "per_tensor_fan_in_limit": int,
    "minimum_elements": int,
    "small_layers_share": float,
    "target": str,
    "split": bool,
    "finetune": bool,
}


def _check_types(table: dict[str, Any]) -> None:
    for key, kind in _TYPES.items():
        if key in table and type(table[key]) is not kind:
            raise RecipeError(f"{key} is {table[key]!r}: it must be a {kind.__name__}")
    if not re.fullmatch(_NAME, table.get("name", "_")):
        raise RecipeError(f"name is {table['name']!r}: it becomes part of a file's name")


def _rule(table: dict[str, Any]) -> Rule:
    operators, names = (_strings(key, table.pop(key, [])) for key in ("operators", "names"))
    pattern = table.pop("pattern", "")
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise RecipeError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    _scheme(asdict(Scheme(DType.INT8, DType.INT8, "per_channel", "integer")) | _completed(table), "rule")
    return Rule(tuple(_completed(table).items()), operators, names, pattern)


def _strings(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RecipeError(f"{key} is {value!r}: it must be a list of strings")
    return tuple(value)


def _completed(table: dict[str, Any]) -> dict[str, Any]:
    """A rule that only says `activations = "float32"` means: leave these operators as they are."""
    if table.get("activations") == "float32" and len(table) == 1:
        return dict(_FLOAT_FIELDS)
    return table


def _scheme(values: dict[str, Any], where: str) -> Scheme:
    unknown = sorted(set(values) - {item.name for item in fields(Scheme)})
    if unknown:
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}")
    typed: dict[str, Any] = {
        key: _dtype(key, value) if key in ("activations", "weights") else value for key, value in values.items()
    }
    return Scheme(**typed)


def _dtype(key: str, value: Any) -> DType:
    try:
        return DType(value)
    except ValueError:
        raise RecipeError(f"{key}: unknown type {value!r}") from None


def _one_of(key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise RecipeError(f"{key} is {value}: it must be one of {', '.join(str(item) for item in allowed)}")
