"""Activation functions, as layers and as options of other layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call
from tersor.ir.dtypes import DType

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""Klambauer et al. 2017, equation 14."""


def function_name(call: Call, key: str = "activation", default: Any = "linear") -> str:
    """The activation function of the configuration. Raises UnsupportedError for one that is not Keras's own."""
    function = call.layer.config.get(key, default)
    if isinstance(function, dict) and isinstance(function.get("config"), str):
        function = function["config"]  # {"module": "builtins", "class_name": "function", "config": "relu6"}
    if isinstance(function, dict) and function.get("class_name") in FUNCTIONS:
        function = function["class_name"]
    if not isinstance(function, str | None):
        raise call.refused(f"its {key} {function!r} is not read: use one of Keras's own by name")
    name = (function or "linear").rpartition(">")[2]
    if name not in FUNCTIONS:
        raise call.refused(f"its {key} {name!r} is not read: use one of {', '.join(sorted(FUNCTIONS))}")
    return name


def activated(call: Call, tensor: str, key: str = "activation", default: Any = "linear") -> str:
    """The tensor behind the activation function of the configuration; its result is the layer's."""
    return FUNCTIONS[function_name(call, key, default)](call, tensor)


def is_linear(call: Call, key: str = "activation") -> bool:
    """Whether the configuration has no activation function."""
    return call.layer.config.get(key) in (None, "linear")


def unary(kind: str, call: Call, tensor: str, part: str = "") -> str:
    """An operator of one operand, element by element."""
    options = {"approximate": False} if kind == "GELU" else None
    return call.op(kind, [tensor], call.shape(tensor), options, part)


def binary(kind: str, call: Call, a: str, b: str | float, part: str = "") -> str:
    """An operator of a tensor and a tensor, or a number; shapes are broadcast."""
    name = part or "result"
    other = call.constant(f"{name}/operand", np.float32(b)) if isinstance(b, int | float) else b
    return call.op(kind, [a, other], np.broadcast_shapes(call.shape(a), call.shape(other)), None, part)


def relu(call: Call, tensor: str, slope: float = 0.0, limit: float | None = None, threshold: float = 0.0) -> str:
    """max(x, 0) and its relatives: slope below 0, an upper limit."""
    if threshold:
        return _above(call, tensor, slope, limit, threshold)
    if slope and limit is not None:
        leaky = call.op("LEAKY_RELU", [tensor], call.shape(tensor), {"alpha": slope}, "leaky")
        return binary("MINIMUM", call, leaky, limit)
    if slope:
        return call.op("LEAKY_RELU", [tensor], call.shape(tensor), {"alpha": slope})
    if limit is None or limit == 6:
        return unary("RELU" if limit is None else "RELU6", call, tensor)
    return binary("MINIMUM", call, unary("RELU", call, tensor, "rectified"), limit)


def _above(call: Call, tensor: str, slope: float, limit: float | None, threshold: float) -> str:
    """X from the threshold on, slope (x - threshold) below."""
    shape = call.shape(tensor)
    bound = call.constant("threshold", np.float32(threshold))
    is_above = call.op("GREATER_EQUAL", [tensor, bound], shape, None, "is_above", dtype=DType.BOOL)
    if slope:
        below = binary("MUL", call, binary("SUB", call, tensor, bound, "distance"), slope, "below")
    else:
        below = call.constant("below", np.zeros(shape, np.float32))
    above = tensor if limit is None else binary("MINIMUM", call, tensor, limit, "limited")
    return call.op("SELECT_V2", [is_above, above, below], shape, dtype=DType.FLOAT32)


def hard_sigmoid(call: Call, tensor: str) -> str:
    """relu6(x + 3) / 6; in Keras 2 clip(0.2 x + 0.5, 0, 1)."""
    if call.generation < 3:
        line = binary("ADD", call, binary("MUL", call, tensor, 0.2, "slope"), 0.5, "shifted")
        return binary("MINIMUM", call, unary("RELU", call, line, "rectified"), 1.0)
    clipped = unary("RELU6", call, binary("ADD", call, tensor, 3.0, "shifted"), "clipped")
    return binary("MUL", call, clipped, 1 / 6)


def swish(call: Call, tensor: str) -> str:
    """X sigmoid(x)."""
    return binary("MUL", call, tensor, unary("LOGISTIC", call, tensor, "sigmoid"))


def elu(call: Call, tensor: str, alpha: float = 1.0, scale: float = 1.0) -> str:
    """Scale (max(x, 0) + alpha (exp(min(x, 0)) - 1))."""
    if alpha == scale == 1:
        return unary("ELU", call, tensor)
    below = unary("ELU", call, binary("MINIMUM", call, tensor, 0.0, "below"), "exponential")
    below = binary("MUL", call, below, alpha * scale, "scaled_below")
    above = unary("RELU", call, tensor, "above")
    if scale != 1:
        above = binary("MUL", call, above, scale, "scaled_above")
    return binary("ADD", call, above, below)


