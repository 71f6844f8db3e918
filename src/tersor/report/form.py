"""Parsed JSON -> frozen dataclasses, by their annotations: what is missing or of another type is named and refused.

Understood are str, bool, int, float, tuples of any length, pairs of floats, mappings from str, dataclasses, and each of
these or None. A field with a default may be missing; fields that a class does not have are skipped. A field whose name
in JSON is not its own has that in its metadata, as "name".
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tersor.errors import FormatError

T = TypeVar("T")

_LARGEST = 1 << 1000
"""Whole numbers beyond are no floats."""

_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a finite number"}


def read(wanted: type[T], value: Any, where: str) -> T:
    """A value of a class. `where` begins what is said in an error. Raises FormatError."""
    made = _value(wanted, value, where)
    assert isinstance(made, wanted)
    return made


def _value(wanted: Any, value: Any, where: str) -> Any:
    origin, parts = get_origin(wanted), get_args(wanted)
    if origin in (types.UnionType, Union):
        (inner,) = (part for part in parts if part is not type(None))
        return None if value is None else _value(inner, value, where)
    if origin is tuple:
        return _items(parts, value, where)
    if origin is Mapping:
        _require(isinstance(value, dict), "an object", value, where)
        return {name: _value(parts[1], item, f"{where}.{name}") for name, item in value.items()}
    if is_dataclass(wanted):
        return _fields(wanted, value, where)
    if wanted is float and type(value) is int and abs(value) < _LARGEST:
        return float(value)
    _require(type(value) is wanted, _WORDS[wanted], value, where)
    _require(wanted is not float or math.isfinite(value), _WORDS[float], value, where)
    return value


def _items(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    is_open = parts[-1] is Ellipsis
    _require(isinstance(value, list | tuple), "a list", value, where)
    _require(is_open or len(value) == len(parts), f"a list of {len(parts)}", value, where)
    kinds = parts[:1] * len(value) if is_open else parts
    return tuple(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _fields(wanted: Any, value: Any, where: str) -> Any:
    _require(isinstance(value, dict), "an object", value, where)
    given = {}
    for own, (name, kind, is_optional) in _annotations(wanted).items():
        if name in value:
            given[own] = _value(kind, value[name], f"{where}.{name}")
        elif not is_optional:
            raise FormatError(f"{where}: {name!r} is missing; is it written by a tersor of another version?")
    return wanted(**given)


@cache
def _annotations(wanted: Any) -> dict[str, tuple[str, Any, bool]]:
    """By field: its name in JSON, its type, and whether it may be missing."""
    hints = get_type_hints(wanted)
    return {
        item.name: (
            str(item.metadata.get("name", item.name)),
            hints[item.name],
            item.default is not MISSING or item.default_factory is not MISSING,
        )
        for item in fields(wanted)
    }


def _require(holds: bool, wanted: str, value: Any, where: str) -> None:
    if not holds:
        found = repr(value)
        raise FormatError(f"{where}: {wanted} is expected, found {found[:60]}{'...' if len(found) > 60 else ''}")
