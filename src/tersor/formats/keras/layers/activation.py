"""Activation functions, as layers and as options of other layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""Klambauer et al. 2017, equation 14."""


def activated(call: Call, tensor: str, key: str = "activation", default: Any = "linear") -> str:
    """The tensor behind the activation function of the configuration; its result is the layer's."""
    function = call.layer.config.get(key, default)
    if isinstance(function, dict) and isinstance(function.get("config"), str):
        function = function["config"]  # {"module": "builtins", "class_name": "function", "config": "relu6"}
    if isinstance(function, dict) and function.get("class_name") in _FUNCTIONS:
        function = function["class_name"]
    if not isinstance(function, str | None):
        raise call.refused(f"its activation {function!r} is not read: use one of Keras's own by name")
    name = (function or "linear").rpartition(">")[2]
    if name not in _FUNCTIONS:
        raise call.refused(f"its activation {name!r} is not read: use one of {', '.join(sorted(_FUNCTIONS))}")
    return _FUNCTIONS[name](call, tensor)


def is_linear(call: Call, key: str = "activation") -> bool:
    """Whether the configuration has no activation function."""
    return call.layer.config.get(key) in (None, "linear")


def unary(kind: str, call: Call, tensor: str, part: str = "") -> str:
    """An operator of one operand, element by element."""
    options = {"approximate": False} if kind == "GELU" else None
    return call.op(kind, [tensor], call.shape(tensor), options, part)


def binary(kind: str, call: Call, a: str, b: str | float, part: str = "") -> str:
    """An operator of a tensor and a tensor of its shape, or a number."""
    name = part or "result"
    other = call.constant(f"{name}/operand", np.float32(b)) if isinstance(b, int | float) else b
    return call.op(kind, [a, other], call.shape(a), None, part)


def relu(call: Call, tensor: str, slope: float = 0.0, limit: float | None = None, threshold: float = 0.0) -> str:
    """max(x, 0) and its relatives: slope below 0, an upper limit."""
    if threshold:
        raise call.refused(f"threshold {threshold:g} is not read")
    if slope and limit is not None:
        leaky = call.op("LEAKY_RELU", [tensor], call.shape(tensor), {"alpha": slope}, "leaky")
        return binary("MINIMUM", call, leaky, limit)
    if slope:
        return call.op("LEAKY_RELU", [tensor], call.shape(tensor), {"alpha": slope})
    if limit is None or limit == 6:
        return unary("RELU" if limit is None else "RELU6", call, tensor)
    return binary("MINIMUM", call, unary("RELU", call, tensor, "rectified"), limit)


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


def softmax(call: Call, tensor: str, axis: int = -1) -> str:
    """Along the last axis; another one is moved there and back."""
    shape = call.shape(tensor)
    place = axis % len(shape)
    if place == len(shape) - 1:
        return call.op("SOFTMAX", [tensor], shape, {"beta": 1.0})
    order = [*(axis for axis in range(len(shape)) if axis != place), place]
    moved = tuple(shape[axis] for axis in order)
    there = call.op("TRANSPOSE", [tensor, call.integers("order", order)], moved, None, "moved")
    result = call.op("SOFTMAX", [there], moved, {"beta": 1.0}, "softmax")
    return call.op("TRANSPOSE", [result, call.integers("back", np.argsort(order).tolist())], shape)


def gelu(call: Call, tensor: str, approximate: bool = False) -> str:
    """X times the normal distribution's cumulative function at x."""
    return call.op("GELU", [tensor], call.shape(tensor), {"approximate": approximate})


def _linear(_: Call, tensor: str) -> str:
    return tensor


_FUNCTIONS: dict[str, Callable[[Call, str], str]] = {
    "elu": elu,
    "exponential": partial(unary, "EXP"),
    "gelu": gelu,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": partial(unary, "HARD_SWISH"),
    "hard_swish": partial(unary, "HARD_SWISH"),
    "leaky_relu": partial(relu, slope=0.2),
    "linear": _linear,
    "log_softmax": partial(unary, "LOG_SOFTMAX"),
    "mish": mish,
    "relu": relu,
    "relu6": partial(unary, "RELU6"),
    "selu": partial(elu, alpha=_SELU_ALPHA, scale=_SELU_SCALE),
    "sigmoid": partial(unary, "LOGISTIC"),
    "silu": swish,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "swish": swish,
    "tanh": partial(unary, "TANH"),
}


def _activation_layer(call: Call) -> str:
    return activated(call, call.input())


def _relu_layer(call: Call) -> str:
    limit = call.option("max_value", None)
    slope = _number(call.option("negative_slope", 0.0))
    return relu(
        call,
        call.input(),
        slope,
        None if limit is None else _number(limit),
        _number(call.option("threshold", 0.0)),
    )


def _leaky_relu_layer(call: Call) -> str:
    slope = call.option("negative_slope", call.option("alpha", 0.3))
    return relu(call, call.input(), slope=_number(slope))


def _prelu_layer(call: Call) -> str:
    tensor = call.input()
    shared = {int(axis) for axis in call.option("shared_axes", None) or ()}
    shape = tuple(1 if axis in shared else size for axis, size in enumerate(call.shape(tensor)))[1:]
    alpha = call.take({"alpha": shape})["alpha"]
    return call.op("PRELU", [tensor, call.constant("alpha", alpha)], call.shape(tensor))


def _softmax_layer(call: Call) -> str:
    call.no_mask()
    axis = call.option("axis", -1)
    if not isinstance(axis, int):
        raise call.refused(f"softmax over the axes {axis} is not read")
    return softmax(call, call.input(), axis)


def _number(value: Any) -> float:
    """Keras 2 writes some numbers as serialized arrays."""
    return float(value["value"] if isinstance(value, dict) else value)


LAYERS: dict[str, Callable[[Call], str]] = {
    "Activation": _activation_layer,
    "ELU": lambda call: elu(call, call.input(), _number(call.option("alpha", 1.0))),
    "LeakyReLU": _leaky_relu_layer,
    "PReLU": _prelu_layer,
    "ReLU": _relu_layer,
    "Softmax": _softmax_layer,
}

FUNCTIONS = _FUNCTIONS
