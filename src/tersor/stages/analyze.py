"""What a model consists of: operators, work, memory, quantization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Tensor
from tersor.ir.work import macs


@dataclass(frozen=True)
class OpAnalysis:
    """One operator.

    Attributes:
        name: the operator's name.
        kind: its kind.
        output: shape and type of its first result.
        macs: multiply-accumulate operations of one run.
        weight_bytes: bytes of its constant operands.
    """

    name: str
    kind: str
    output: str
    macs: int
    weight_bytes: int


@dataclass(frozen=True)
class Analysis:
    """The main graph in figures.

    Attributes:
        operators: in order.
        kinds: how many operators of each kind.
        macs: multiply-accumulate operations of one run.
        constant_bytes: bytes of all constants of all graphs.
        peak_activation_bytes: the most bytes of activations alive at one time, if each dies after its last reader;
            what an arena needs at least.
        inputs: name and type of each.
        outputs: likewise.
        numbers: how many tensors of each type, constants and activations apart.
        quantization: in words.
    """

    operators: tuple[OpAnalysis, ...]
    kinds: Mapping[str, int]
    macs: int
    constant_bytes: int
    peak_activation_bytes: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    numbers: Mapping[str, int]
    quantization: str


def analyze(model: Model) -> Analysis:
    """Figures of a model's main graph; nothing is run."""
    graph = model.graph
    operators = tuple(_analyze_op(graph, op) for op in graph.ops)
    constants = [tensor.data for each in model.graphs for tensor in each.tensors.values() if tensor.data is not None]
    stored = {(data.__array_interface__["data"][0], data.nbytes) for data in constants}  # shared ones lie there once
    numbers = Counter(f"{'constant' if t.is_constant else 'activation'} {t.dtype}" for t in graph.tensors.values())
    return Analysis(
        operators=operators,
        kinds=dict(Counter(item.kind for item in operators).most_common()),
        macs=sum(item.macs for item in operators),
        constant_bytes=sum(size for _, size in stored),
        peak_activation_bytes=peak_activation_bytes(graph),
        inputs={name: describe(graph.tensors[name]) for name in graph.inputs},
        outputs={name: describe(graph.tensors[name]) for name in graph.outputs},
        numbers=dict(sorted(numbers.items())),
        quantization=_quantization(graph),
    )


def describe(tensor: Tensor) -> str:
    """Type and shape in short, as `int8[1,224,224,3]`, with the scale where there is one."""
    sizes = ",".join("?" if size < 0 else str(size) for size in tensor.open_shape or tensor.shape)
    quant = ""
    if tensor.quant is not None and len(tensor.quant.scales) == 1:
        quant = f" scale {tensor.quant.scale:.6g} zero point {tensor.quant.zero_point}"
    elif tensor.quant is not None:
        quant = f" {len(tensor.quant.scales)} scales along axis {tensor.quant.axis}"
    return f"{tensor.dtype}[{sizes}]{quant}"


def peak_activation_bytes(graph: Graph) -> int:
    """The most bytes of activations that are alive at the same time, in the operators' order."""
    last: dict[str, int] = dict.fromkeys(graph.inputs, -1)
    for place, op in enumerate(graph.ops):
        for name in (*op.present_inputs, *op.outputs):
            last[name] = place
    for name in graph.outputs:
        last[name] = len(graph.ops)
    sizes = {name: t.byte_size for name, t in graph.tensors.items() if not t.is_constant}
    always = sum(sizes[name] for name, t in graph.tensors.items() if t.is_variable)
    alive = {name for name in graph.inputs if name in sizes}
    total = sum(sizes[name] for name in alive)
    peak = total
    for place, op in enumerate(graph.ops):
        for name in op.outputs:
            if name in sizes and name not in alive and not graph.tensors[name].is_variable:
                alive.add(name)
                total += sizes[name]
        peak = max(peak, total)
        for name in {*op.present_inputs, *op.outputs}:
            if name in alive and last[name] == place:
                alive.remove(name)
                total -= sizes[name]
    return peak + always


def _analyze_op(graph: Graph, op: Op) -> OpAnalysis:
    weights = sum(graph.tensors[name].byte_size for name in op.present_inputs if graph.tensors[name].is_constant)
    output = describe(graph.tensors[op.outputs[0]]) if op.outputs else "-"
    return OpAnalysis(op.name, op.label, output, macs(graph, op), weights)


def _quantization(graph: Graph) -> str:
    if any(op.custom_code == "edgetpu-custom-op" for op in graph.ops):
        return "compiled for the Edge TPU"
    constants = [t.dtype for t in graph.tensors.values() if t.is_constant and t.elements > 1]
    activations = Counter(t.dtype for name, t in graph.tensors.items() if not t.is_constant and name in graph.producers)
    for dtype in (DType.INT16, DType.INT8, DType.UINT8):
        share = activations[dtype]
        quantized = sum(1 for t in graph.tensors.values() if t.dtype is dtype and t.quant is not None)
        if share and quantized:
            left = activations[DType.FLOAT32]
            return f"{dtype} activations" + (f", {left} of {activations.total()} results in float32" if left else "")
    if DType.INT8 in constants or DType.INT4 in constants:
        return "weights in integers, activations in float32"
    if DType.FLOAT16 in constants:
        return "weights in float16"
    return "none"
