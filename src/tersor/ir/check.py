"""The invariants of a graph. They hold after reading, after every pass, and before writing."""

from __future__ import annotations

import math

from tersor.errors import GraphError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Tensor
from tersor.ir.quant import PerChannel, PerGroup

_HANDLES = frozenset({DType.RESOURCE, DType.VARIANT})

_IN_PARTS = frozenset({"ethos-u"})
"""Compiled operators of which several may write parts of one value: pieces of a CONCATENATION, as Vela cuts it."""


def check_model(model: Model) -> None:
    """Raise GraphError, with the place and the rule, if a structural invariant of any graph is broken."""
    if not model.graphs:
        raise GraphError("the model has no graph")
    for graph in model.graphs:
        check_graph(graph)
    for signature in model.signatures:
        if not 0 <= signature.graph < len(model.graphs):
            raise GraphError(f"signature {signature.key!r} names graph {signature.graph} of {len(model.graphs)}")
        for _, name in (*signature.inputs, *signature.outputs):
            model.graphs[signature.graph].tensor(name)


def check_graph(graph: Graph) -> None:
    """Names resolve, every value is written once and before it is read, constants have their stated shape."""
    for name, tensor in graph.tensors.items():
        if name != tensor.name:
            raise GraphError(f"graph {graph.name!r}: tensor {tensor.name!r} is filed under {name!r}")
        _check_data(graph, tensor)
    for name in (*graph.inputs, *graph.outputs):
        graph.tensor(name)
    written = {
        *graph.inputs,
        *(t.name for t in graph.tensors.values() if t.is_constant or t.is_variable or t.dtype in _HANDLES),
    }
    results = {name for op in graph.ops for name in op.outputs}
    names: set[str] = set()
    wrote: dict[str, str | None] = {}
    for op in graph.ops:
        if op.name in names:
            raise GraphError(f"graph {graph.name!r}: two operators are named {op.name!r}")
        names.add(op.name)
        for name in op.present_inputs:
            graph.tensor(name)
            is_scratch = op.kind == "CUSTOM" and name not in results  # memory that a compiled operator works in
            if name not in written and not is_scratch:
                raise GraphError(f"graph {graph.name!r}: {op.kind} {op.name!r} reads {name!r} before it is written")
        for name in op.outputs:
            graph.tensor(name)
            is_part = op.custom_code in _IN_PARTS and wrote.get(name) == op.custom_code
            if name in written and not is_part and not _may_be_rewritten(graph.tensors[name]):
                raise GraphError(f"graph {graph.name!r}: {op.kind} {op.name!r} writes {name!r} a second time")
            written.add(name)
            wrote[name] = op.custom_code
    for name in graph.outputs:
        if name not in written:
            raise GraphError(f"graph {graph.name!r}: output {name!r} is never written")


def check_quantization(model: Model) -> None:
    """Scales are finite and positive, zero points fit their type, channels are counted right, types agree.

    A file by another tool may break these and still be readable; what tersor writes may not.
    """
    for graph in model.graphs:
        for tensor in graph.tensors.values():
            _check_params(graph, tensor)


def _may_be_rewritten(tensor: Tensor) -> bool:
    return tensor.is_variable or tensor.dtype in _HANDLES


def _check_data(graph: Graph, tensor: Tensor) -> None:
    if tensor.data is None:
        return
    if tensor.data.flags.writeable:
        raise GraphError(f"graph {graph.name!r}: constant {tensor.name!r} can be written to")
    if tensor.dtype.is_packed or tensor.dtype is DType.STRING or tensor.sparsity is not None:
        return
    if tensor.data.shape != tensor.shape:
        raise GraphError(
            f"graph {graph.name!r}: constant {tensor.name!r} has shape {tensor.shape} but data of shape "
            f"{tensor.data.shape}"
        )


def _check_params(graph: Graph, tensor: Tensor) -> None:
    params = tensor.quant
    if params is None:
        return
    where = f"graph {graph.name!r}: tensor {tensor.name!r}"
    if params.dtype is not tensor.dtype:
        raise GraphError(f"{where} is {tensor.dtype} but its quantization is for {params.dtype}")
    if isinstance(params.granularity, PerGroup):
        graph.tensor(params.granularity.scales_tensor)
        return
    if len(params.scales) != len(params.zero_points):
        raise GraphError(f"{where} has {len(params.scales)} scales and {len(params.zero_points)} zero points")
    if isinstance(params.granularity, PerChannel):
        axis = params.granularity.axis
        if not 0 <= axis < len(tensor.shape) or len(params.scales) != tensor.shape[axis]:
            raise GraphError(f"{where} of shape {tensor.shape} has {len(params.scales)} scales along axis {axis}")
    elif len(params.scales) != 1:
        raise GraphError(f"{where} has {len(params.scales)} scales for the whole tensor")
    low, high = params.dtype.integer_range
    for scale, zero_point in zip(params.scales, params.zero_points, strict=True):
        if not (math.isfinite(scale) and scale > 0):
            raise GraphError(f"{where} has scale {scale}: a scale is finite and positive")
        if not low <= zero_point <= high:
            raise GraphError(f"{where} has zero point {zero_point}, outside [{low}, {high}]")
