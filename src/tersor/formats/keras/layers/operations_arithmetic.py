"""Functions of `keras.ops` that compute element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.activation import FUNCTIONS, binary, celu, elu, gelu, relu, soft_shrink, unary
from tersor.formats.keras.layers.merge import broadcast
from tersor.formats.keras.layers.operands import constant, first, first_real, operands, pair, real, setting
from tersor.formats.keras.layers.operations_parts import split_into
from tersor.ir.dtypes import DType


def arithmetic(kind: str, call: Call) -> str:
    """An operator of two operands, of which one may be a number or an array."""
    a, b = pair(call, operands(call))
    if call.builder.dtype_of(a) is DType.BOOL or kind in ("DIV", "POW"):
        a, b = real(call, a, "a_real"), real(call, b, "b_real")
    return call.op(kind, [a, b], broadcast(call, call.shape(a), call.shape(b)))


def power(call: Call) -> str:
    """Usual powers as products and roots, which have integer kernels; POW for others."""
    given = operands(call)
    exponent = given[1] if len(given) > 1 else None
    if isinstance(exponent, Edge) or not isinstance(given[0], Edge) or not isinstance(exponent, int | float):
        return arithmetic("POW", call)
    tensor = real(call, given[0], "real")
    if exponent == 1:
        return tensor
    if exponent in (2, 3):
        square = binary("MUL", call, tensor, tensor, "square" if exponent == 3 else "")
        return square if exponent == 2 else binary("MUL", call, square, tensor)
    if exponent in (0.5, -0.5):
        return unary("SQRT" if exponent > 0 else "RSQRT", call, tensor)
    if exponent == -1:
        return call.op("DIV", [constant(call, 1.0, "one"), tensor], call.shape(tensor))
    return call.op("POW", [tensor, constant(call, exponent, "exponent")], call.shape(tensor))


def clip(call: Call) -> str:
    """Between two numbers."""
    tensor = first(call)
    low, high = setting(call, "x_min", 1, None), setting(call, "x_max", 2, None)
    dtype, shape = call.builder.dtype_of(tensor), call.shape(tensor)
    if dtype is DType.FLOAT32 and (low, high) in ((0, 6), (-1, 1), (0, 1)):
        kinds = {(0, 6): "RELU6", (-1, 1): "RELU_N1_TO_1", (0, 1): "RELU_0_TO_1"}
        return unary(kinds[low, high], call, tensor)
    if any(isinstance(bound, float) and bound != int(bound) for bound in (low, high) if bound is not None):
        tensor = real(call, tensor, "real")
        dtype = DType.FLOAT32
    if low is not None:
        part = "raised" if high is not None else ""
        tensor = call.op("MAXIMUM", [tensor, constant(call, low, "low", dtype)], shape, None, part)
    return tensor if high is None else call.op("MINIMUM", [tensor, constant(call, high, "high", dtype)], shape)


def scaled(kind: str, factor: float, call: Call) -> str:
    """A function of a multiple (EXP), or a multiple of a function (LOG)."""
    tensor = first_real(call)
    if kind == "EXP":
        return unary(kind, call, binary("MUL", call, tensor, factor, "multiple"))
    return binary("MUL", call, unary(kind, call, tensor, "function"), factor)


def _elementwise(kind: str, call: Call) -> str:
    tensor = first(call)
    if kind in ("ABS", "SIGN") and call.builder.dtype_of(tensor) is DType.INT32:
        return call.op(kind, [tensor], call.shape(tensor))
    return unary(kind, call, real(call, tensor, "real"))


def _function(name: str, call: Call) -> str:
    return FUNCTIONS[name](call, first_real(call))


def _square(call: Call) -> str:
    tensor = first(call)
    return call.op("MUL", [tensor, tensor], call.shape(tensor))


def _negative(call: Call) -> str:
    tensor = first(call)
    return call.op("MUL", [tensor, constant(call, -1, "sign", call.builder.dtype_of(tensor))], call.shape(tensor))


def _reciprocal(call: Call) -> str:
    tensor = first_real(call)
    return call.op("DIV", [constant(call, 1.0, "one"), tensor], call.shape(tensor))


def _shifted(kind: str, call: Call) -> str:
    tensor = first_real(call)
    if kind == "LOG":
        return unary(kind, call, binary("ADD", call, tensor, 1.0, "shifted"))
    return binary("ADD", call, unary(kind, call, tensor, "function"), -1.0)


def _tangent(call: Call) -> str:
    tensor = first_real(call)
    return binary("DIV", call, unary("SIN", call, tensor, "sine"), unary("COS", call, tensor, "cosine"))


def _glu(call: Call) -> str:
    """The first half times the sigmoid of the second."""
    tensor = first_real(call)
    axis = int(setting(call, "axis", 1, -1)) % len(call.shape(tensor))
    value, gate = split_into(call, tensor, axis, 2, "half")
    return binary("MUL", call, value, unary("LOGISTIC", call, gate, "gate"))


def _round(call: Call) -> str:
    tensor = first(call)
    if setting(call, "decimals", 1, 0) or call.builder.dtype_of(tensor) is not DType.FLOAT32:
        raise call.refused("it rounds to other than whole numbers, which is not read")
    return unary("ROUND", call, tensor)


_ARITHMETIC = {
    "Add": "ADD",
    "Subtract": "SUB",
    "Multiply": "MUL",
    "Divide": "DIV",
    "TrueDivide": "DIV",
    "FloorDivide": "FLOOR_DIV",
    "Mod": "FLOOR_MOD",
    "Maximum": "MAXIMUM",
    "Minimum": "MINIMUM",
}
_UNARY = {
    "Absolute": "ABS",
    "Ceil": "CEIL",
    "Cos": "COS",
    "Exp": "EXP",
    "Floor": "FLOOR",
    "Log": "LOG",
    "Rsqrt": "RSQRT",
    "Sign": "SIGN",
    "Sin": "SIN",
    "Sqrt": "SQRT",
    "Tanh": "TANH",
}
_NAMED = {
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "LogSigmoid": "log_sigmoid",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Squareplus": "squareplus",
    "TanhShrink": "tanh_shrink",
}

LAYERS: dict[str, Callable[[Call], str]] = {
    **{f"ops.{name}": partial(arithmetic, kind) for name, kind in _ARITHMETIC.items()},
    **{f"ops.{name}": partial(_elementwise, kind) for name, kind in _UNARY.items()},
    **{f"ops.{name}": partial(_function, function) for name, function in _NAMED.items()},
    "ops.Celu": lambda call: celu(call, first_real(call), float(setting(call, "alpha", 1, 1.0))),
    "ops.Clip": clip,
    "ops.Elu": lambda call: elu(call, first_real(call), float(setting(call, "alpha", 1, 1.0))),
    "ops.Exp2": partial(scaled, "EXP", log(2)),
    "ops.Expm1": partial(_shifted, "EXP"),
    "ops.Gelu": lambda call: gelu(call, first_real(call), bool(setting(call, "approximate", 1, True))),
    "ops.Glu": _glu,
    "ops.LeakyRelu": lambda call: relu(call, first_real(call), slope=float(setting(call, "negative_slope", 1, 0.2))),
    "ops.Log10": partial(scaled, "LOG", 1 / log(10)),
    "ops.Log1p": partial(_shifted, "LOG"),
    "ops.Log2": partial(scaled, "LOG", 1 / log(2)),
    "ops.Negative": _negative,
    "ops.Power": power,
    "ops.Reciprocal": _reciprocal,
    "ops.Round": _round,
    "ops.SoftShrink": lambda call: soft_shrink(call, first_real(call), float(setting(call, "threshold", 1, 0.5))),
    "ops.Square": _square,
    "ops.Tan": _tangent,
}
