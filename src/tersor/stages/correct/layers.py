"""Which layers can be corrected, and their weights as matrices and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tersor.algorithms._contract import Layer, Moments, nearest
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op, Tensor
from tersor.ir.plan import INTEGER, Plan, TensorPlan
from tersor.ir.quant import PerTensor, QuantParams
from tersor.numerics.affine import SMALLEST_SCALE, bias_params, fit_bias
from tersor.numerics.packing import values_of
from tersor.numerics.patches import Window
from tersor.ops import ALL, BIAS_VERSION, CLAMPS, LAYERS, LayerOperands, Range, layer_operands
from tersor.stages.correct.windows import averaging_of, turned, window_of
from tersor.stages.visible import Visibility, narrowed

Operands = Mapping[tuple[str, int], TensorPlan]


@dataclass(frozen=True)
class Correctable:
    """A layer of the graph.

    Attributes:
        op: its operator.
        operands: where its operands are.
        window: how it moves over its input.
        shape: G, O, K.
        weights: its weights.
        bias: its bias.
        params: of its weights.
        input_scale: of the values that it reads; None where it computes in float, with a bias that is not rounded.
        shared: whether other operators read the same weights.
        positions: how often the weights are used on a sample.
        averaging: the operator that averages all positions of a sample to the input of this layer; None if none does.
        clamp: the smallest and largest value that comes through its activation function and that a reader sees.
    """

    op: Op
    operands: LayerOperands
    window: Window
    shape: tuple[int, int, int]
    weights: Tensor
    bias: Tensor
    params: QuantParams
    input_scale: float | None
    shared: bool
    positions: int
    averaging: Op | None = None
    clamp: Range = ALL

    @property
    def is_coarse(self) -> bool:
        """Whether steps of the weights are large: 4 bits, or one scale for all."""
        return self.params.dtype.is_packed or isinstance(self.params.granularity, PerTensor)

    def described(self, moments: Moments) -> Layer:
        """The layer as algorithms see it, its weights rounded to the nearest integers."""
        limit = self.params.dtype.integer_range[1]
        weights, bias = self.matrices, self.biases
        least = replace(self.params, scales=(SMALLEST_SCALE,) * len(self.params.scales))
        if self.input_scale is not None:
            least, _ = fit_bias(bias, self.input_scale, least)
        scales = self._per_output(self.params)
        return Layer(
            name=self.op.name,
            weights=weights,
            bias=bias,
            scales=scales,
            limit=limit,
            target=weights,
            rounded=nearest(weights, scales, limit),
            shifted=bias,
            moments=moments,
            smallest_scales=self._per_output(least),
            clamp=self.clamp,
            one_scale=isinstance(self.params.granularity, PerTensor),
        )

    def nearest(self) -> Array:
        """The weights rounded to the nearest integers times their scales, in float32 as the operator has them."""
        steps = self._per_output(self.params)
        return self.restored(nearest(self.matrices, steps, self.params.dtype.integer_range[1])).astype(np.float32)

    def scaled(self, scales: Array, operands: Operands) -> Operands:
        """The plan of the weights and of the bias with other scales [G, O] of the weights."""
        own = scales.reshape(-1)[: len(self.params.scales)]
        params = replace(self.params, scales=tuple(float(np.float32(scale)) for scale in own))
        keys = (self.op.name, self.operands.weights), (self.op.name, self.operands.bias)
        weights = operands[keys[0]]
        found = {keys[0]: replace(weights, params=params, why=f"{weights.why}, chosen by the output's error")}
        if self.input_scale is not None:
            bias = operands[keys[1]]
            found[keys[1]] = replace(bias, params=bias_params(self.input_scale, params, bias.dtype))
        return found

    def restored(self, matrices: Array) -> Array:
        """Weights as matrices -> as the operator has them."""
        shape = self.weights.shape
        if self.op.kind == "DEPTHWISE_CONV_2D":
            return np.ascontiguousarray(matrices.reshape(shape[3], -1).T.reshape(shape))
        values = matrices.reshape(shape)
        return np.ascontiguousarray(turned(values)) if self.op.kind == "TRANSPOSE_CONV" else values

    @property
    def biases(self) -> Array:
        """The bias, [G, O] in float64."""
        return values_of(self.bias).astype(np.float64).reshape(self.shape[:2])

    @property
    def matrices(self) -> Array:
        """The weights, [G, O, K] in float64."""
        values = values_of(self.weights).astype(np.float64)
        if self.op.kind == "DEPTHWISE_CONV_2D":
            values = values.reshape(-1, values.shape[3]).T
        if self.op.kind == "TRANSPOSE_CONV":
            values = turned(values)
        return values.reshape(self.shape)

    def _per_output(self, params: QuantParams) -> Array:
        """The scale of each output's weights, [G, O]."""
        groups, outputs, _ = self.shape
        return np.broadcast_to(np.array(params.scales), groups * outputs).reshape(groups, outputs)


