"""Rounding as integers do it, with gradients that pass it by.

The straight-through estimator (Bengio et al. 2013, arXiv 1308.3432): forward, a value is what its integer stands for;
backward, rounding is the identity, and what lies beyond the range has no gradient (Jacob et al. 2018, arXiv
1712.05877).
Scale and zero point are chosen in the network as `numerics.affine` chooses them for the file.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from tersor.ir.dtypes import DType

_SMALLEST = 1e-9
"""Ranges narrower than this are of values that are all 0."""


def straight_through_round(x: Any) -> Any:
    """Round to even, as if it were the identity to gradients."""
    return x + ops.stop_gradient(ops.round(x) - x)


def fake_quantize(x: Any, low: Any, high: Any, dtype: DType) -> Any:
    """Activations of one scale: asymmetric in int8, symmetric in int16.

    Args:
        x: float values of any shape.
        low: the smallest value to represent, a scalar; 0 is always represented.
        high: the largest one.
        dtype: INT8 or INT16.
    """
    q_low, q_high = dtype.integer_range
    scale = activation_scale(low, high, dtype)
    if dtype is DType.INT16:
        return scale * straight_through_round(ops.clip(x / scale, -q_high - 1.0, float(q_high)))
    zero_point = straight_through_round(ops.clip(q_low - ops.minimum(low, 0.0) / scale, q_low, q_high))
    return fake_quantize_fixed(x, scale, zero_point, dtype)


def activation_scale(low: Any, high: Any, dtype: DType) -> Any:
    """The scale that covers a range and 0."""
    q_low, q_high = dtype.integer_range
    if dtype is DType.INT16:
        return ops.maximum(ops.maximum(ops.absolute(low), ops.absolute(high)), _SMALLEST) / q_high
    return ops.maximum(ops.maximum(high, 0.0) - ops.minimum(low, 0.0), _SMALLEST) / (q_high - q_low)


def fake_quantize_fixed(x: Any, scale: Any, zero_point: Any, dtype: DType) -> Any:
    """Activations of a scale and zero point that are given."""
    q_low, q_high = dtype.integer_range
    return scale * (straight_through_round(ops.clip(x / scale + zero_point, q_low, q_high)) - zero_point)
