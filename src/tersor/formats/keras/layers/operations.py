"""Functions of `keras.ops` that Functional models record (and of TensorFlow, in Keras 2): arithmetic mostly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import FUNCTIONS, gelu, relu, softmax, unary
from tersor.formats.keras.layers.merge import broadcast, concatenated
from tersor.formats.keras.layers.reshape import reshaped, transposed
from tersor.ir.dtypes import DType

_NAMES = ("x", "x1", "a", "inputs", "x2", "y", "b")
"""Names under which operands are given by keyword."""


def _operands(call: Call) -> list[Any]:
    named = [call.kwargs[name] for name in _NAMES if name in call.kwargs]
    return [*call.args, *named]


def arithmetic(kind: str, call: Call) -> str:
    """An operator of two operands, of which one may be a number or an array."""
    given = _operands(call)
    if len(given) != 2:
        raise call.refused(f"it is called with {len(given)} operands where it takes two")
    a, b = (_tensor(call, value, part) for value, part in zip(given, ("a", "b"), strict=True))
    if any(call.builder.dtype_of(item) is not DType.FLOAT32 for item in (a, b)):
        raise call.refused("arithmetic of integers is not read")
    return call.op(kind, [a, b], broadcast(call, call.shape(a), call.shape(b)))


def _tensor(call: Call, value: Any, part: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return call.constant(part, np.asarray(value, np.float32))
    except (TypeError, ValueError):
        raise call.refused(f"its operand {part} is neither a tensor nor numbers") from None


def _first(call: Call) -> str:
    given = _operands(call)
    if not given or not isinstance(given[0], str):
        raise call.refused("it is not called with a tensor")
    return given[0]


def _setting(call: Call, key: str, place: int, default: Any) -> Any:
    """A setting of an operation: in its configuration, by keyword, or by position."""
    if key in call.layer.config:
        return call.layer.config[key]
    return call.kwargs.get(key, call.args[place] if len(call.args) > place else default)


def reduction(kind: str, call: Call) -> str:
    """Mean, sum, extreme along some axes."""
    tensor = _first(call)
    shape = call.shape(tensor)
    axis = _setting(call, "axis", 1, None)
    listed = range(len(shape)) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = sorted({int(item) % len(shape) for item in listed})
    if 0 in axes:
        raise call.refused("a reduction over the batch is not read")
    keep = bool(_setting(call, "keepdims", 2, False))
    reduced = [1 if place in axes else size for place, size in enumerate(shape) if keep or place not in axes]
    return call.op(kind, [tensor, call.integers("axes", axes)], reduced, {"keep_dims": keep})


def reshape(call: Call) -> str:
    """To a shape with the batch in front."""
    tensor = _first(call)
    target = [int(size) for size in _setting(call, "newshape", 1, None) or call.layer.config.get("shape") or ()]
    known = int(np.prod([size for size in target[1:] if size != -1], dtype=np.int64))
    total = int(np.prod(call.shape(tensor)))
    return reshaped(call, tensor, (1, *(total // max(known, 1) if size == -1 else size for size in target[1:])))


def concatenate(call: Call) -> str:
    """A list of tensors along an axis."""
    tensors = _operands(call)[0]
    if not isinstance(tensors, list) or not all(isinstance(item, str) for item in tensors):
        raise call.refused("it is not called with a list of tensors")
    return concatenated(call, tensors, int(_setting(call, "axis", 1, 0)))


def transpose(call: Call) -> str:
    """Axes in another order; the batch stays in front."""
    tensor = _first(call)
    order = _setting(call, "axes", 1, None)
    if order is None or int(order[0]) != 0:
        raise call.refused("a transposition that moves the batch is not read")
    return transposed(call, tensor, [int(axis) % len(order) for axis in order])


def _elementwise(kind: str, call: Call) -> str:
    return unary(kind, call, _first(call))


def _function(name: str) -> Callable[[Call], str]:
    return lambda call: FUNCTIONS[name](call, _first(call))


_ARITHMETIC = {
    "Add": "ADD",
    "Subtract": "SUB",
    "Multiply": "MUL",
    "Divide": "DIV",
    "TrueDivide": "DIV",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
}
_UNARY = {"Absolute": "ABS", "Abs": "ABS", "Exp": "EXP", "Log": "LOG", "Sqrt": "SQRT", "Rsqrt": "RSQRT", "Tanh": "TANH"}
_NAMED = {
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
}
_REDUCTIONS = {"Max": "REDUCE_MAX", "Mean": "MEAN", "Min": "REDUCE_MIN", "Sum": "SUM"}

LAYERS: dict[str, Callable[[Call], str]] = {
    **{f"ops.{name}": partial(arithmetic, kind) for name, kind in _ARITHMETIC.items()},
    **{f"ops.{name}": partial(_elementwise, kind) for name, kind in _UNARY.items()},
    **{f"ops.{name}": _function(function) for name, function in _NAMED.items()},
    **{f"ops.{name}": partial(reduction, kind) for name, kind in _REDUCTIONS.items()},
    "ops.Concatenate": concatenate,
    "ops.Gelu": lambda call: gelu(call, _first(call), bool(_setting(call, "approximate", 1, True))),
    "ops.LeakyRelu": lambda call: relu(call, _first(call), slope=float(_setting(call, "negative_slope", 1, 0.2))),
    "ops.Reshape": reshape,
    "ops.Softmax": lambda call: softmax(call, _first(call), int(_setting(call, "axis", 1, -1))),
    "ops.Transpose": transpose,
}

_OLD = {
    "__operators__.add": "ops.Add",
    "math.add": "ops.Add",
    "math.divide": "ops.Divide",
    "math.maximum": "ops.Maximum",
    "math.minimum": "ops.Minimum",
    "math.multiply": "ops.Multiply",
    "math.reduce_mean": "ops.Mean",
    "math.sigmoid": "ops.Sigmoid",
    "math.subtract": "ops.Subtract",
    "math.tanh": "ops.Tanh",
    "math.truediv": "ops.Divide",
    "nn.relu": "ops.Relu",
    "nn.relu6": "ops.Relu6",
    "nn.sigmoid": "ops.Sigmoid",
    "nn.silu": "ops.Silu",
    "nn.softmax": "ops.Softmax",
}


def old_function(call: Call) -> Callable[[Call], str]:
    """The function for a TensorFlow function that Keras 2 recorded. Raises UnsupportedError for others."""
    name = str(call.layer.config.get("function"))
    if name not in _OLD:
        raise call.refused(f"the TensorFlow function {name} is not read: export the model as .tflite")
    return LAYERS[_OLD[name]]
