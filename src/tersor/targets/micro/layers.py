"""Rules of TensorFlow Lite Micro for layers: weights, recurrent layers, joining."""

from __future__ import annotations

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ops import LAYERS, LSTM_GATES, LSTM_PROJECTION, LSTM_PROJECTION_BIAS, layer_operands
from tersor.targets._rules import described, rule
from tersor.targets.micro.every import FORM, KERNELS, TYPE
from tersor.targets.micro.kernels import MOST_JOINED

_WEIGHTS = {
    DType.FLOAT32: (DType.FLOAT32,),
    DType.INT8: (DType.INT8, DType.INT4),
    DType.INT16: (DType.INT8,),
}
"""For each type of values, the types of weights that go with it."""

_FOUR_BITS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_PRODUCTS = {**{kind: layer_operands(kind)[:2] for kind in LAYERS}, "UNIDIRECTIONAL_SEQUENCE_LSTM": (0, 2)}
_SAME_TYPE = ("BATCH_MATMUL",)


@rule(
    TYPE,
    "quantize activations, too (tersor quantize --as int8), or none of both (--as float32)",
    KERNELS,
    (*_PRODUCTS, *_SAME_TYPE),
)
def no_hybrid(op: Op, graph: Graph) -> str | None:
    """Weights and values are both integers or both float32: there are no hybrid kernels for dynamic range."""
    data, weights = (graph.operand(op, index) for index in _PRODUCTS.get(op.kind, (0, 1)))
    if data is None or weights is None or data.dtype.is_float == weights.dtype.is_float:
        return None
    return f"{described(data)} times {described(weights)}"


@rule(TYPE, "take weights of 8 bits: tersor quantize --as int8 or int16x8", KERNELS, _PRODUCTS)
def known_weights(op: Op, graph: Graph) -> str | None:
    """Weights have 8 bits; 4 only beside int8 values, in convolutions and dense layers."""
    data, weights = (graph.operand(op, index) for index in _PRODUCTS[op.kind])
    if data is None or weights is None or data.dtype not in _WEIGHTS:
        return None
    is_known = weights.dtype in _WEIGHTS[data.dtype] and (weights.dtype is not DType.INT4 or op.kind in _FOUR_BITS)
    return None if is_known else f"{weights.dtype} weights beside {data.dtype} values"


@rule(
    TYPE,
    "take one scale for the layer (tersor quantize --per-tensor), or 8 bits (--as int8)",
    KERNELS,
    ["FULLY_CONNECTED"],
)
def one_scale_of_four_bits(op: Op, graph: Graph) -> str | None:
    """FULLY_CONNECTED: weights of 4 bits have one scale, not one per channel."""
    weights = graph.operand(op, 1)
    if weights is None or weights.dtype is not DType.INT4 or weights.quant is None:
        return None
    scales = len(weights.quant.scales)
    return None if scales == 1 else f"int4 weights with {scales} scales"


@rule(TYPE, "quantize alpha to int8", KERNELS, ["PRELU"])
def eight_bits_of_alpha(op: Op, graph: Graph) -> str | None:
    """PRELU: beside int16 values alpha is int8."""
    data, alpha = graph.operand(op, 0), graph.operand(op, 1)
    if data is None or alpha is None or data.dtype is not DType.INT16 or alpha.dtype is DType.INT8:
        return None
    return f"alpha {described(alpha)}"


@rule(FORM, "join in steps, of ten at most", KERNELS, ["CONCATENATION"])
def few_joined(op: Op, _graph: Graph) -> str | None:
    """CONCATENATION: of at most 10 values."""
    count = len(op.present_inputs)
    return None if count <= MOST_JOINED else f"{count} values"


@rule(
    FORM,
    "requantize what is joined to the scale of the result (tersor quantize does)",
    KERNELS,
    ["CONCATENATION"],
)
def one_scale_joined(op: Op, graph: Graph) -> str | None:
    """CONCATENATION of int8 values: all have the scale and zero point of the result."""
    result = graph.tensors[op.outputs[0]]
    if result.dtype is not DType.INT8 or result.quant is None:
        return None
    wanted = result.quant.scales, result.quant.zero_points
    for name in op.present_inputs:
        params = graph.tensors[name].quant
        if params is not None and (params.scales, params.zero_points) != wanted:
            return f"scale {params.scale:.6g} to {result.quant.scale:.6g}"
    return None


@rule(FORM, "let the activation be an operator of its own", KERNELS, ["CONCATENATION"])
def no_fused_activation(op: Op, _graph: Graph) -> str | None:
    """CONCATENATION: no fused activation."""
    return "a fused activation" if op.option("fused_activation_function", 0) else None


@rule(FORM, "take a plain LSTM (Keras: LSTM, not a variant)", KERNELS, ["UNIDIRECTIONAL_SEQUENCE_LSTM"])
def plain_lstm(op: Op, graph: Graph) -> str | None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM: all four gates, without peepholes, projection or layer normalization."""
    if graph.operand(op, LSTM_GATES["input"].input) is None:
        return "no input gate (coupled to the forget gate)"
    gates = LSTM_GATES.values()
    parts = {
        "peepholes": [gate.peephole for gate in gates if gate.peephole is not None],
        "a projection": [LSTM_PROJECTION, LSTM_PROJECTION_BIAS],
        "layer normalization": [gate.norm for gate in gates],
    }
    found = (part for part, places in parts.items() if any(graph.operand(op, place) is not None for place in places))
    return next(found, None)


RULES = (
    no_hybrid,
    known_weights,
    one_scale_of_four_bits,
    eight_bits_of_alpha,
    few_joined,
    one_scale_joined,
    no_fused_activation,
    plain_lstm,
)
