"""Moments of functions of a normal variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from tersor.ir.graph import Array

_DEVIATIONS = 6.0
"""How far to both sides of the mean is looked: one value in 500 million lies beyond."""

_NODES = 401

_PLACES = np.linspace(-_DEVIATIONS, _DEVIATIONS, _NODES)
_WEIGHTS = np.exp(-(_PLACES**2) / 2) / np.exp(-(_PLACES**2) / 2).sum()


def nodes(mean: Array, deviation: Array) -> Array:
    """Values of normal variables at places that `moments` weighs, [places, variables].

    Args:
        mean: [variables].
        deviation: [variables].
    """
    return np.asarray(mean + _PLACES[:, None] * deviation)


def moments(values: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of functions of normal variables, [variables], from their values at `nodes`.

    A trapezoidal rule: a function with a kink, as a ReLU has, comes out right to 1e-4 deviations of its variable.
    """
    mean = _WEIGHTS @ values
    return mean, np.sqrt(_WEIGHTS @ (values - mean) ** 2)


def _logistic(values: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(values / 2))


FUNCTIONS: Mapping[str, Callable[[float], Callable[[Array], Array]]] = MappingProxyType(
    {
        "RELU": lambda _: lambda x: np.maximum(x, 0),
        "RELU6": lambda _: lambda x: np.clip(x, 0, 6),
        "RELU_N1_TO_1": lambda _: lambda x: np.clip(x, -1, 1),
        "RELU_0_TO_1": lambda _: lambda x: np.clip(x, 0, 1),
        "LEAKY_RELU": lambda alpha: lambda x: np.where(x < 0, alpha * x, x),
        "ELU": lambda _: lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x),
        "LOGISTIC": lambda _: _logistic,
        "TANH": lambda _: np.tanh,
        "HARD_SWISH": lambda _: lambda x: x * np.clip(x + 3, 0, 6) / 6,
        "GELU": lambda _: lambda x: x * _logistic(1.702 * x),
    }
)
"""Activation functions of operators by kind, given their slope below 0. GELU is the sigmoid approximation of Hendrycks
and Gimpel 2016 (arXiv 1606.08415), which differs by 0.02 at most."""
