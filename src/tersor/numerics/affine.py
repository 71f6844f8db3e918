"""Quantization arithmetic on arrays: choosing parameters, rounding, and back.

Source: the LiteRT 8-bit quantization specification. One rule everywhere: ``real = scale * (q - zero_point)``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.ir.outline import is_outline, outline
from tersor.ir.quant import PerChannel, PerTensor, QuantParams

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""A scale is a normal float32: kernels multiply and divide by it."""

_BIAS_LIMIT = 2.0**30
"""Largest bias in units of its scale: half of int32, the other half is for the sum of products."""

WEIGHT_OBSERVERS = ("min_max", "mse")
"""Ways to choose the range of weights."""

_SHARES = np.linspace(1.0, 0.4, 31)
"""Ranges of weights that are tried, in parts of the largest; the first of equals is taken."""

_UNIT_RANGE = (-1.0, 1.0)
"""Stands in for the range of a tensor that is zero everywhere, which determines no scale."""


def asymmetric_params(low: float, high: float, dtype: DType) -> QuantParams:
    """Per-tensor parameters that cover [low, high] and hold 0 exactly, with the whole integer range in use.

    Raises ValueError if a bound is not finite or low > high.
    """
    _require_range(low, high)
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = _UNIT_RANGE
    q_low, q_high = dtype.integer_range
    scale = _float32_scale((high - low) / (q_high - q_low))
    zero_point = int(np.clip(np.rint(q_low - low / scale), q_low, q_high))
    return QuantParams((scale,), (zero_point,), dtype)


def symmetric_params(low: float, high: float, dtype: DType) -> QuantParams:
    """Per-tensor parameters with zero point 0 that cover [low, high]; the lowest integer stays unused.

    Raises ValueError if a bound is not finite or low > high.
    """
    _require_range(low, high)
    bound = max(abs(low), abs(high)) or _UNIT_RANGE[1]
    return QuantParams((_float32_scale(bound / dtype.integer_range[1]),), (0,), dtype)


def weight_params(weights: Array, dtype: DType, axis: int | None, observer: str = "min_max") -> QuantParams:
    """Symmetric parameters for constant weights, per index along `axis` or for all together.

    The narrow range is used ([-127, 127] for int8, [-7, 7] for int4), as the specification demands. A channel of
    zeros takes the largest scale of the others, so that products with it stay in the range kernels handle.

    Args:
        weights: of any shape.
        dtype: an integer type.
        axis: the channels' axis; None for one scale.
        observer: one of `WEIGHT_OBSERVERS`: "min_max" covers every weight, "mse" minimises the sum of squared errors.
    """
    q_high = dtype.integer_range[1]
    count = 1 if axis is None else weights.shape[axis]
    if is_outline(weights):
        rows: Array = np.zeros((count, 1), weights.dtype)
    else:
        rows = np.moveaxis(weights, axis or 0, 0).reshape(count, weights.size // max(count, 1))
    bounds = np.max(np.abs(rows), axis=1, initial=0.0).astype(np.float64)
    if observer == "mse":
        bounds = bounds * _least_error_shares(rows, bounds / q_high, q_high)
    bounds[bounds == 0] = bounds.max() or _UNIT_RANGE[1]
    scales = tuple(_float32_scale(bound / q_high) for bound in bounds)
    return QuantParams(scales, (0,) * len(scales), dtype, PerTensor() if axis is None else PerChannel(axis))


def _least_error_shares(rows: Array, scales: Array, q_high: int) -> Array:
    """By how much to narrow the scale of each row [rows, weights] for the smallest sum of squared errors."""
    best, found = np.full(len(rows), np.inf), np.ones(len(rows))
    for share in _SHARES:
        own = np.maximum(scales * share, SMALLEST_SCALE).astype(np.float32)[:, None]
        integers = np.clip(np.rint(rows / own), -q_high, q_high)
        errors = np.sum((integers * own - rows) ** 2, axis=1, dtype=np.float64)
        found = np.where(errors < best, share, found)
        best = np.minimum(best, errors)
    return found


def quantize(values: Array, params: QuantParams, *, narrow: bool = False) -> Array:
    """Real numbers to integers: round half to even of value/scale + zero point, saturated.

    Args:
        values: floats of any shape.
        params: per tensor or per channel.
        narrow: leave the lowest integer unused (weights).

    Returns:
        Integers of the NumPy type that holds `params.dtype` (int8 for packed types), same shape.
    """
    if is_outline(values):
        return outline(values.shape, params.dtype.numpy)
    low, high = params.dtype.integer_range
    scales, zero_points = _broadcast(params, values.ndim)
    scaled = np.array(values, np.float64)  # worked on in place: weights are large
    scaled /= scales
    np.rint(scaled, out=scaled)
    scaled += zero_points
    return np.clip(scaled, low + narrow, high, out=scaled).astype(params.dtype.numpy)


def dequantize(values: Array, params: QuantParams) -> Array:
    """Integers to the real numbers they stand for, float32, same shape."""
    scales, zero_points = _broadcast(params, values.ndim)
    return np.asarray((values.astype(np.float64) - zero_points) * scales, np.float32)


def offset_of(table: Array) -> int | None:
    """What is to be added to any byte to get its integer in a table [256, channels]; None if that differs."""
    offsets = np.unique(table.astype(np.int64) - np.arange(256)[:, np.newaxis])
    return int(offsets[0]) if offsets.size == 1 else None


def bias_params(input_scale: float, weights: QuantParams, dtype: DType) -> QuantParams:
    """Parameters of a bias: the scale of the products it is added to, zero point 0, per channel like the weights."""
    scales = tuple(float(np.float32(input_scale) * np.float32(scale)) for scale in weights.scales)
    granularity = PerTensor() if isinstance(weights.granularity, PerTensor) else PerChannel(0)
    return QuantParams(scales, (0,) * len(scales), dtype, granularity)


def fit_bias(bias: Array, input_scale: float, params: QuantParams) -> tuple[QuantParams, str]:
    """Widen the scale of the weights whose bias would overflow 32 bits.

    Args:
        bias: [channels].
        input_scale: scale of the values that are multiplied with the weights.
        params: of the weights, per tensor or per channel.

    Returns:
        The parameters, and a note for the plan, empty if they are as they were.
    """
    needed = np.abs(bias.astype(np.float64)).reshape(-1) / (_BIAS_LIMIT * input_scale)
    if isinstance(params.granularity, PerTensor):
        needed = needed.max(keepdims=True, initial=0.0)
    scales = np.maximum(params.scales, needed)
    count = int(np.sum(scales > params.scales))
    if not count:
        return params, ""
    wider = replace(params, scales=tuple(float(np.float32(scale)) for scale in scales))
    return wider, f"; {count} widened because the bias would overflow 32 bits"


def _broadcast(params: QuantParams, rank: int) -> tuple[Array, Array]:
    scales, zero_points = np.array(params.scales, np.float64), np.array(params.zero_points, np.int64)
    if isinstance(params.granularity, PerTensor):
        return scales[0], zero_points[0]
    axis = params.axis
    assert axis is not None
    shape = [1] * rank
    shape[axis] = -1
    return scales.reshape(shape), zero_points.reshape(shape)


def _require_range(low: float, high: float) -> None:
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"not a range: [{low}, {high}]")


def _float32_scale(scale: float) -> float:
    return max(float(np.float32(scale)), SMALLEST_SCALE)
