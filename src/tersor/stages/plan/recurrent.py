"""Layers that keep state in variable tensors: what their constants, states and inner values become, what is refused.

An LSTM in integers is LiteRT's 8x8->16 scheme: 8-bit activations and weights (one scale per tensor), 32-bit biases, and
a 16-bit cell state whose scale is a power of two. Source: `tflite/kernels/unidirectional_sequence_lstm.cc`,
`lstm_eval.cc`, `svdf.cc`; each refusal below is something that these kernels get wrong without saying so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op
from tersor.ir.plan import INTEGER, OpPlan, TensorPlan
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import bias_params, fit_bias, symmetric_params, weight_params
from tersor.ops import (
    BIAS,
    LSTM_CELL_STATE,
    LSTM_GATES,
    LSTM_HIDDEN,
    LSTM_OUTPUT_STATE,
    LSTM_PROJECTION,
    LSTM_PROJECTION_BIAS,
    OPS,
    STATE,
    WEIGHT,
    WEIGHT16,
    GateOperands,
)
from tersor.stages.derive import constant, inner_name
from tersor.stages.plan.activations import Activations
from tersor.stages.statistics import Statistics

_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"

_RELU, _TANH = 1, 4
"""Codes of `ActivationFunctionType` in the schema."""

_GATE_SCALE = 2.0**-12
"""Scale of the gates' sums without layer normalization: the kernel's activations read 16 bits as Q3.12."""

_NORM_UNIT = 2.0**-10
"""Scale of normalized sums (`kTwoToPower20` is its square, `PortableApplyLayerNorm`)."""

_CELL_BITS = range(7)
"""Integer bits of a cell state that the kernel has a tanh for (`PortableApplyTanh`); with others it computes none."""

_TIME_STEPS = 512
"""Largest time weight of an SVDF layer in units of its scale: the sums over its memory are kept in 32 bits."""

_SUM_LIMIT = 2.0**30


@dataclass
class Recurrent:
    """Numbers of the operands that recurrent operators read and of the values inside them; what a user should know."""

    operands: dict[tuple[str, int], TensorPlan] = field(default_factory=dict)
    intermediates: dict[str, tuple[TensorPlan, ...]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def plan_recurrent(
    graph: Graph, modes: dict[str, OpPlan], activations: Activations, statistics: Statistics
) -> Recurrent:
    """Numbers for the constants, states and inner values of the recurrent operators that compute in integers."""
    plan = Recurrent()
    for op in graph.ops:
        if modes[op.name].compute == INTEGER and OPS[op.kind].is_recurrent:
            if op.kind == _LSTM:
                _plan_lstm(graph, op, activations, statistics, plan)
            else:
                _plan_svdf(graph, op, statistics, plan)
            plan.warnings += _stream_warnings(graph, op)
    return plan


def _stream_warnings(graph: Graph, op: Op) -> list[str]:
    """A layer that sees one step per run is made for streams, of which calibration samples are single steps."""
    shape = graph.tensors[op.inputs[0] or ""].shape
    time = 0 if op.option("time_major", False) else 1
    if op.kind == _LSTM and shape[time] != 1:
        return []
    where = f"{op.kind} {op.name!r} remembers earlier runs, but every calibration sample starts from empty state"
    return [f"{where}: the ranges hold for single inputs and may be too narrow for a stream"]


def why_not_recurrent(graph: Graph, op: Op, statistics: Statistics) -> str | None:
    """The reason why a recurrent operator cannot compute in integers, None if it can."""
    reason = _why_not_state(graph, op) or why_not_hybrid(graph, op)
    if reason is not None:
        return reason
    return _why_not_lstm(graph, op, statistics) if op.kind == _LSTM else _why_not_svdf(op, statistics)


def why_not_hybrid(graph: Graph, op: Op) -> str | None:
    """The reason why a recurrent operator cannot take int8 weights, None if it can."""
    if op.kind != _LSTM:
        return None
    recurrent = [graph.operand(op, place.recurrent) for place in LSTM_GATES.values()]
    if any(tensor is not None and len(tensor.shape) != 2 for tensor in recurrent):
        return "its kernel takes diagonal recurrent weights in float only"
    return None


def _why_not_state(graph: Graph, op: Op) -> str | None:
    for index, name in enumerate(op.inputs):
        if name is None or OPS[op.kind].operand_role(index) != STATE:
            continue
        if not graph.tensors[name].is_variable:
            return f"its state {name!r} is not a variable tensor"
        uses = [reader for reader in graph.ops if name in (*reader.inputs, *reader.outputs)]
        if len(uses) > 1 or name in (*graph.inputs, *graph.outputs):
            return f"its state {name!r} is used by others too"
    return None


def _why_not_lstm(graph: Graph, op: Op, statistics: Statistics) -> str | None:
    if op.option("fused_activation_function", 0) != _TANH:
        return "its integer kernel knows tanh only, and it asks for another activation"
    projection = graph.operand(op, LSTM_PROJECTION)
    if op.option("proj_clip", 0.0) > 0:
        return "its integer kernel clips the projection without regard to the zero point"
    peephole = graph.operand(op, LSTM_GATES["output"].peephole or 0)
    if peephole is not None and projection is not None and projection.shape[0] != projection.shape[1]:
        return "its integer kernel takes the size of the peephole weights from the projection"
    cell = op.inputs[LSTM_CELL_STATE]
    if cell is None or cell not in statistics.observers:
        return "calibration could not compute its cell state"
    bound = _bound(statistics.range(cell, DType.INT16))
    limit = 2.0 ** _CELL_BITS[-1]
    if bound > limit:
        return f"its cell state reaches {bound:.4g}, and the integer kernel holds {limit:g}"
    return None


def _why_not_svdf(op: Op, statistics: Statistics) -> str | None:
    if op.option("fused_activation_function", 0) != _RELU:
        return "its integer kernel knows ReLU only, and it asks for another activation"
    state = op.inputs[OPS[op.kind].operand_index(STATE) or 0]
    if state not in statistics.observers:
        return "calibration could not compute its state"
    if _bound(statistics.range(op.outputs[0])) == 0:
        return "it is 0 in every calibration sample, and its integer kernel needs to know its range"
    return None


def _plan_lstm(graph: Graph, op: Op, activations: Activations, statistics: Statistics, plan: Recurrent) -> None:
    output = activations.tensors[op.outputs[0]]
    assert output.params is not None
    cell_name = op.inputs[LSTM_CELL_STATE]
    assert cell_name is not None
    cell = _power_of_two_params(statistics.range(cell_name, DType.INT16))
    plan.operands[op.name, LSTM_OUTPUT_STATE] = replace(output, why="state: as the result")
    plan.operands[op.name, LSTM_CELL_STATE] = TensorPlan(DType.INT16, cell, "cell state, scale a power of two")
    input_scale = activations.read_by(op, 0).scale
    for place in LSTM_GATES.values():
        _plan_gate(graph, op, place, input_scale, plan)
    hidden = TensorPlan(DType.INT8, output.params, "hidden values: as the result")
    projection = constant(graph, op, LSTM_PROJECTION)
    if projection is not None:
        # The kernel negates the zero point of hidden values (LiteRT issue b/246629213): 0 is right either way.
        params = symmetric_params(*statistics.range(inner_name(op, LSTM_HIDDEN)), DType.INT8)
        hidden = TensorPlan(DType.INT8, params, "hidden values before the projection")
        weights, bias = constant(graph, op, LSTM_PROJECTION), constant(graph, op, LSTM_PROJECTION_BIAS)
        _plan_product(op, (LSTM_PROJECTION, weights), (LSTM_PROJECTION_BIAS, bias), params.scale, plan)
    plan.intermediates[op.name] = (*_gate_sums(op, statistics), hidden)


def _plan_gate(graph: Graph, op: Op, place: GateOperands, input_scale: float, plan: Recurrent) -> None:
    weights, bias, norm = (constant(graph, op, index) for index in (place.input, place.bias, place.norm))
    recurrent, peephole = constant(graph, op, place.recurrent), constant(graph, op, place.peephole)
    if weights is None or recurrent is None:
        return
    if norm is None:
        _plan_product(op, (place.input, weights), (place.bias, bias), input_scale, plan)
    else:
        _plan_weight(op, place.input, weights, DType.INT8, plan)
        _plan_product(op, (place.norm, norm), (place.bias, bias), _NORM_UNIT, plan, DType.INT16)
    _plan_weight(op, place.recurrent, recurrent, DType.INT8, plan)
    if peephole is not None and place.peephole is not None:
        _plan_weight(op, place.peephole, peephole, DType.INT16, plan)


def _plan_weight(op: Op, index: int, values: Array, dtype: DType, plan: Recurrent) -> None:
    params = weight_params(values, dtype, None)
    plan.operands[op.name, index] = TensorPlan(dtype, params, f"symmetric {dtype} weights, one scale")


def _plan_product(
    op: Op,
    weight: tuple[int, Array | None],
    bias: tuple[int, Array | None],
    value_scale: float,
    plan: Recurrent,
    dtype: DType = DType.INT8,
) -> None:
    """Weights, and the bias in the scale of their products with values of scale `value_scale`."""
    (index, weights), (bias_index, biases) = weight, bias
    assert weights is not None
    params, note = weight_params(weights, dtype, None), ""
    if biases is not None:
        params, note = fit_bias(biases, value_scale, params)
        scales = bias_params(value_scale, params, DType.INT32)
        plan.operands[op.name, bias_index] = TensorPlan(DType.INT32, scales, "scale of the products it is added to")
    plan.operands[op.name, index] = TensorPlan(dtype, params, f"symmetric {dtype} weights, one scale{note}")


def _gate_sums(op: Op, statistics: Statistics) -> list[TensorPlan]:
    """Numbers of the sums that layer normalization reads; without it the kernel's own."""
    plain = TensorPlan(DType.INT16, QuantParams((_GATE_SCALE,), (0,), DType.INT16), "gate: the kernel's fixed scale")
    plans = []
    for index, place in enumerate(LSTM_GATES.values()):
        name = inner_name(op, index)
        if place.norm < len(op.inputs) and op.inputs[place.norm] is not None and name in statistics.observers:
            params = symmetric_params(*statistics.range(name, DType.INT16), DType.INT16)
            plans.append(TensorPlan(DType.INT16, params, "gate before normalization"))
        else:
            plans.append(plain)
    return plans


