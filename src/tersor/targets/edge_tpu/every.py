"""Rules of the Edge TPU that hold for every operator: sizes, numbers, kinds, versions, constants."""

from __future__ import annotations

import math

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Tensor
from tersor.targets._rules import described, rule
from tersor.targets.edge_tpu import statuses

DOCUMENTED = "Coral's table of supported operations"
PAIRS = "models before and after the compiler"
LOGS = "logs of the compiler in public reports"
ESTIMATE = "an estimate: the limit lies between sizes that are known to be taken and known to be left"

_INTEGERS = (DType.INT8, DType.UINT8)

KINDS = frozenset(
    {
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "EXPAND_DIMS",
        "FULLY_CONNECTED",
        "L2_NORMALIZATION",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQUARED_DIFFERENCE",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNPACK",
    }
)
"""The operators that the Edge TPU knows (compiler 16)."""

_REWRITTEN = "quantize the float model with --target edge_tpu, which makes of it "

_INSTEAD = {
    "ABS": f"{_REWRITTEN}MUL and MAXIMUM",
    "LEAKY_RELU": f"{_REWRITTEN}PRELU; or use ReLU",
    "HARD_SWISH": f"{_REWRITTEN}ADD and two MUL; or use ReLU6",
    "GELU": f"{_REWRITTEN}MUL, ADD and LOGISTIC; or use ReLU6",
    "DIV": "divide by a constant: tersor quantize makes of it MUL",
    "MIRROR_PAD": f"{_REWRITTEN}SLICE and CONCATENATION; or pad with zeros",
    "PADV2": f"pad with zeros, and {_REWRITTEN}PAD",
    "SPLIT_V": f"{_REWRITTEN}SLICE; or split into equal parts",
    "RELU_0_TO_1": f"{_REWRITTEN}RELU and RELU_N1_TO_1",
    "ARG_MAX": "return the scores and take the maximum in the program",
    "DEPTH_TO_SPACE": f"{_REWRITTEN}TRANSPOSE_CONV",
    "DEQUANTIZE": "let the model return integers (the recipe's interface), and scale them in the program",
    "CAST": "give the model its input as int8 or uint8 (the recipe's interface)",
}


def moving(op: Op, graph: Graph) -> list[Tensor]:
    """The values that reach and leave an operator in a run: neither constants nor state."""
    tensors = [graph.tensors[name] for name in (*op.present_inputs, *op.outputs)]
    return [tensor for tensor in tensors if not tensor.is_constant and not tensor.is_variable]


def advice(op: Op, graph: Graph) -> str:
    """What to put in place of an operator that the Edge TPU does not know, or whose numbers it does not."""
    if op.kind == "CUSTOM":
        return "nothing, if it ends the network: all before it is mapped"
    if op.kind in _INSTEAD:
        return _INSTEAD[op.kind]
    if any(tensor.dtype.is_float for tensor in moving(op, graph)):
        return "quantize the whole model: tersor quantize MODEL --as int8"
    if any(tensor.dtype in (DType.INT32, DType.INT64, DType.BOOL) for tensor in moving(op, graph)):
        return "compute indices and conditions in the program, after the network"
    return "compute it in the program, after the network, or of operators that the Edge TPU knows"


@rule(statuses.RANK, "run one sample at a time, and reshape so that at most three dimensions are more than 1", LOGS)
def three_dimensions(op: Op, graph: Graph) -> str | None:
    """Only the three innermost dimensions of a value may be more than 1: batches do not map."""
    for tensor in moving(op, graph):
        if math.prod(tensor.shape[:-3]) > 1:
            return described(tensor)
    return None


@rule(
    statuses.UNSPECIFIED,
    "let the model take int8 or uint8 (the recipe's interface), and scale the input in the program",
    PAIRS,
    ["QUANTIZE"],
)
def quantize_from_integers(op: Op, graph: Graph) -> str | None:
    """QUANTIZE goes from 8-bit integers to 8-bit integers: float values are quantized on the CPU."""
    source = graph.operand(op, 0)
    return None if source is None or not source.dtype.is_float else f"reads {described(source)}"


@rule(statuses.DATA_TYPE, "", PAIRS)
def eight_bits(op: Op, graph: Graph) -> str | None:
    """Values are int8 or uint8. Float, 16-bit, 32-bit and boolean values stay on the CPU, and so do 4-bit weights."""
    for tensor in moving(op, graph):
        if tensor.dtype not in _INTEGERS:
            return described(tensor)
    for name in op.present_inputs:
        tensor = graph.tensors[name]
        if tensor.is_constant and (tensor.dtype.is_float or tensor.dtype.is_packed):
            return f"constant {described(tensor)}"
    return None


@rule(statuses.NOT_SUPPORTED, "", DOCUMENTED)
def known_operator(op: Op, _graph: Graph) -> str | None:
    """The operator is one of those that the Edge TPU knows."""
    return None if op.kind in KINDS else f"the Edge TPU has no {op.label}"


VERSIONS = {"FULLY_CONNECTED": 8}
"""The latest version that maps, for operators of which one is known that does not."""


@rule(
    statuses.VERSION,
    "flatten the input to [1, n], or use a 1x1 CONV_2D for a layer that is applied along a dimension",
    LOGS,
    VERSIONS,
)
def known_version(op: Op, _graph: Graph) -> str | None:
    """FULLY_CONNECTED up to version 8: version 9 keeps dimensions of its input."""
    limit = VERSIONS[op.kind]
    return None if op.version <= limit else f"version {op.version}"


_PARAMETERS = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "PRELU": (1,),
    "TRANSPOSE_CONV": (0, 1, 3),
    "MEAN": (1,),
    "SUM": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "PAD": (1,),
    "SLICE": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "TRANSPOSE": (1,),
    "EXPAND_DIMS": (1,),
    "SPLIT": (0,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 18)),
}
"""Operands that must lie in the file."""


@rule(
    statuses.NOT_CONSTANT,
    "make weights, biases, axes and sizes constants; a product of two computed values stays on the CPU",
    LOGS,
    _PARAMETERS,
)
def constant_parameters(op: Op, graph: Graph) -> str | None:
    """Weights, biases, axes and sizes are constants."""
    for index in _PARAMETERS[op.kind]:
        tensor = graph.operand(op, index)
        if tensor is not None and not tensor.is_constant:
            return f"operand {index} is computed"
    return None


RULES = (three_dimensions, quantize_from_integers, eight_bits, known_operator, known_version, constant_parameters)
"""In the order in which the compiler looks at them."""