def softplus(call: Call, tensor: str, part: str = "") -> str:
    """log(1 + exp(x)), as max(x, 0) + log(1 + exp(-|x|)), which cannot overflow."""
    inside = f"{part}/" if part else ""
    magnitude = unary("ABS", call, tensor, f"{inside}magnitude")
    power = unary("EXP", call, binary("MUL", call, magnitude, -1.0, f"{inside}negative"), f"{inside}power")
    logarithm = unary("LOG", call, binary("ADD", call, power, 1.0, f"{inside}above_one"), f"{inside}logarithm")
    return binary("ADD", call, unary("RELU", call, tensor, f"{inside}rectified"), logarithm, part)


def softsign(call: Call, tensor: str) -> str:
    """X / (1 + |x|)."""
    return binary("DIV", call, tensor, binary("ADD", call, unary("ABS", call, tensor, "magnitude"), 1.0, "above_one"))


def mish(call: Call, tensor: str) -> str:
    """X tanh(softplus(x))."""
    return binary("MUL", call, tensor, unary("TANH", call, softplus(call, tensor, "softplus"), "tanh"))


def softmax(call: Call, tensor: str, axis: int = -1, kind: str = "SOFTMAX") -> str:
    """Along the last axis; another one is moved there and back."""
    shape = call.shape(tensor)
    place = axis % len(shape)
    options = {"beta": 1.0} if kind == "SOFTMAX" else None
    if place == len(shape) - 1:
        return call.op(kind, [tensor], shape, options)
    order = [*(axis for axis in range(len(shape)) if axis != place), place]
    moved = tuple(shape[axis] for axis in order)
    there = call.op("TRANSPOSE", [tensor, call.integers("order", order)], moved, None, "moved")
    result = call.op(kind, [there], moved, options, "softmax")
    return call.op("TRANSPOSE", [result, call.integers("back", np.argsort(order).tolist())], shape)


def log_softmax(call: Call, tensor: str, axis: int = -1) -> str:
    """Logarithms of the softmax."""
    return softmax(call, tensor, axis, "LOG_SOFTMAX")


def gelu(call: Call, tensor: str, approximate: bool = False) -> str:
    """X times the normal distribution's cumulative function at x."""
    return call.op("GELU", [tensor], call.shape(tensor), {"approximate": approximate})


def squareplus(call: Call, tensor: str, b: float = 4.0) -> str:
    """(x + sqrt(x^2 + b)) / 2."""
    root = unary(
        "SQRT", call, binary("ADD", call, binary("MUL", call, tensor, tensor, "square"), b, "above_zero"), "root"
    )
    return binary("MUL", call, binary("ADD", call, tensor, root, "sum"), 0.5)


def log_sigmoid(call: Call, tensor: str) -> str:
    """-softplus(-x)."""
    return binary("MUL", call, softplus(call, binary("MUL", call, tensor, -1.0, "negative"), "softplus"), -1.0)


def hard_tanh(call: Call, tensor: str) -> str:
    """Clip(x, -1, 1)."""
    return unary("RELU_N1_TO_1", call, tensor)


def tanh_shrink(call: Call, tensor: str) -> str:
    """X - tanh(x)."""
    return binary("SUB", call, tensor, unary("TANH", call, tensor, "tanh"))


def celu(call: Call, tensor: str, alpha: float = 1.0) -> str:
    """Max(x, 0) + alpha (exp(min(x, 0) / alpha) - 1)."""
    if alpha == 1:
        return unary("ELU", call, tensor)
    below = binary("MUL", call, binary("MINIMUM", call, tensor, 0.0, "below"), 1 / alpha, "shrunk")
    below = binary("MUL", call, unary("ELU", call, below, "exponential"), alpha, "scaled_below")
    return binary("ADD", call, unary("RELU", call, tensor, "above"), below)


def soft_shrink(call: Call, tensor: str, threshold: float = 0.5) -> str:
    """X moved towards 0 by the threshold: relu(x - t) - relu(-x - t)."""
    above = unary("RELU", call, binary("ADD", call, tensor, -threshold, "less"), "above")
    mirrored = binary("MUL", call, tensor, -1.0, "mirrored")
    below = unary("RELU", call, binary("ADD", call, mirrored, -threshold, "mirrored_less"), "below")
    return binary("SUB", call, above, below)


def _linear(_: Call, tensor: str) -> str:
    return tensor


FUNCTIONS: dict[str, Callable[[Call, str], str]] = {
    "celu": celu,
    "elu": elu,
    "exponential": partial(unary, "EXP"),
    "gelu": gelu,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": partial(unary, "HARD_SWISH"),
    "hard_swish": partial(unary, "HARD_SWISH"),
    "hard_tanh": hard_tanh,
    "leaky_relu": partial(relu, slope=0.2),
    "linear": _linear,
    "log_sigmoid": log_sigmoid,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu": relu,
    "relu6": partial(unary, "RELU6"),
    "selu": partial(elu, alpha=_SELU_ALPHA, scale=_SELU_SCALE),
    "sigmoid": partial(unary, "LOGISTIC"),
    "silu": swish,
    "soft_shrink": soft_shrink,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "squareplus": squareplus,
    "swish": swish,
    "tanh": partial(unary, "TANH"),
    "tanh_shrink": tanh_shrink,
}