def with_biases(model: Model, plan: Plan) -> tuple[Model, Plan]:
    """The model and its plan with a bias of its own for every layer that may be corrected."""
    graph, ops, tensors = model.graph, {}, []
    operands = dict(plan.operands)
    seen: set[str] = set()
    for op in graph.ops:
        if not _has_integer_weights(graph, op, plan):
            continue
        place = layer_operands(op.kind)
        planned = plan.operands[op.name, place.weights]
        assert planned.params is not None
        bias = graph.operand(op, place.bias)
        if bias is None or len(graph.consumers[bias.name]) > 1 or bias.name in seen:
            channels = graph.tensors[op.outputs[0]].shape[-1]
            data = np.zeros(channels, np.float32) if bias is None else values_of(bias)
            name = graph.fresh_name(f"{op.name}/bias", seen)
            tensors.append(Tensor(name, data.shape, DType.FLOAT32).with_data(data))
            inputs = (*op.inputs[: place.bias], *[None] * (place.bias - len(op.inputs)), name)
            ops[op.name] = (replace(op, inputs=inputs, version=max(op.version, BIAS_VERSION.get(op.kind, 1))),)
            seen.add(name)
        read = _input_params(op, plan)
        if (op.name, place.bias) not in operands and read is not None:
            dtype = DType.INT64 if read.dtype is DType.INT16 else DType.INT32
            params = bias_params(read.scale, planned.params, dtype)
            operands[op.name, place.bias] = TensorPlan(dtype, params, "input scale x weight scale")
    if not ops:
        return model, replace(plan, operands=operands)
    return model.with_graph(graph.edit(replace_ops=ops, tensors=tensors)), replace(plan, operands=operands)


def correctable(graph: Graph, plan: Plan) -> list[Correctable]:
    """The layers whose weights become integers, in the order in which they are computed."""
    visible = Visibility(graph, plan.computes, plan.reach)
    return [_layer(graph, op, plan, visible) for op in graph.ops if _has_integer_weights(graph, op, plan)]


def _input_params(op: Op, plan: Plan) -> QuantParams | None:
    """The numbers in which a layer reads its input; None where it computes in float."""
    if plan.ops[op.name].compute != INTEGER:
        return None
    index = layer_operands(op.kind).data
    name = op.inputs[index]
    assert name is not None
    planned = plan.operands.get((op.name, index)) or plan.tensors[name]
    assert planned.params is not None
    return planned.params


def _has_integer_weights(graph: Graph, op: Op, plan: Plan) -> bool:
    if op.kind not in LAYERS:
        return False
    place = layer_operands(op.kind)
    data, bias = graph.operand(op, place.data), graph.operand(op, place.bias)
    planned = plan.operands.get((op.name, place.weights))
    if data is None or data.is_constant or planned is None or planned.params is None:
        return False
    return bias is None or bias.is_constant


def _layer(graph: Graph, op: Op, plan: Plan, visible: Visibility) -> Correctable:
    place = layer_operands(op.kind)
    weights, bias = graph.operand(op, place.weights), graph.operand(op, place.bias)
    params = plan.operands[op.name, place.weights].params
    assert weights is not None
    assert bias is not None
    assert params is not None
    window = window_of(graph, op, weights)
    outputs = weights.shape[3 if op.kind == "DEPTHWISE_CONV_2D" else 0]
    shape = (window.groups, outputs // window.groups, weights.elements // outputs)
    read = _input_params(op, plan)
    scale = None if read is None else read.scale
    positions = graph.tensors[op.outputs[0]].elements // outputs
    shared = len(graph.consumers[weights.name]) > 1
    averaging = averaging_of(graph, op) if shape[0] == 1 else None
    fused = CLAMPS.get(op.option("fused_activation_function", 0) or 0, ALL)
    clamp = narrowed(fused, visible.range(op.outputs[0]))
    return Correctable(op, place, window, shape, weights, bias, params, scale, shared, positions, averaging, clamp)
