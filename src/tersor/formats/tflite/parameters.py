"""Parameters that a model carries for the program that runs it: names with values, in the metadata `SL_PARAMSv1`.

Source: the dictionary schema and the tag of Silicon Labs' Machine Learning Toolkit (MLTK 0.20,
`core/tflite_model_parameters`), whose tools and firmware read and write the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tersor.errors import FormatError, RecipeError
from tersor.formats.tflite.flatbuffer import Schema, cure, decode, encode
from tersor.formats.tflite.schema import raw
from tersor.ir.graph import Model, Record

NAME = "SL_PARAMSv1"
"""Under which the metadata lie in a model."""

Value = bool | int | float | str | bytes | tuple[str, ...] | tuple[int, ...] | tuple[float, ...]

_VERSION = 1

_MEMBERS: Mapping[str, tuple[str, str]] = {
    "bool": ("BoolValue", "bool"),
    "int8": ("Int8Value", "int8"),
    "uint8": ("Uint8Value", "uint8"),
    "int16": ("Int16Value", "int16"),
    "uint16": ("Uint16Value", "uint16"),
    "int32": ("Int32Value", "int32"),
    "uint32": ("Uint32Value", "uint32"),
    "int64": ("Int64Value", "int64"),
    "uint64": ("Uint64Value", "uint64"),
    "float": ("FloatValue", "float32"),
    "double": ("DoubleValue", "float64"),
    "str": ("StringValue", "string"),
    "str_list": ("StringList", "[string]"),
    "int32_list": ("Int32List", "[int32]"),
    "float_list": ("FloatList", "[float32]"),
    "bin": ("BinaryValue", "[uint8]"),
}
"""For each type of value, by MLTK's name, its table and what lies in it; in the order of the union's codes."""

TYPES = tuple(_MEMBERS)

_INTEGERS = {
    f"{sign}int{bits}": (0 if sign else -(1 << (bits - 1)), (1 << (bits if sign else bits - 1)) - 1)
    for bits in (8, 16, 32, 64)
    for sign in ("", "u")
}
_FLOAT_LIMIT = 3.402823466e38

_SCHEMA = Schema(
    root="Dictionary",
    tables={
        "Dictionary": {"schema_version": "uint8", "entries": "[Entry]"},
        "Entry": {"key": "string", "value": "Value"},
        **{table: {"value": kind} for table, kind in _MEMBERS.values()},
    },
    unions={"Value": tuple(table for table, _ in _MEMBERS.values())},
)


@dataclass(frozen=True)
class Parameter:
    """A value and its type, one of `TYPES`.

    Raises RecipeError if the value is not of the type, or does not fit in it.
    """

    type: str
    value: Value

    def __post_init__(self) -> None:
        if self.type not in _MEMBERS:
            raise RecipeError(f"there is no type {self.type!r} of parameters: there are {', '.join(TYPES)}")
        if not _fits(self.type, self.value):
            shown = repr(self.value)
            raise RecipeError(f"{shown[:60]} is no value of type {self.type}")


def parameter(value: object) -> Parameter:
    """A value with the type that MLTK would give it: of integers the smallest. Raises RecipeError if there is none."""
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, int) and not isinstance(value, bool):
        signs = ("u", "") if value >= 0 else ("",)
        candidates = [f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in signs]
    elif isinstance(value, tuple) and any(isinstance(item, float) for item in value):
        value, candidates = tuple(float(item) if isinstance(item, int) else item for item in value), ["float_list"]
    else:
        candidates = ["bool", "float", "double", "str", "bin", "str_list", "int32_list", "float_list"]
    for name in candidates:
        if _fits(name, value):
            return Parameter(name, value)  # type: ignore[arg-type]
    shown = repr(value)
    raise RecipeError(
        f"{shown[:60]} cannot be a parameter: these are bool, int of 64 bits, finite float, str, bytes, or a list of "
        "str, of int of 32 bits, or of float"
    )


def read_parameters(model: Model) -> dict[str, Parameter]:
    """The parameters of a model by name; none if it carries none. Raises FormatError for damaged ones."""
    content = dict(model.metadata).get(NAME)
    if content is None:
        return {}
    what = f"{model.source or 'the model'}: its model parameters ({NAME})"
    root = decode(content, _SCHEMA, what, cure(NAME)).root
    if root.get("schema_version", 0) != _VERSION:
        raise FormatError(f"{what} are of version {root.get('schema_version', 0)}; tersor reads version {_VERSION}")
    types = {table: name for name, (table, _) in _MEMBERS.items()}
    found = {}
    for entry in root.get("entries", ()):
        value: Record | None = entry.get("value")
        if value is None:
            raise FormatError(f"{what} are damaged: {entry.get('key', '')!r} has no value of a known type")
        kind = types[value.type]
        try:
            found[entry.get("key", "")] = Parameter(kind, value.get("value", _default(kind)))
        except RecipeError as error:
            raise FormatError(f"{what} are damaged: {entry.get('key', '')!r}: {error}") from error
    return found


def with_parameters(model: Model, parameters: Mapping[str, Parameter]) -> Model:
    """A copy with these parameters instead of those it has; without any, the metadata are left out."""
    others = tuple(item for item in model.metadata if item[0] != NAME)
    if not parameters:
        return replace(model, metadata=others)
    entries = tuple(
        Record("Entry", (("key", key), ("value", Record(_MEMBERS[item.type][0], (("value", item.value),)))))
        for key, item in parameters.items()
    )
    content = encode(Record("Dictionary", (("schema_version", _VERSION), ("entries", entries))), _SCHEMA)
    if NAME not in dict(model.metadata):
        return replace(model, metadata=(*others, (NAME, content)))
    return replace(model, metadata=tuple((name, content if name == NAME else data) for name, data in model.metadata))


def _default(kind: str) -> Value:
    """What a flatbuffer leaves out: nought, and lists of nothing."""
    layout = _MEMBERS[kind][1]
    simple: dict[str, Value] = {"bool": False, "string": "", "[uint8]": b""}
    if layout in simple:
        return simple[layout]
    if layout.startswith("["):
        return ()
    return 0.0 if "float" in layout else 0


def _is_text(value: str) -> bool:
    """Whether a string can be written: half of a surrogate pair cannot."""
    try:
        raw(value)
    except UnicodeEncodeError:
        return False
    return True


def _fits(kind: str, value: object) -> bool:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        return is_integer and low <= value <= high  # type: ignore[operator]
    if kind in ("float", "double"):
        if not isinstance(value, float):
            return False
        return kind == "double" or not math.isfinite(value) or abs(value) <= _FLOAT_LIMIT
    if kind == "str":
        return isinstance(value, str) and _is_text(value)
    if kind in ("bool", "bin"):
        return isinstance(value, bool if kind == "bool" else bytes)
    element = {"str_list": "str", "int32_list": "int32", "float_list": "float"}[kind]
    return isinstance(value, tuple) and all(_fits(element, item) for item in value)
