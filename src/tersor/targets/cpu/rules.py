"""Why XNNPACK leaves an operator to LiteRT's builtin kernels, as far as that is known.

What XNNPACK takes is measured; these rules only say why it does not take something. Source:
`tflite/delegates/xnnpack/xnnpack_delegate.cc` of LiteRT 2.3; `tests/test_cpu.py` holds them against what it does with
an example of each operator in each type.
"""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Tensor
from tersor.ops import LAYERS, layer_operands
from tersor.targets._rules import described, rule
from tersor.targets.cpu.kernels import FLOAT, INTEGER

SOURCE = "the delegate's source, and files loaded in LiteRT 2.3"
LEFT = "left to LiteRT's builtin kernels"
NO_OPERATOR = "XNNPACK does not have the operator"
TYPE = "XNNPACK does not have it in this type"
FORM = "XNNPACK does not have it in this form"

_BYTES = (DType.INT8, DType.UINT8)
_INSTEAD = {
    "RELU": "fuse it into the layer before: tersor quantize does, where no one else reads that layer",
    "RELU6": "fuse it into the layer before: tersor quantize does, where no one else reads that layer",
    "AVERAGE_POOL_2D": "use MEAN where it averages over the whole image",
    "HARD_SWISH": "use ReLU6",
    "PRELU": "use LEAKY_RELU",
    "SQUEEZE": "use RESHAPE",
    "EXPAND_DIMS": "use RESHAPE",
}


def _values(op: Op, graph: Graph) -> list[Tensor]:
    """What an operator reads and writes in a run."""
    tensors = [graph.tensors[name] for name in (*op.present_inputs, *op.outputs)]
    return [tensor for tensor in tensors if not tensor.is_constant]


@rule(NO_OPERATOR, "", SOURCE)
def known_operator(op: Op, _graph: Graph) -> str | None:
    """XNNPACK has the operator."""
    return None if op.kind in INTEGER or op.kind in FLOAT else f"XNNPACK has no {op.label}"


@rule(TYPE, "use 8 bits (tersor quantize --as int8): int16 values are 12 to 44 times slower than float here", SOURCE)
def eight_bits_or_float(op: Op, graph: Graph) -> str | None:
    """Values are float32, int8 or uint8; 16-bit activations run on builtin kernels, all of them."""
    for tensor in _values(op, graph):
        if tensor.dtype is not DType.FLOAT32 and tensor.dtype not in _BYTES:
            return f"computes with {described(tensor)}"
    return None


@rule(TYPE, "", SOURCE, FLOAT)
def integer_operator(op: Op, graph: Graph) -> str | None:
    """The operator has an int8 form: some exist in float32 alone."""
    found = next((tensor for tensor in _values(op, graph) if tensor.dtype in _BYTES), None)
    return None if found is None else f"{op.label} of {described(found)}"


@rule(TYPE, "convert the model to int8: tersor quantize --as int8", SOURCE, ["ELU"])
def signed_elu(op: Op, graph: Graph) -> str | None:
    """ELU: float32 or int8, not uint8."""
    result = graph.tensors[op.outputs[0]]
    return described(result) if result.dtype is DType.UINT8 else None


@rule(FORM, "nothing, where it is small; else make the range of the second operand symmetric", SOURCE, ["BATCH_MATMUL"])
def symmetric_second_operand(op: Op, graph: Graph) -> str | None:
    """BATCH_MATMUL of int8 values: the second operand has zero point 0."""
    second = graph.operand(op, 1)
    if second is None or second.quant is None or not any(second.quant.zero_points):
        return None
    return f"zero point {second.quant.zero_point}"


@rule(FORM, "requantize before or after it (tersor quantize does)", SOURCE, ["RESHAPE"])
def same_scale_reshaped(op: Op, graph: Graph) -> str | None:
    """RESHAPE: scale and zero point stay as they are."""
    data, result = graph.operand(op, 0), graph.tensors[op.outputs[0]]
    if data is None or data.quant is None or result.quant is None:
        return None
    before, after = (data.quant.scales, data.quant.zero_points), (result.quant.scales, result.quant.zero_points)
    return None if before == after else f"scale {data.quant.scale:.6g} to {result.quant.scale:.6g}"