def _plan_svdf(graph: Graph, op: Op, statistics: Statistics, plan: Recurrent) -> None:
    places = [OPS[op.kind].operand_index(role) for role in (WEIGHT, WEIGHT16, BIAS, STATE)]
    feature, time, bias, state = (place for place in places if place is not None)
    state_name, weights, times = op.inputs[state], constant(graph, op, feature), constant(graph, op, time)
    assert state_name is not None
    assert weights is not None
    assert times is not None
    state_params = symmetric_params(*statistics.range(state_name, DType.INT16), DType.INT16)
    plan.operands[op.name, state] = TensorPlan(DType.INT16, state_params, "state: range of the features it remembers")
    _plan_weight(op, feature, weights, DType.INT8, plan)
    time_params = _time_params(times, op.option("rank", 1))
    biases = constant(graph, op, bias)
    if biases is not None:
        time_params, _ = fit_bias(biases, state_params.scale, time_params)
        scales = bias_params(state_params.scale, time_params, DType.INT32)
        plan.operands[op.name, bias] = TensorPlan(DType.INT32, scales, "state scale x time weight scale")
    plan.operands[op.name, time] = TensorPlan(DType.INT16, time_params, "symmetric time weights, one scale of 10 bits")


def _time_params(times: Array, rank: int) -> QuantParams:
    """Parameters of time weights [units x rank, memory], coarse enough for the sum over a unit to fit 32 bits."""
    largest = float(np.max(np.abs(times), initial=0.0)) or 1.0
    sums = np.abs(times.astype(np.float64)).reshape(-1, rank * times.shape[1]).sum(axis=1)
    scale = max(largest / _TIME_STEPS, float(sums.max(initial=0.0)) * DType.INT16.integer_range[1] / _SUM_LIMIT)
    return QuantParams((float(np.float32(scale)),), (0,), DType.INT16)


def _power_of_two_params(bounds: tuple[float, float]) -> QuantParams:
    """The narrowest parameters of a cell state that cover `bounds` and that the kernel has a tanh for."""
    bound = _bound(bounds)
    bits = math.ceil(math.log2(bound)) if bound > 0 else 0
    return QuantParams((2.0 ** (max(bits, _CELL_BITS[0]) - 15),), (0,), DType.INT16)


def _bound(bounds: tuple[float, float]) -> float:
    return max(abs(bounds[0]), abs(bounds[1]))
