"""Functions of `keras.ops` that ask and choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.merge import broadcast
from tersor.formats.keras.layers.operands import constant, first, operands, pair, setting
from tersor.ir.dtypes import DType


def comparison(kind: str, call: Call) -> str:
    """A condition of two operands."""
    a, b = pair(call, operands(call))
    return call.op(kind, [a, b], broadcast(call, call.shape(a), call.shape(b)), dtype=DType.BOOL)


def condition(call: Call, value: Edge | bool, part: str) -> str:
    """An operand as a condition: what is not zero."""
    if not isinstance(value, Edge):
        return constant(call, value, part, DType.BOOL)
    dtype = call.builder.dtype_of(value)
    if dtype is DType.BOOL:
        return str(value)
    zero = constant(call, 0, f"{part}_zero", dtype)
    return call.op("NOT_EQUAL", [value, zero], call.shape(value), None, part, dtype=DType.BOOL)


def logic(kind: str, call: Call) -> str:
    """A condition of two conditions."""
    a, b = (condition(call, value, part) for value, part in zip(operands(call), "ab", strict=True))
    return call.op(kind, [a, b], broadcast(call, call.shape(a), call.shape(b)), dtype=DType.BOOL)


def logical_not(call: Call) -> str:
    """The opposite of a condition."""
    (value,) = operands(call)
    return call.op("LOGICAL_NOT", [condition(call, value, "condition")], call.shape(value), dtype=DType.BOOL)


def where(call: Call) -> str:
    """One or the other, element by element: SELECT_V2."""
    given = operands(call)
    if len(given) != 3 and "x1" not in call.kwargs:
        raise call.refused(f"it is called with {len(given)} operands where it takes a condition and two values")
    chosen = condition(call, given[0], "condition")
    values = list(given[1:3])
    if not any(isinstance(item, Edge) for item in values):
        a, b = (constant(call, item, part) for item, part in zip(values, "ab", strict=True))
    else:
        a, b = pair(call, values)
    shape = broadcast(call, broadcast(call, call.shape(chosen), call.shape(a)), call.shape(b))
    return call.op("SELECT_V2", [chosen, a, b], shape, dtype=call.builder.dtype_of(a))


def cast(call: Call) -> str:
    """To float32, int32 or bool; half precision is float32 here."""
    tensor = first(call)
    name = str(setting(call, "dtype", 1)).removeprefix("<dtype: '").removesuffix("'>")
    types = {
        "float32": DType.FLOAT32,
        "float16": DType.FLOAT32,
        "bfloat16": DType.FLOAT32,
        "int32": DType.INT32,
        "int64": DType.INT32,
    }
    if name == "bool":
        return condition(call, Edge(tensor), "")
    if name not in types:
        raise call.refused(f"a conversion to {name} is not read (float32, int32, bool)")
    if call.builder.dtype_of(tensor) is types[name]:
        return tensor
    return call.op("CAST", [tensor], call.shape(tensor), dtype=types[name])


def full_like(value: float | None, call: Call) -> str:
    """A constant of the shape of a tensor."""
    tensor = first(call)
    wanted = setting(call, "fill_value", 1) if value is None else value
    dtype = np.int32 if call.builder.dtype_of(tensor) is DType.INT32 else np.float32
    return call.constant("values", np.full(call.shape(tensor), wanted, dtype))


_COMPARISONS = {
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessEqual": "LESS_EQUAL",
    "NotEqual": "NOT_EQUAL",
}
_LOGIC = {"LogicalAnd": "LOGICAL_AND", "LogicalOr": "LOGICAL_OR"}

LAYERS: dict[str, Callable[[Call], str]] = {
    **{f"ops.{name}": partial(comparison, kind) for name, kind in _COMPARISONS.items()},
    **{f"ops.{name}": partial(logic, kind) for name, kind in _LOGIC.items()},
    "ops.Cast": cast,
    "ops.FullLike": partial(full_like, None),
    "ops.LogicalNot": logical_not,
    "ops.OnesLike": partial(full_like, 1),
    "ops.Where": where,
    "ops.ZerosLike": partial(full_like, 0),
}
