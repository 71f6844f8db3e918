"""Functions of `keras.ops` that reduce axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.activation import binary, unary
from tersor.formats.keras.layers.normalization import unit_length
from tersor.formats.keras.layers.operands import axes_of, first, first_real, integers, setting
from tersor.formats.keras.layers.operations_logic import condition
from tersor.formats.keras.layers.reshape import reshaped
from tersor.ir.dtypes import DType


def _axes(call: Call, tensor: str) -> list[int]:
    axes = axes_of(call, tensor, integers(call, "axis", 1, None))
    if 0 in axes:
        raise call.refused("a reduction over the batch is not read: its result depends on the other samples")
    return axes


def _keeps(call: Call) -> bool:
    return bool(setting(call, "keepdims", 2, False))


def reduced(call: Call, kind: str, tensor: str, axes: list[int], keep: bool, part: str = "") -> str:
    """A reduction of some axes."""
    shape = [1 if axis in axes else size for axis, size in enumerate(call.shape(tensor)) if keep or axis not in axes]
    places = call.integers(f"{part}_axes".lstrip("_"), axes)
    return call.op(kind, [tensor, places], shape, {"keep_dims": keep}, part)


def reduction(kind: str, call: Call) -> str:
    """Mean, sum, product, extreme along some axes."""
    tensor = first(call) if kind.startswith("REDUCE_M") else first_real(call)
    return reduced(call, kind, tensor, _axes(call, tensor), _keeps(call))


def question(kind: str, call: Call) -> str:
    """Whether any, or all, of some conditions hold."""
    tensor = condition(call, Edge(first(call)), "condition")
    return reduced(call, kind, tensor, _axes(call, tensor), _keeps(call))


def variance(call: Call, part: str = "") -> str:
    """The mean squared distance to the mean."""
    tensor = first_real(call)
    axes = _axes(call, tensor)
    mean = reduced(call, "MEAN", tensor, axes, True, "mean")
    squares = binary("SQUARED_DIFFERENCE", call, tensor, mean, "squares")
    return reduced(call, "MEAN", squares, axes, _keeps(call), part)


def deviation(call: Call) -> str:
    """The root of the variance."""
    return unary("SQRT", call, variance(call, "variance"))


def log_sum_exp(call: Call) -> str:
    """Log of the sum of exponentials, of which the largest is 1."""
    tensor = first_real(call)
    axes, keep = _axes(call, tensor), _keeps(call)
    largest = reduced(call, "REDUCE_MAX", tensor, axes, True, "largest")
    powers = unary("EXP", call, binary("SUB", call, tensor, largest, "below"), "powers")
    logarithm = unary("LOG", call, reduced(call, "SUM", powers, axes, keep, "sum"), "logarithm")
    return binary("ADD", call, logarithm, reshaped(call, largest, call.shape(logarithm), "offset"))


def place_of_extreme(kind: str, call: Call) -> str:
    """The position of the largest or smallest value along an axis: int32."""
    tensor = first(call)
    axes = _axes(call, tensor)
    if len(axes) != 1:
        raise call.refused("it asks for a place among all values of the batch: give one axis")
    shape = [size for axis, size in enumerate(call.shape(tensor)) if axis not in axes]
    place = call.integers("axis", axes)
    option = {"output_type": 2}  # `schema.fbs`, enum TensorType: INT32
    keep = _keeps(call)
    found = call.op(kind, [tensor, place], shape, option, "place" if keep else "", dtype=DType.INT32)
    return (
        reshaped(call, found, [1 if axis in axes else size for axis, size in enumerate(call.shape(tensor))])
        if keep
        else found
    )


def cumulative_sum(call: Call) -> str:
    """CUMSUM along an axis."""
    tensor = first(call)
    axes = _axes(call, tensor)
    if len(axes) != 1:
        raise call.refused("it sums all values of the batch: give one axis")
    options = {"exclusive": False, "reverse": False}
    return call.op("CUMSUM", [tensor, call.constant("axis", np.int32(axes[0]))], call.shape(tensor), options)


def norm(call: Call) -> str:
    """Lengths of vectors, with powers of 1 or 2."""
    tensor = first_real(call)
    order = setting(call, "ord", 1, None)
    axes = axes_of(call, tensor, integers(call, "axis", 2, None))
    keep = bool(setting(call, "keepdims", 3, False))
    if 0 in axes or (order is not None and (order not in (1, 2) or len(axes) != 1)):
        raise call.refused(f"a norm of order {order!r} along the axes {axes} is not read")
    if order == 1:
        return reduced(call, "SUM", unary("ABS", call, tensor, "magnitude"), axes, keep)
    squares = binary("MUL", call, tensor, tensor, "squares")
    return unary("SQRT", call, reduced(call, "SUM", squares, axes, keep, "sum"))


def normalize(call: Call) -> str:
    """Vectors along an axis divided by their length."""
    tensor = first_real(call)
    axes = axes_of(call, tensor, integers(call, "axis", 1, -1))
    if setting(call, "order", 2, 2) != 2 or len(axes) != 1:
        raise call.refused("it normalizes by another length than the usual one, along one axis")
    return unit_length(call, tensor, axes[0])


_REDUCTIONS = {
    "Amax": "REDUCE_MAX",
    "Amin": "REDUCE_MIN",
    "Max": "REDUCE_MAX",
    "Mean": "MEAN",
    "Min": "REDUCE_MIN",
    "Prod": "REDUCE_PROD",
    "Sum": "SUM",
}

LAYERS: dict[str, Callable[[Call], str]] = {
    **{f"ops.{name}": partial(reduction, kind) for name, kind in _REDUCTIONS.items()},
    "ops.All": partial(question, "REDUCE_ALL"),
    "ops.Any": partial(question, "REDUCE_ANY"),
    "ops.Argmax": partial(place_of_extreme, "ARG_MAX"),
    "ops.Argmin": partial(place_of_extreme, "ARG_MIN"),
    "ops.Cumsum": cumulative_sum,
    "ops.Logsumexp": log_sum_exp,
    "ops.Norm": norm,
    "ops.Normalize": normalize,
    "ops.Std": deviation,
    "ops.Var": variance,
}
