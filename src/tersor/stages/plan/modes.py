"""Which operators compute in integers, and why the others do not."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tersor.formats.tflite.flex import is_tensorflow_op
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Tensor
from tersor.ir.outline import distinct
from tersor.ir.plan import DYNAMIC, FLOAT, INTEGER, UNTOUCHED, OpPlan
from tersor.numerics.packing import values_of
from tersor.ops import ANY, BIAS, BOOL, DATA, FREE, NORM, OPS, SAME, SAME_INPUTS, WEIGHT, WEIGHT16, OpSpec
from tersor.recipe import Recipe, Scheme
from tersor.stages.plan.disjoint_sets import DisjointSets
from tersor.stages.plan.recurrent import why_not_hybrid, why_not_recurrent
from tersor.stages.statistics import Statistics

_ZERO_HURTS = {"DIV": 1, "RSQRT": 0, "LOG": 0}
"""Operators with the operand that must not become 0, since the answer would be infinite."""

_MOST_SHARED = 1 / 256
"""The relative error of a 16-bit answer from which on float is better: what 8 bits have anyway."""

_CONTROL_FLOW = frozenset({"IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"})

_CONSTANT_WEIGHTS = (WEIGHT, WEIGHT16, NORM)


def plan_modes(graph: Graph, recipe: Recipe, statistics: Statistics) -> dict[str, OpPlan]:
    """For every operator of the graph, how it computes."""
    modes = {op.name: _mode(graph, op, recipe, statistics) for op in graph.ops}
    if recipe.float_fallback:
        _leave_long_sums(graph, modes, statistics)
        _leave_neighbours(graph, recipe, modes, statistics)
    return modes


def without(
    graph: Graph, recipe: Recipe, statistics: Statistics, modes: dict[str, OpPlan], reasons: Mapping[str, str]
) -> dict[str, OpPlan]:
    """The modes with some operators left in float, and others on account of them; `reasons` by operator name."""
    left = modes | {name: OpPlan(modes[name].kind, FLOAT, None, why, wanted=False) for name, why in reasons.items()}
    if recipe.float_fallback:
        _leave_neighbours(graph, recipe, left, statistics)
    return left


def _leave_neighbours(graph: Graph, recipe: Recipe, modes: dict[str, OpPlan], statistics: Statistics) -> None:
    _leave_divisors(graph, recipe, modes, statistics)
    _leave_islands_of_moves(graph, recipe, modes)


def _mode(graph: Graph, op: Op, recipe: Recipe, statistics: Statistics) -> OpPlan:
    spec = OPS.get(op.kind)
    if not _has_reals(graph, op):
        return OpPlan(op.label, UNTOUCHED, None, "no real numbers")
    if spec is not None and spec.operand_role(0) == ANY:
        return OpPlan(op.label, UNTOUCHED, None, "only the shape is used")
    scheme = recipe.scheme_of(op.kind, op.name)
    if scheme.compute == INTEGER:
        reason = _why_not_integer(graph, op, spec, scheme, statistics)
        if reason is not None or spec is None:
            return OpPlan(op.label, FLOAT, None, reason or "", wanted=False)
        version = spec.version(scheme.activations, weight_type(spec, scheme))
        return OpPlan(op.label, INTEGER, version, f"{scheme.activations} by recipe {recipe.name}")
    if scheme.compute == DYNAMIC:
        return _dynamic_mode(graph, op, spec, recipe)
    return OpPlan(op.label, FLOAT, None, f"float by recipe {recipe.name}")


def _dynamic_mode(graph: Graph, op: Op, spec: OpSpec | None, recipe: Recipe) -> OpPlan:
    weights = {} if spec is None else weight_operands(graph, op, spec)
    if spec is None or spec.dynamic is None or not weights:
        return OpPlan(op.label, FLOAT, None, "no constant weights that a hybrid kernel takes")
    reason = why_not_hybrid(graph, op)
    if reason is not None:
        return OpPlan(op.label, FLOAT, None, reason)
    elements = sum(tensor.elements for tensor in weights.values())
    if elements < recipe.minimum_elements:
        why = f"{elements} weights, fewer than {recipe.minimum_elements}: not worth the work at run time"
        return OpPlan(op.label, FLOAT, None, why)
    return OpPlan(op.label, DYNAMIC, spec.dynamic, f"hybrid kernel by recipe {recipe.name}")


def weight_operands(graph: Graph, op: Op, spec: OpSpec) -> dict[int, Tensor]:
    """The weights of an operator by operand index; empty unless all are dense, finite float constants."""
    indices = [index for index in range(len(op.inputs)) if spec.operand_role(index) in (WEIGHT, WEIGHT16)]
    if spec.operand_index(WEIGHT) is None and spec.dynamic_operand is not None:
        indices = [spec.dynamic_operand]
    found = {index: tensor for index in indices if (tensor := graph.operand(op, index)) is not None}
    return found if all(_is_dense(tensor) for tensor in found.values()) else {}


def _is_dense(tensor: Tensor) -> bool:
    if tensor.data is None or tensor.dtype is not DType.FLOAT32 or tensor.sparsity is not None:
        return False
    return bool(np.isfinite(distinct(tensor.data)).all())


def weight_type(spec: OpSpec, scheme: Scheme) -> DType:
    """The type of an integer operator's weights: 2 and 4 bits only where a kernel takes them, else the next larger."""
    wider = {DType.INT2: (DType.INT2, DType.INT4), DType.INT4: (DType.INT4,)}.get(scheme.weights, ())
    return next((own for own in wider if spec.version(scheme.activations, own) is not None), DType.INT8)


