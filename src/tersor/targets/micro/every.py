"""Rules of TensorFlow Lite Micro that hold for every operator: is there a kernel, and does it take the types."""

from __future__ import annotations

from tersor.formats.c_array.operators import CALLS, CUSTOM_CALLS
from tersor.ir.graph import Graph, Op, Tensor
from tersor.targets._rules import described, rule
from tersor.targets.micro.kernels import COMPUTED, CONSTANT, CONVERSIONS, DIMENSIONS, TYPES

NO_KERNEL = "no kernel"
TYPE = "its kernel does not take the type"
SHAPE = "its kernel does not take the shape"
FORM = "its kernel does not take this form"

REGISTER = "micro_mutable_op_resolver.h"
KERNELS = "the kernels' source, and runs in the interpreter"

_INSTEAD = {
    "GELU": "use ReLU6 or HARD_SWISH (int8), or x * sigmoid(1.702 x)",
    "RELU_N1_TO_1": "use MAXIMUM and MINIMUM with constants",
    "RELU_0_TO_1": "use RELU6 on a scaled value, or MAXIMUM and MINIMUM with constants",
    "TILE": "use CONCATENATION of the value with itself, or BROADCAST_TO",
    "SELECT": "use SELECT_V2",
    "REVERSE_SEQUENCE": "use REVERSE_V2 where all sequences are equally long",
    "ONE_HOT": "use EMBEDDING_LOOKUP or GATHER in a constant identity matrix",
    "TOPK_V2": "return the scores and take the best in the program",
    "RANK": "state the shape when you build the network",
    "RANGE": "state the shape when you build the network",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "use two UNIDIRECTIONAL_SEQUENCE_LSTM and REVERSE_V2",
    "POW": "use SQUARE, SQRT or MUL",
    "CONV_3D": "use CONV_2D on slices",
}


@rule(NO_KERNEL, "", REGISTER)
def known_kernel(op: Op, _graph: Graph) -> str | None:
    """TensorFlow Lite Micro has a kernel for the operator."""
    return None if op.kind in CALLS or op.kind == "CUSTOM" else f"there is no kernel for {op.label}"


@rule(NO_KERNEL, "register a kernel of your own in the program, or build the layer of other operators", REGISTER)
def known_custom_operator(op: Op, _graph: Graph) -> str | None:
    """Custom operators are those that come along with TensorFlow Lite Micro; the kernels of others are yours to add."""
    if op.kind != "CUSTOM" or op.custom_code in CUSTOM_CALLS:
        return None
    return f"custom operator {op.label}"


@rule(TYPE, "", KERNELS, TYPES)
def known_type(op: Op, graph: Graph) -> str | None:
    """The kernel takes the type of what it computes with; the table below has the types of each."""
    tensor = graph.operand(op, COMPUTED.get(op.kind, 0))
    return None if tensor is None or tensor.dtype in TYPES[op.kind] else f"reads {described(tensor)}"


@rule(TYPE, "go by way of int8, or give the model its input in the type that it computes with", KERNELS, CONVERSIONS)
def known_conversion(op: Op, graph: Graph) -> str | None:
    """QUANTIZE and CAST: from and to the types of the table below."""
    source, result = graph.operand(op, 0), graph.tensors[op.outputs[0]]
    if source is None or (source.dtype, result.dtype) in CONVERSIONS[op.kind]:
        return None
    return f"{source.dtype} to {result.dtype}"


@rule(SHAPE, "make it a constant: convert the model with fixed sizes and a batch of 1", KERNELS, CONSTANT)
def constant_sizes(op: Op, graph: Graph) -> str | None:
    """Sizes, axes, paddings and shapes are constants."""
    for index in CONSTANT[op.kind]:
        tensor = graph.operand(op, index)
        if tensor is not None and not tensor.is_constant:
            return f"operand {index} is computed"
    return None


@rule(SHAPE, "leave out dimensions of 1, as the batch, with RESHAPE around it", KERNELS, DIMENSIONS)
def few_dimensions(op: Op, graph: Graph) -> str | None:
    """STRIDED_SLICE: values of at most 4 dimensions; PAD, PADV2, TRANSPOSE: of at most 5."""
    tensor = graph.operand(op, 0)
    too_many = tensor is not None and len(tensor.shape) > DIMENSIONS[op.kind]
    return f"{len(tensor.shape)} dimensions" if tensor is not None and too_many else None


def advice(op: Op, graph: Graph) -> str:
    """What to put in place of an operator without a kernel, or whose type its kernel does not take."""
    if op.kind not in CALLS:
        return _INSTEAD.get(op.kind, "build the layer of operators that have a kernel, or register one of your own")
    reads: Tensor | None = graph.operand(op, COMPUTED.get(op.kind, 0))
    takes = [str(dtype) for dtype in sorted(TYPES.get(op.kind, ()), key=str)]
    if reads is not None and reads.dtype.is_float:
        return "take the model with float32 weights, or quantize it: tersor quantize --as int8"
    if "int8" in takes:
        return "quantize with activations of 8 bits: tersor quantize --as int8"
    return f"its kernel takes {', '.join(takes)} only: use another operator, or compute it in the program"


RULES = (known_kernel, known_custom_operator, known_type, known_conversion, constant_sizes, few_dimensions)
