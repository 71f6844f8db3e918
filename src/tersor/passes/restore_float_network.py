"""``integer network`` -> ``float network``: every operator on real numbers, weights as they were rounded.

Constants become ``scale (q - zero point)``, activations float32, and QUANTIZE and DEQUANTIZE a product with 1, which
`remove_identity` takes out. What rounding took from the weights stays lost; what it takes from activations is undone.
Where the integers of a result start at 0 and no activation function is fused, the range itself was one: RELU is fused
(older converters drop it).

Refused for scales per group, and for custom operators, of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Record, Tensor
from tersor.ir.quant import PerGroup, PerTensor
from tersor.numerics.affine import dequantize
from tersor.numerics.packing import values_of

_RELU = 1
"""Code of the fused activation (`schema.fbs`, `enum ActivationFunctionType`)."""


def refusal(graph: Graph) -> str | None:
    """Why a graph cannot be restored; None if it can."""
    custom = next((op for op in graph.ops if op.kind == "CUSTOM"), None)
    if custom is not None:
        return f"nothing is known of the custom operator {custom.label}"
    for tensor in graph.tensors.values():
        if tensor.quant is not None and isinstance(tensor.quant.granularity, PerGroup):
            return f"{tensor.name!r} has scales per group"
        if tensor.quant is not None and tensor.sparsity is not None:
            return f"{tensor.name!r} is sparse"
    return None


def apply(graph: Graph) -> Graph:
    """The graph on real numbers; the same object if it is already. Raises ValueError if `refusal` has a reason."""
    reason = refusal(graph)
    if reason is not None:
        raise ValueError(reason)
    tensors = {tensor.name: _real(tensor) for tensor in graph.tensors.values() if tensor.quant is not None}
    if not tensors:
        return graph
    one = Tensor(graph.fresh_name("one"), (), DType.FLOAT32).with_data(np.array(1, np.float32))
    ops = {op.name: (_on_reals(op, graph, tensors, one.name),) for op in graph.ops}
    return graph.edit(replace_ops=ops, tensors=[*tensors.values(), one])


def _real(tensor: Tensor) -> Tensor:
    real = replace(tensor, dtype=DType.FLOAT32, quant=None, recorded_range=None, data=None)
    if tensor.data is None or tensor.quant is None:
        return real
    return real.with_data(dequantize(values_of(tensor), tensor.quant))


def _on_reals(op: Op, graph: Graph, tensors: Mapping[str, Tensor], one: str) -> Op:
    if op.kind in ("QUANTIZE", "DEQUANTIZE") and {op.inputs[0], op.outputs[0]} & set(tensors):
        return replace(op, kind="MUL", inputs=(op.inputs[0], one), options=Record("MulOptions"), version=1)
    options = op.options
    if options is not None and op.outputs[0] in tensors and options.get("fused_activation_function") == 0:
        quant = graph.tensors[op.outputs[0]].quant
        assert quant is not None
        starts_at_zero = isinstance(quant.granularity, PerTensor) and abs(quant.real_range[0]) < quant.scale / 2
        if starts_at_zero and graph.tensors[op.outputs[0]].dtype in (DType.INT8, DType.UINT8):
            options = options.with_fields(fused_activation_function=_RELU)
    return replace(op, options=options, intermediates=())