def _has_reals(graph: Graph, op: Op) -> bool:
    names = (*op.present_inputs, *op.outputs)
    return any(graph.tensors[name].dtype.is_float for name in names)


def _why_not_integer(graph: Graph, op: Op, spec: OpSpec | None, scheme: Scheme, statistics: Statistics) -> str | None:
    """The reason why an operator cannot compute in integers, None if it can."""
    if op.kind in _CONTROL_FLOW:
        return "its graphs of control flow are not quantized"
    if op.kind == "CUSTOM":
        return "TensorFlow computes it in float" if is_tensorflow_op(op) else "nothing is known of this custom operator"
    if spec is None or (spec.int8 is None and spec.int16 is None):
        return "LiteRT has no integer kernel for it"
    if spec.version(scheme.activations) is None:
        return f"LiteRT has no {scheme.activations} kernel for it"
    for index in range(len(op.inputs)):
        tensor = graph.operand(op, index)
        if tensor is not None:
            reason = _why_not_operand(tensor, spec.operand_role(index))
            if reason is not None:
                return reason
            unseen = not tensor.is_constant and tensor.name not in statistics.observers
            if unseen and spec.operand_role(index) == DATA and spec.scale != SAME:
                return f"calibration saw no values of {tensor.name!r}"
    for index, name in enumerate(op.outputs):
        if spec.result_role(index) == DATA:
            tensor = graph.tensors[name]
            if tensor.dtype is not DType.FLOAT32:
                return f"its result {name!r} is {tensor.dtype}"
            if spec.scale == FREE and name not in statistics.observers and not tensor.is_constant:
                return f"calibration saw no values of {name!r}"
    reason = (
        _why_not_shared(graph, op, spec, statistics)
        or _why_not_range(graph, op, spec, scheme, statistics)
        or _why_not_compared(graph, op, spec, statistics)
    )
    if reason is None and spec.is_recurrent:
        return why_not_recurrent(graph, op, statistics)
    return reason


def _why_not_range(graph: Graph, op: Op, spec: OpSpec, scheme: Scheme, statistics: Statistics) -> str | None:
    """What a kernel cannot do for the ranges at hand."""
    for index, name in enumerate(op.inputs):
        if index == spec.zero_refused and name is not None and graph.tensors[name].is_constant:
            sizes = np.abs(values_of(graph.tensors[name]))
            if sizes.min() <= sizes.max() / scheme.activations.integer_range[1]:
                return f"its kernel fails on a value that rounds to 0, and {name!r} holds {sizes.min():.3g}"
        if name is None or name not in statistics.observers:
            continue
        low, high = statistics.range(name, scheme.activations)
        steps = scheme.activations.integer_range[1] - scheme.activations.integer_range[0]
        scale = max(high, 0.0, -low) / steps
        if spec.grid is not None and scheme.activations is DType.INT8 and scale < spec.grid:
            return f"its kernel compares on a grid of 1/{1 / spec.grid:.0f}, coarser than the values of {name!r}"
        least = statistics.seen(name)[0]
        if index == spec.zero_refused and (least <= 0 or least < 2 * scale):  # of nothing but 0 there is no scale
            return f"its kernel fails on a value that rounds to 0, and {name!r} starts at {least:.3g}"
    return None


def _why_not_compared(graph: Graph, op: Op, spec: OpSpec, statistics: Statistics) -> str | None:
    """A constant outside the range that a value is quantized in would compare as if it were at its end."""
    if spec.scale != SAME_INPUTS:
        return None
    names = [name for name in op.present_inputs if name in statistics.observers]
    constants = [tensor.data for name in op.present_inputs if (tensor := graph.tensors[name]).is_constant]
    for name in names:
        low, high = statistics.range(name)
        if any(data is not None and (data.min() <= low or data.max() >= high) for data in constants):
            return f"it compares {name!r} with a constant at or outside the end of its range"
    return None


def _why_not_operand(tensor: Tensor, role: str) -> str | None:
    if role == BOOL and tensor.dtype is not DType.BOOL:
        return f"its operand {tensor.name!r} is {tensor.dtype}, and its kernel looks at no scales"
    if role not in (DATA, BIAS, *_CONSTANT_WEIGHTS):
        return None
    if tensor.dtype is not DType.FLOAT32:
        return f"its operand {tensor.name!r} is {tensor.dtype}"
    if tensor.is_variable:
        return f"its operand {tensor.name!r} is state"
    if role != DATA and not tensor.is_constant:
        return f"its {role} {tensor.name!r} is computed at run time"
    if tensor.sparsity is not None:
        return f"its operand {tensor.name!r} is sparse"
    if tensor.elements == 0:
        return f"its operand {tensor.name!r} is empty"
    if tensor.data is not None and not np.isfinite(distinct(tensor.data)).all():
        return f"its operand {tensor.name!r} contains NaN or infinity"
    return None


