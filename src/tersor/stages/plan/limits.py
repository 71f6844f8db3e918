"""Kernels that answer nonsense with the scales at hand: which operators, and why.

`modes` decides by what calibration saw; here the scales are known that values got in the end. What is found stays in
float, or is refused where everything has to be integers. The facts are in `ops`; `tests/test_limits.py` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from math import erf

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op
from tersor.ir.plan import INTEGER, OpPlan
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import quantize
from tersor.numerics.fixed_functions import reciprocal, sign_bits
from tersor.numerics.fixed_point import quantize_multiplier
from tersor.numerics.packing import values_of
from tersor.ops import OPS, Range
from tersor.stages.calibrate import Statistics
from tersor.stages.plan.activations import Activations

_MARGIN = 2.0
"""Values may come this many times nearer to 0 than those that calibration saw."""

_TABLE_POINTS = 512
"""Steps of the tables that int16 kernels interpolate in (`LUTPopulate`, `common.h`)."""

_MOST_COARSE = 1 / 256
"""Of the largest result: the error of a 16-bit answer from which on float is better: what 8 bits have anyway."""

_TABLES: Mapping[str, Callable[[Array], Array]] = {
    "EXP": np.exp,
    "LOG": np.log,
    "RSQRT": lambda values: 1 / np.sqrt(values),
    "GELU": lambda values: values / 2 * (1 + np.vectorize(erf)(values / math.sqrt(2))),
}
"""What the int16 tables hold."""


def beyond_kernels(
    graph: Graph, modes: Mapping[str, OpPlan], activations: Activations, statistics: Statistics
) -> dict[str, str]:
    """By the name of each integer operator whose kernel answers nonsense, why."""
    found = {}
    for op in graph.ops:
        if modes[op.name].compute != INTEGER:
            continue
        why = next((why for limit in _LIMITS if (why := limit(graph, op, activations, statistics))), None)
        if why is not None:
            found[op.name] = why
    return found


def _small_quotients(graph: Graph, op: Op, activations: Activations, statistics: Statistics) -> str | None:
    """A quotient is a product that is shifted to the right, by more than the kernel can where it is small."""
    most = OPS[op.kind].quotient_bits
    result = activations.tensors[op.outputs[0]].params if most is not None else None
    if most is None or result is None:
        return None
    over, under = activations.read_by(op, 0), activations.read_by(op, 1)
    least, largest = _least_steps(graph, op.inputs[0], over, statistics), _most_steps(graph, op.inputs[1], under)
    if quotient_shift(least, largest, over.scale, under.scale, result.scale) <= most:
        return None
    lost = f"its kernel answers nonsense for quotients below a quarter of the result's step of {result.scale:.3g}"
    return f"{lost}, and {op.inputs[0]!r} comes as near to 0 as {least * over.scale:.3g}"


def quotient_shift(over: int, under: int, over_scale: float, under_scale: float, scale: float) -> int:
    """By how many bits the kernel shifts a quotient of integers (without zero points) to the right.

    Source: `DivElementwise` (`reference/div.h`).
    """
    factor = quantize_multiplier(np.float32(over_scale) / (np.float32(under_scale) * np.float32(scale)))
    _, halvings = reciprocal(np.array(under), 31)
    return int(sign_bits(np.array(-over)) + halvings - factor.shift)


def _least_steps(graph: Graph, name: str | None, params: QuantParams, statistics: Statistics) -> int:
    """The least magnitude other than 0 that a value takes, in its steps."""
    assert name is not None
    if graph.tensors[name].is_constant:
        steps = _steps(values_of(graph.tensors[name]), params)
        return int(steps[steps > 0].min(initial=params.dtype.integer_range[1]))
    low, high = statistics.range(name) if name in statistics.observers else (0.0, 0.0)
    return max(1, int(max(low, -high) / _MARGIN / params.scale))


def _most_steps(graph: Graph, name: str | None, params: QuantParams) -> int:
    """The largest magnitude that a value takes, in its steps."""
    assert name is not None
    if graph.tensors[name].is_constant:
        return max(1, int(_steps(values_of(graph.tensors[name]), params).max(initial=1)))
    return max(abs(bound - params.zero_point) for bound in params.dtype.integer_range)


def _steps(values: Array, params: QuantParams) -> Array:
    return np.abs(quantize(values, params).astype(np.int64) - params.zero_point)


def _coarse_table(graph: Graph, op: Op, activations: Activations, statistics: Statistics) -> str | None:
    """A table of points that are far apart is interpolated where the function bends or ends."""
    spec, name = OPS[op.kind], op.inputs[0]
    result = activations.tensors[op.outputs[0]].params if spec.int16_table else None
    if result is None or result.dtype is not DType.INT16 or name is None or name not in statistics.observers:
        return None
    error, largest = table_error(op.kind, statistics.range(name, DType.INT16), activations.read_by(op, 0), result)
    if error <= largest * _MOST_COARSE:
        return None
    return f"its int16 kernel interpolates in {_TABLE_POINTS} steps, and is off by {error:.2g} of {largest:.3g} there"


def table_error(kind: str, bounds: Range, read: QuantParams, result: QuantParams) -> tuple[float, float]:
    """How far an int16 table is off for values within bounds, and the largest magnitude of the results there.

    Where the function has no value, and where the result cannot hold it, points saturate.
    """
    lowest, highest = read.dtype.integer_range
    width = (highest + 1 - lowest) // _TABLE_POINTS
    points = np.arange(lowest, highest + 2, width) * read.scale
    between = np.linspace(*bounds, 8 * _TABLE_POINTS + 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        table, wanted = (_TABLES[kind](item.astype(np.float64)) for item in (points, between))
    table = np.clip(np.where(np.isnan(table), 0.0, table), *result.real_range)
    known = np.isfinite(wanted)
    wanted = np.clip(wanted[known], *result.real_range)
    error = np.abs(np.interp(between[known], points, table) - wanted)
    return float(error.max(initial=0.0)), float(np.abs(wanted).max(initial=0.0))


def _coarse_operand(_graph: Graph, op: Op, activations: Activations, _statistics: Statistics) -> str | None:
    """A kernel in fixed point overflows where one step of its operand is large."""
    limits = OPS[op.kind].scale_limit
    read = activations.read_by(op, 0) if limits else None
    limit = math.inf if read is None else limits.get(read.dtype, math.inf) / op.option("beta", 1.0)
    if read is None or read.scale <= limit:
        return None
    return f"its kernel overflows for steps of {op.inputs[0]!r} over {limit:.3g}, and they are {read.scale:.3g}"


_LIMITS = (_small_quotients, _coarse_table, _coarse_operand)
