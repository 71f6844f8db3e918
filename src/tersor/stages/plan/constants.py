"""What the constants become: weights, biases, and what stays.

Weights are symmetric, per channel where the kernel allows it. A bias has the scale of the products it is added to;
where that would not fit 32 bits the weights' scale is widened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op
from tersor.ir.plan import DYNAMIC, FLOAT, INTEGER, OpPlan, TensorPlan
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import bias_params, fit_bias, weight_params
from tersor.numerics.packing import values_of
from tersor.ops import BIAS, DATA, OPS, WEIGHT, OpSpec
from tersor.recipe import Recipe, Scheme
from tersor.stages.plan.activations import Activations
from tersor.stages.plan.modes import weight_operands, weight_type

Operands = dict[tuple[str, int], TensorPlan]

_FLOAT16_LIMIT = 65504.0


def plan_constants(
    graph: Graph,
    recipe: Recipe,
    modes: dict[str, OpPlan],
    activations: Activations,
    weights: Mapping[str, QuantParams],
) -> Operands:
    """Numbers for the constant operands of each operator; `weights` has those of layers whose scales are given."""
    operands: Operands = {}
    for op in graph.ops:
        scheme = recipe.scheme_of(op.kind, op.name)
        compute = modes[op.name].compute
        if compute == INTEGER and OPS[op.kind].operand_index(WEIGHT) is not None and not OPS[op.kind].is_recurrent:
            given = weights.get(op.name)
            operands |= _integer(graph, op, OPS[op.kind], scheme, activations, recipe.weight_observer, given)
        elif compute == DYNAMIC:
            operands |= _dynamic(graph, op, scheme, recipe)
        elif compute == FLOAT and scheme.compute == "float":
            operands |= _stored(graph, op, scheme, recipe)
    return operands


def _integer(
    graph: Graph,
    op: Op,
    spec: OpSpec,
    scheme: Scheme,
    activations: Activations,
    observer: str,
    given: QuantParams | None,
) -> Operands:
    data, weight, bias = (spec.operand_index(role) for role in (DATA, WEIGHT, BIAS))
    assert data is not None
    assert weight is not None
    assert bias is not None
    input_params = activations.read_by(op, data)
    weights = graph.operand(op, weight)
    assert weights is not None
    dtype = weight_type(spec, scheme)
    axis = spec.weight_axis if scheme.granularity == "per_channel" else None
    why = f"symmetric {dtype} weights, " + ("one scale" if axis is None else f"a scale per channel (axis {axis})")
    if given is None or (given.dtype.bits or 0) > (dtype.bits or 0):
        params = weight_params(values_of(weights), dtype, axis, observer)
        why += f" by {observer}" if observer != "min_max" else ""
    else:
        params, why = replace(given, dtype=dtype), why + ", as trained"
    bias_tensor = graph.operand(op, bias)
    if bias_tensor is not None:
        params, note = fit_bias(values_of(bias_tensor), input_params.scale, params)
        why += note
    bias_dtype = DType.INT64 if scheme.activations is DType.INT16 else DType.INT32
    found: Operands = {(op.name, weight): TensorPlan(dtype, params, why)}
    if bias_tensor is not None or spec.needs_bias:
        scales = bias_params(input_params.scale, params, bias_dtype)
        found[op.name, bias] = TensorPlan(bias_dtype, scales, "input scale x weight scale")
    return found


def _dynamic(graph: Graph, op: Op, scheme: Scheme, recipe: Recipe) -> Operands:
    spec = OPS[op.kind]
    # The hybrid depthwise kernel reads a scale per channel whatever the file says.
    per_channel = scheme.granularity == "per_channel" or op.kind == "DEPTHWISE_CONV_2D"
    found: Operands = {}
    for index, tensor in weight_operands(graph, op, spec).items():
        axis = spec.weight_axis if per_channel else None
        params = weight_params(values_of(tensor), DType.INT8, axis, recipe.weight_observer)
        found[op.name, index] = TensorPlan(DType.INT8, params, "int8 weights of a hybrid kernel")
    return found


def _stored(graph: Graph, op: Op, scheme: Scheme, recipe: Recipe) -> Operands:
    """Weights that are stored in fewer bits and restored to float before use."""
    found: Operands = {}
    spec = OPS.get(op.kind)
    if scheme.weights is DType.FLOAT16:
        for index in range(len(op.inputs)):
            tensor = graph.operand(op, index)
            if tensor is not None and _fits_float16(tensor.data, tensor.dtype):
                found[op.name, index] = TensorPlan(DType.FLOAT16, None, "stored in float16")
    elif scheme.weights in (DType.INT8, DType.INT4) and spec is not None:
        axis = spec.weight_axis if scheme.granularity == "per_channel" else None
        for place, weights in weight_operands(graph, op, spec).items():
            if weights.elements >= recipe.minimum_elements:
                params = weight_params(values_of(weights), scheme.weights, axis, recipe.weight_observer)
                found[op.name, place] = TensorPlan(scheme.weights, params, f"stored in {scheme.weights}")
    return found


def _fits_float16(data: Array | None, dtype: DType) -> bool:
    if data is None or dtype is not DType.FLOAT32 or data.size < 2:
        return False
    return bool(np.max(np.abs(data)) <= _FLOAT16_LIMIT)