def _why_not_shared(graph: Graph, op: Op, spec: OpSpec, statistics: Statistics) -> str | None:
    if spec.scale != SAME:
        return None
    names = [name for index, name in enumerate(op.inputs) if name and spec.operand_role(index) == DATA]
    names += [name for index, name in enumerate(op.outputs) if spec.result_role(index) == DATA]
    if any(name in statistics.observers or graph.tensors[name].is_constant for name in names):
        return None
    return f"calibration saw no values of {names[0]!r}"


def long_sums(graph: Graph, modes: dict[str, OpPlan], statistics: Statistics) -> dict[str, str]:
    """Softmaxes over so many values that the floor which the int16 kernel puts under each adds up, and why, by name.

    The kernel's table of exponentials ends at exp(-10); below it, all are 1 of 32767. On MobileNetV1 0.25, with logits
    over a range of 30, a sure answer's probability comes out 3 % too small, and int16x8 has 26 dB instead of 30.
    """
    found = {}
    for op in graph.ops:
        spec, own, name = OPS.get(op.kind), modes[op.name], next(iter(op.present_inputs), "")
        if spec is None or spec.int16_share is None or own.compute != INTEGER or own.version != spec.int16:
            continue
        values = graph.tensors[op.outputs[0]].shape[-1]
        low, high = statistics.range(name) if name in statistics.observers else (0.0, 0.0)
        reaches = (high - low) * op.option("beta", 1.0) > -math.log(spec.int16_share)
        if reaches and values * spec.int16_share > _MOST_SHARED:
            share = f"1/{1 / spec.int16_share:.0f}"
            found[op.name] = (
                f"its int16 kernel takes each of {values} values for at least {share} of the largest, which adds up"
            )
    return found


def _leave_long_sums(graph: Graph, modes: dict[str, OpPlan], statistics: Statistics) -> None:
    for name, why in long_sums(graph, modes, statistics).items():
        modes[name] = OpPlan(modes[name].kind, FLOAT, None, why, wanted=False)


def _leave_divisors(graph: Graph, recipe: Recipe, modes: dict[str, OpPlan], statistics: Statistics) -> None:
    """Values that a float operator divides by, or takes the logarithm of, stay in float if they would round to 0."""
    for op in graph.ops:
        place = _ZERO_HURTS.get(op.kind)
        if place is None or modes[op.name].compute != FLOAT:
            continue
        name = op.inputs[place]
        while name is not None and name in statistics.observers and (producer := graph.producers.get(name)) is not None:
            scheme = recipe.scheme_of(producer.kind, producer.name)
            bounds = statistics.seen(name)[0], statistics.range(name, scheme.activations)[1]
            if modes[producer.name].compute != INTEGER or not _rounds_to_zero(bounds, scheme.activations):
                break
            why = f"{op.kind} {op.name!r} divides by its result, which would round to 0"
            modes[producer.name] = OpPlan(producer.label, FLOAT, None, why, wanted=False)
            name = next(iter(data_edges(graph, producer)), None) if OPS[producer.kind].scale == SAME else None


def _rounds_to_zero(bounds: tuple[float, float], activations: DType) -> bool:
    """Whether positive values of that range come near 0, within two steps, when they are quantized."""
    low, high = bounds
    q_low, q_high = activations.integer_range
    return 0 < low < 2 * high / (q_high - q_low)


def _leave_islands_of_moves(graph: Graph, recipe: Recipe, modes: dict[str, OpPlan]) -> None:
    """Operators that only move values stay in float between float neighbours: integers would gain nothing there."""
    moves = [op for op in graph.ops if modes[op.name].compute == INTEGER and OPS[op.kind].scale == SAME]
    islands = DisjointSets(name for op in moves for name in data_edges(graph, op))
    for op in moves:
        islands.unite(data_edges(graph, op))
    integer_ends = {
        islands.find(name)
        for op in graph.ops
        if modes[op.name].compute == INTEGER and OPS[op.kind].scale != SAME
        for name in data_edges(graph, op)
        if name in islands
    }
    if recipe.interface is not DType.FLOAT32:
        integer_ends |= {islands.find(name) for name in (*graph.inputs, *graph.outputs) if name in islands}
    for op in moves:
        edges = data_edges(graph, op)
        if edges and islands.find(edges[0]) not in integer_ends:
            modes[op.name] = OpPlan(op.label, FLOAT, None, "moves values between float operators")


def data_edges(graph: Graph, op: Op) -> list[str]:
    """The activations that an operator of the table reads or writes as data."""
    spec = OPS[op.kind]
    edges = [name for index, name in enumerate(op.inputs) if name is not None and spec.operand_role(index) == DATA]
    edges += [name for index, name in enumerate(op.outputs) if spec.result_role(index) == DATA]
    return [name for name in edges if not graph.tensors[name].is_constant]