@rule(TYPE, "take weights of 8 bits: tersor quantize --as int8", SOURCE, ["CONV_2D", "DEPTHWISE_CONV_2D"])
def eight_bit_weights(op: Op, graph: Graph) -> str | None:
    """CONV_2D, DEPTHWISE_CONV_2D: weights of 8 bits; builtin kernels unpack those of 4 in every run."""
    weights = graph.operand(op, 1)
    return None if weights is None or not weights.dtype.is_packed else f"weights {described(weights)}"


@rule(
    TYPE,
    "quantize activations, too (tersor quantize --as int8), or leave its weights in float32",
    SOURCE,
    ["DEPTHWISE_CONV_2D"],
)
def no_hybrid_depthwise(op: Op, graph: Graph) -> str | None:
    """DEPTHWISE_CONV_2D: weights and values are both integers or both float32 (no dynamic range)."""
    data, weights = graph.operand(op, 0), graph.operand(op, 1)
    if data is None or weights is None or not data.dtype.is_float or weights.dtype.is_float:
        return None
    return f"{described(data)} times {described(weights)}"


@rule(FORM, "let the model take and return the type that it computes with", SOURCE, ["QUANTIZE"])
def same_bytes(op: Op, graph: Graph) -> str | None:
    """QUANTIZE: from float32, or between values of one type; not between int8 and uint8."""
    source, result = graph.operand(op, 0), graph.tensors[op.outputs[0]]
    if source is None or source.dtype.is_float or source.dtype is result.dtype:
        return None
    return f"{source.dtype} to {result.dtype}"


@rule(FORM, "make weights constants, or use BATCH_MATMUL", SOURCE, LAYERS)
def constant_weights(op: Op, graph: Graph) -> str | None:
    """Weights of convolutions and dense layers are constants."""
    weights = graph.operand(op, layer_operands(op.kind).weights)
    return "weights are computed" if weights is not None and not weights.is_constant else None


@rule(FORM, "keep scales of what is added or multiplied alike; mend ranges that are far too wide", SOURCE)
def moderate_scales(op: Op, graph: Graph) -> str | None:
    """ADD, SUB, MUL, LEAKY_RELU and QUANTIZE of int8 values: scales whose ratio is within bounds."""
    result = graph.tensors[op.outputs[0]]
    sources = [graph.tensors[name] for name in op.present_inputs]
    if op.kind not in _BOUNDS or any(item.dtype not in _BYTES or item.quant is None for item in (result, *sources)):
        return None
    scales = [np.float64(item.quant.scale) for item in sources if item.quant is not None]
    assert result.quant is not None
    product = op.kind == "MUL"
    ratios = [float(np.prod(scales) / result.quant.scale)] if product else [s / result.quant.scale for s in scales]
    if op.kind == "LEAKY_RELU":
        ratios.append(abs(ratios[0] * op.option("alpha", 0.0)))
    low, high = _BOUNDS[op.kind]
    worst = next((ratio for ratio in ratios if not low <= ratio <= high), None)
    return None if worst is None else f"scale ratio {worst:.3g}, not in [{low:.3g}, {high:.3g}]"


_BOUNDS = {
    "ADD": (2.0**-10, 2.0**8),
    "SUB": (2.0**-10, 2.0**8),
    "MUL": (2.0**-16, 2.0**8),
    "LEAKY_RELU": (2.0**-8, 2.0**7),
    "QUANTIZE": (2.0**-8, 2.0**7),
}


def advice(op: Op, graph: Graph) -> str:
    """What to put in place of an operator that XNNPACK lacks, or lacks in int8."""
    if op.kind in _INSTEAD:
        return _INSTEAD[op.kind]
    if op.kind in FLOAT and any(tensor.dtype in _BYTES for tensor in _values(op, graph)):
        return "nothing, where it is small: builtin kernels have an int8 form"
    return "nothing, where it is small: builtin kernels run it on the same CPU"


RULES = (
    known_operator,
    eight_bits_or_float,
    integer_operator,
    signed_elu,
    symmetric_second_operand,
    same_scale_reshaped,
    eight_bit_weights,
    no_hybrid_depthwise,
    same_bytes,
    constant_weights,
    moderate_scales,
)
