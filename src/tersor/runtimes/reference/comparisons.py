"""Comparisons, choices and orders. Kernel sets agree."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_point import quantize_multiplier, rescale_twice
from tersor.runtimes.reference.call import Call

_LEFT = 8
"""Bits that values are shifted to the left before they are scaled: the grid is 1/256."""

_COMPARE = MappingProxyType(
    {
        "EQUAL": np.equal,
        "NOT_EQUAL": np.not_equal,
        "GREATER": np.greater,
        "GREATER_EQUAL": np.greater_equal,
        "LESS": np.less,
        "LESS_EQUAL": np.less_equal,
    }
)


def compare(call: Call) -> list[Array]:
    """EQUAL, NOT_EQUAL, GREATER, GREATER_EQUAL, LESS, LESS_EQUAL.

    Of 8 bits, real values rounded to multiples of 1/256 are compared (`ComparisonWithScaling`,
    `reference/comparisons.h`); of 16 bits, the integers, but builtin's EQUAL and NOT_EQUAL do so there, too.
    """
    take = call.value if _compares_integers(call) else lambda index: _on_grid(call, index)
    found: Array = _COMPARE[call.op.kind](take(0), take(1))
    return [found]


def select(call: Call) -> list[Array]:
    """SELECT and SELECT_V2; the condition of the former may have one value per row."""
    chosen, one, other = (call.value(index) for index in range(3))
    if call.op.kind == "SELECT" and chosen.ndim < one.ndim:
        chosen = chosen.reshape(*chosen.shape, *[1] * (one.ndim - chosen.ndim))
    return [np.where(chosen, one, other)]


def largest(call: Call) -> list[Array]:
    """TOPK_V2 along the last axis: the first of equal ones first."""
    values = call.value(0)
    order = np.argsort(-values.astype(np.int64), axis=-1, kind="stable")[..., : int(call.value(1))]
    return [np.take_along_axis(values, order, axis=-1), order.astype(call.results[1].dtype.numpy)]


def _compares_integers(call: Call) -> bool:
    if call.tensor(0).dtype is not DType.INT16:
        return call.tensor(0).quant is None
    return call.kernels == "micro" or call.op.kind not in ("EQUAL", "NOT_EQUAL")


def _on_grid(call: Call, index: int) -> Array:
    return rescale_twice(call.centered(index) << _LEFT, quantize_multiplier(call.scale(index)))
