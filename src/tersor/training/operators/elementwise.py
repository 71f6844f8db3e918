"""Arithmetic and activation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from tersor.training.operators.call import Call

FUSED: dict[int, Callable[[Any], Any]] = {
    0: lambda x: x,
    1: ops.relu,
    2: lambda x: ops.clip(x, -1.0, 1.0),
    3: ops.relu6,
    4: ops.tanh,
}
"""Fused activation functions by their codes in `schema.fbs`."""


def unary(function: Callable[[Any], Any]) -> Callable[[Call], Any]:
    """An operator of one operand."""
    return lambda call: function(call.operand(0))


def binary(function: Callable[[Any, Any], Any]) -> Callable[[Call], Any]:
    """An operator of two operands, which are broadcast."""
    return lambda call: function(call.operand(0), call.operand(1))


def squared_difference(x: Any, y: Any) -> Any:
    """The square of a difference."""
    return ops.square(x - y)


def leaky_relu(call: Call) -> Any:
    """A share `alpha` of what is negative."""
    return ops.leaky_relu(call.operand(0), call.option("alpha", 0.0))


def prelu(call: Call) -> Any:
    """A share per channel or value of what is negative."""
    x, slope = call.operand(0), call.operand(1)
    return ops.relu(x) - slope * ops.relu(-x)


def gelu(call: Call) -> Any:
    """By the error function, or by its approximation."""
    return ops.gelu(call.operand(0), approximate=bool(call.option("approximate", False)))


def hard_swish(x: Any) -> Any:
    """``x relu6(x + 3) / 6``."""
    return x * ops.relu6(x + 3.0) * (1 / 6)


def softmax(call: Call) -> Any:
    """Over the last axis."""
    return ops.softmax(call.operand(0) * call.option("beta", 1.0), axis=-1)


def l2_normalization(call: Call) -> Any:
    """Unit length along the last axis."""
    x = call.operand(0)
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12))


def select(call: Call) -> Any:
    """Where a condition holds one operand, elsewhere the other."""
    return ops.where(*(call.operand(index) for index in range(3)))


def cumulative_sum(call: Call) -> Any:
    """Sums up to each place along an axis, with or without it, from either end."""
    x, axis = call.operand(0), int(call.integers(1)[0])
    x = ops.flip(x, axis) if call.option("reverse", False) else x
    total = ops.cumsum(x, axis=axis)
    total = total - x if call.option("exclusive", False) else total
    return ops.flip(total, axis) if call.option("reverse", False) else total
