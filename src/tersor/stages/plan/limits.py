"""Kernels that answer nonsense with the scales at hand: which operators, and why.

`modes` decides by what calibration saw; here the scales are known that values got in the end. What is found stays in
float, or is refused where everything has to be integers. The facts are in `ops`; `tests/test_limits.py` measures them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op
from tersor.ir.plan import INTEGER, OpPlan
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import quantize
from tersor.numerics.kernel_limits import TABLE_STEPS, quotient_shift, table_error
from tersor.numerics.packing import values_of
from tersor.ops import OPS, step_limit
from tersor.stages.plan.activations import Activations
from tersor.stages.statistics import Statistics

_MARGIN = 2.0
"""Values may come this many times nearer to 0 than those that calibration saw."""

_MOST_COARSE = 1 / 256
"""Of the largest result: the error of a 16-bit answer from which on float is better: what 8 bits have anyway."""


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
    least = _least_steps(graph, op.inputs[0], over, statistics)
    if quotient_shift(least, over.scale, under, result, _most_steps(graph, op.inputs[1], under)) <= most:
        return None
    lost = f"its kernel answers nonsense for quotients below a quarter of the result's step of {result.scale:.3g}"
    return f"{lost}, and {op.inputs[0]!r} comes as near to 0 as {least * over.scale:.3g}"


def _least_steps(graph: Graph, name: str | None, params: QuantParams, statistics: Statistics) -> int:
    """The least magnitude other than 0 that a value takes, in its steps."""
    assert name is not None
    if graph.tensors[name].is_constant:
        steps = _steps(values_of(graph.tensors[name]), params)
        return int(steps[steps > 0].min(initial=params.dtype.integer_range[1]))
    low, high = statistics.seen(name) if name in statistics.observers else (0.0, 0.0)
    return max(1, int(max(low, -high) / _MARGIN / params.scale))


def _most_steps(graph: Graph, name: str | None, params: QuantParams) -> int:
    """The largest magnitude of a constant, in its steps; 0 for what is computed."""
    assert name is not None
    tensor = graph.tensors[name]
    return int(_steps(values_of(tensor), params).max(initial=0)) if tensor.is_constant else 0


def _steps(values: Array, params: QuantParams) -> Array:
    return np.abs(quantize(values, params).astype(np.int64) - params.zero_point)


def _coarse_table(_graph: Graph, op: Op, activations: Activations, statistics: Statistics) -> str | None:
    """A table of points that are far apart is interpolated where the function bends or ends."""
    spec, name = OPS[op.kind], op.inputs[0]
    result = activations.tensors[op.outputs[0]].params if spec.int16_table else None
    if result is None or result.dtype is not DType.INT16 or name is None or name not in statistics.observers:
        return None
    error, largest = table_error(op.kind, statistics.seen(name), activations.read_by(op, 0), result)
    if error <= largest * _MOST_COARSE:
        return None
    return f"its int16 kernel interpolates in {TABLE_STEPS} steps, and is off by {error:.2g} of {largest:.3g} there"


def _coarse_operand(_graph: Graph, op: Op, activations: Activations, _statistics: Statistics) -> str | None:
    """A kernel in fixed point overflows where one step of its operand is large."""
    if not OPS[op.kind].scale_limit:
        return None
    read = activations.read_by(op, 0)
    limit = step_limit(op, read.dtype)
    if read.scale <= limit:
        return None
    return f"its kernel overflows for steps of {op.inputs[0]!r} over {limit:.3g}, and they are {read.scale:.3g}"


def _single_value(graph: Graph, op: Op, activations: Activations, _statistics: Statistics) -> str | None:
    """A reduction over one value is a copy, and its kernel forgets that the scales differ."""
    read = graph.operand(op, 0) if OPS[op.kind].reduces_several else None
    if read is None or read.elements > graph.tensors[op.outputs[0]].elements:
        return None
    if activations.read_by(op, 0) == activations.tensors[op.outputs[0]].params:
        return None
    return "over a single value its kernel forgets to rescale"


_LIMITS = (_single_value, _small_quotients, _coarse_table, _coarse_operand)
