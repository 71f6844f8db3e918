"""What more bits for an operator cost."""

from __future__ import annotations

from collections.abc import Callable

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ir.plan import Plan
from tersor.ir.work import macs
from tersor.stages.mixed_precision.sources import weight_indices


def cost_of(graph: Graph, plan: Plan, widen: str) -> Callable[[str], float]:
    """A function that says what widening an operator costs, in parts of the whole network's.

    16-bit activations cost work, as their kernels are slower; other weights cost bytes. Where activations change there
    is something for the operator as such, too: conversions at its borders, and more memory for what it computes.
    """
    work = {op.name: float(macs(graph, op)) for op in graph.ops}
    weights = {op.name: float(_weight_elements(graph, op, plan)) for op in graph.ops}
    costs = work if widen == "int16" else weights
    whole = sum(costs.values()) or 1.0
    each = 0.0 if widen == "int8_weights" else 1 / len(graph.ops)
    return lambda name: costs[name] / whole + each


def constant_bytes(graph: Graph, plan: Plan) -> int:
    """Bytes of all constants as a plan stores them; of one that is stored in several ways, each."""
    sizes: dict[tuple[str, object], int] = {}
    for op in graph.ops:
        for index in range(max(len(op.inputs), 3)):
            tensor, planned = graph.operand(op, index), plan.operands.get((op.name, index))
            if tensor is None and planned is not None:  # a bias that the kernel demands
                elements = graph.tensors[op.outputs[0]].shape[-1]
                sizes[f"{op.name}/bias", planned.params] = planned.dtype.byte_size(elements) or 0
            elif tensor is not None and tensor.is_constant:
                dtype, params = (tensor.dtype, None) if planned is None else (planned.dtype, planned.params)
                sizes[tensor.name, (dtype, params)] = _stored(dtype, tensor.elements)
    return sum(sizes.values())


def _stored(dtype: DType, elements: int) -> int:
    return dtype.byte_size(elements) or 0


def _weight_elements(graph: Graph, op: Op, plan: Plan) -> int:
    tensors = [graph.operand(op, index) for index in weight_indices(graph, op, plan)]
    return sum(tensor.elements for tensor in tensors if tensor is not None)
