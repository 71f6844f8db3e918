"""What a function of `keras.ops` is called with: tensors, numbers, arrays and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.ir.dtypes import DType

_NAMES = ("condition", "x", "x1", "a", "inputs", "input", "data", "tensor", "images", "x2", "y", "b")
"""Names under which operands are given by keyword."""

_MISSING = object()


def operands(call: Call) -> list[Any]:
    """The arguments, positional ones first, then those under an operand's usual name."""
    return [*call.args, *(call.kwargs[name] for name in _NAMES if name in call.kwargs)]


def first(call: Call) -> str:
    """The tensor that the function is called with."""
    given = operands(call)
    if not given or not isinstance(given[0], Edge):
        raise call.refused("it is not called with a tensor")
    return str(given[0])


def first_real(call: Call) -> str:
    """Likewise, with integers converted to float32."""
    return real(call, first(call), "real")


def real(call: Call, tensor: str, part: str) -> str:
    """A tensor as float32."""
    if call.builder.dtype_of(tensor) is DType.FLOAT32:
        return tensor
    return call.op("CAST", [tensor], call.shape(tensor), None, part, dtype=DType.FLOAT32)


def tensors(call: Call) -> list[str]:
    """The list of tensors that the function is called with."""
    given = operands(call)[0] if operands(call) else call.kwargs.get("values", call.kwargs.get("arrays"))
    if not isinstance(given, list) or not given or not all(isinstance(item, Edge) for item in given):
        raise call.refused("it is not called with a list of tensors")
    return [str(item) for item in given]


def setting(call: Call, key: str, place: int, default: Any = _MISSING) -> Any:
    """A setting of a function: in its configuration, by keyword, or by position."""
    if key in call.layer.config:
        return call.layer.config[key]
    value = call.kwargs.get(key, call.args[place] if len(call.args) > place else default)
    if value is _MISSING:
        raise call.refused(f"its {key} is missing")
    if isinstance(value, Edge):
        raise call.refused(f"its {key} is a tensor, and only a number or an array is read")
    return value


def integers(call: Call, key: str, place: int, default: Any = _MISSING) -> tuple[int, ...] | None:
    """A setting that is an integer, a list of integers, or None."""
    value = setting(call, key, place, default)
    if value is None:
        return None
    listed = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(item, int) for item in listed):
        raise call.refused(f"its {key} is {value!r}, and only integers are read")
    return tuple(int(item) for item in listed)


def axes_of(call: Call, tensor: str, value: Sequence[int] | None) -> list[int]:
    """Axes counted from the front; None stands for all."""
    rank = len(call.shape(tensor))
    if value is None:
        return list(range(rank))
    if any(not -rank <= axis < rank for axis in value):
        raise call.refused(f"its axes {list(value)} do not exist in {list(call.shape(tensor))}")
    return sorted({axis % rank for axis in value})


def axis_of(call: Call, tensor: str, key: str = "axis", place: int = 1, default: Any = _MISSING) -> int:
    """One axis, counted from the front."""
    value = integers(call, key, place, default)
    if value is None or len(value) != 1:
        raise call.refused(f"its {key} is {value!r}, and only one integer is read")
    return axes_of(call, tensor, value)[0]


def constant(call: Call, value: Any, part: str, like: DType = DType.FLOAT32) -> str:
    """A number or an array as a constant: of integers beside integers, else float32."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise call.refused(f"its operand {part} is neither a tensor nor numbers")
    is_integer = array.dtype.kind in "iu" and like is DType.INT32
    keeps = array.dtype.kind == "b" and like is DType.BOOL
    return call.constant(part, array if keeps else array.astype(np.int32 if is_integer else np.float32))


def pair(call: Call, given: Sequence[Any], parts: Sequence[str] = ("a", "b")) -> tuple[str, str]:
    """Two operands of one type: float32, unless both are integers (or both conditions)."""
    if len(given) != 2:
        raise call.refused(f"it is called with {len(given)} operands where it takes two")
    known = [call.builder.dtype_of(item) for item in given if isinstance(item, Edge)]
    if not known:
        raise call.refused("it is not called with a tensor")
    names = [
        str(item) if isinstance(item, Edge) else constant(call, item, part, known[0])
        for item, part in zip(given, parts, strict=True)
    ]
    a, b = (call.builder.dtype_of(name) for name in names)
    if a is not b:
        names = [real(call, name, f"{part}_real") for name, part in zip(names, parts, strict=True)]
    return names[0], names[1]
