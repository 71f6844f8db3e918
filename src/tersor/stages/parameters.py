"""The parameters in a model file, changed without touching the rest of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tersor.errors import OutputError, RecipeError
from tersor.formats import tflite
from tersor.formats.tflite.parameters import TYPES, Parameter, Value, parameter
from tersor.ir.graph import Model
from tersor.stages.save import atomic

AUTO = "auto"
"""The type that a text says by itself."""


def parse_parameter(text: str, kind: str = AUTO) -> Parameter:
    """A parameter from what a user types.

    Args:
        text: `true`, `false`, a number, a JSON list, `@file` or hexadecimal digits for bytes, or any other text.
        kind: one of `TYPES`, or "auto".

    Raises RecipeError if the text is none of that type.
    """
    if kind == AUTO:
        return parameter(_guessed(text))
    if kind not in TYPES:
        raise RecipeError(f"there is no type {kind!r} of parameters: there are {AUTO}, {', '.join(TYPES)}")
    if kind == "str":
        return Parameter(kind, text)
    if kind == "bin":
        return Parameter(kind, _bytes(text))
    value = _guessed(text)
    if kind in ("float", "double") and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == "float_list" and isinstance(value, list):
        value = [float(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in value]
    found: Value = tuple(value) if isinstance(value, list) else value  # type: ignore[assignment]
    return Parameter(kind, found)


def shown(item: Parameter) -> str:
    """A parameter's value in a line."""
    if isinstance(item.value, bytes):
        return item.value.hex()
    return json.dumps(plain(item), ensure_ascii=False) if not isinstance(item.value, str) else item.value


def plain(item: Parameter) -> object:
    """A parameter's value as JSON has it; bytes as hexadecimal digits."""
    if isinstance(item.value, bytes):
        return item.value.hex()
    return list(item.value) if isinstance(item.value, tuple) else item.value


def save_changed(model: Model, changed: Model, path: str | Path) -> None:
    """Write a model of which only metadata were changed, once it is known that nothing else was.

    Raises OutputError if it cannot be written, or does not come back as it is; then nothing is.
    """
    with atomic(path) as temporary:
        tflite.write(changed, temporary)
        written = tflite.read(temporary)
        if written != changed or written.graphs != model.graphs:
            raise OutputError(f"{path}: what was written is not read as the same model; nothing was written")


def found(parameters: Mapping[str, Parameter], key: str, source: str) -> Parameter:
    """The parameter of that name. Raises RecipeError that names those that there are."""
    if key not in parameters:
        known = ", ".join(sorted(parameters)) or "none"
        raise RecipeError(f"{source} has no parameter {key!r}; it has {known}")
    return parameters[key]


def _guessed(text: str) -> object:
    """What a text says: JSON where it is a bool, a number or a list, else the text itself."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | list) else text


def _refuse(text: str) -> object:
    raise ValueError(text)


def _bytes(text: str) -> bytes:
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise RecipeError(f"{text[1:]}: cannot be read: {error.strerror or error}") from error
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RecipeError(f"{text[:60]!r} is no bytes: give hexadecimal digits, or @file") from None
