"""Between the generated classes of the file schema and tersor's values."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Record

IDENTIFIER = b"TFL3"


@cache
def classes() -> Any:
    """The generated classes of the file schema; they are many, and loaded where a file is read or written."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@cache
def names_of(enum: str) -> dict[int, str]:
    """Names by code of an enumeration of the schema."""
    return {code: name for name, code in vars(getattr(classes(), enum)).items() if isinstance(code, int)}


@cache
def codes_of(enum: str) -> dict[str, int]:
    """Codes by name of an enumeration of the schema."""
    return {name: code for code, name in names_of(enum).items()}


def dtype_of(code: int) -> DType:
    """The element type for a code of the schema. Raises KeyError for an unknown one."""
    return DType(names_of("TensorType")[code].lower())


def code_of(dtype: DType) -> int:
    """The schema's code of an element type."""
    return codes_of("TensorType")[dtype.name]


def text(raw: bytes | str | None) -> str:
    """A string of the file; bytes that are not UTF-8 survive the way back."""
    if raw is None:
        return ""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "surrogateescape")


def raw(string: str) -> bytes:
    """The reverse of `text`."""
    return string.encode("utf-8", "surrogateescape")


def freeze(value: Any) -> Any:
    """An object of the generated classes as a `Record`: strings as str, vectors as tuples, byte vectors as bytes."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, np.ndarray):
        return value.tobytes() if value.dtype == np.uint8 else tuple(value.tolist())
    if isinstance(value, list):
        return tuple(freeze(item) for item in value)
    name = type(value).__name__.removesuffix("T")
    return Record(name, tuple((snake_case(key), freeze(item)) for key, item in vars(value).items()))


def thaw(value: Any) -> Any:
    """The reverse of `freeze`: an object that the generated classes can pack."""
    if isinstance(value, Record):
        table = getattr(classes(), value.type + "T")()
        attributes = _attributes(value.type)
        for key, item in value.fields:
            setattr(table, attributes[key], thaw(item))
        return table
    if isinstance(value, str):
        return raw(value)
    if isinstance(value, bytes):
        return np.frombuffer(value, np.uint8)
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value


@cache
def _attributes(type_name: str) -> dict[str, str]:
    return {snake_case(key): key for key in vars(getattr(classes(), type_name + "T")())}


@cache
def snake_case(name: str) -> str:
    """`fusedActivationFunction` -> `fused_activation_function`, `dilationWFactor` -> `dilation_w_factor`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
