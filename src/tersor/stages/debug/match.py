"""Which value of the float network a value of the quantized network stands for.

By name where both networks use the same names; otherwise by structure: an operator stands for the float operator of its
kind that reads what its operands stand for, and among several for the one with the most similar weights. So files that
other tools made can be compared, too, even if they were made from another file format.
"""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ir.quant import PerGroup
from tersor.numerics.affine import dequantize
from tersor.numerics.packing import values_of

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


def counterparts(quantized: Graph, floats: Graph) -> dict[str, str]:
    """For activations of the quantized graph, the float ones of the same meaning; those without one are left out."""
    found: dict[str, str] = {}
    for place, name in enumerate(quantized.inputs):
        if name in floats.inputs or place < len(floats.inputs):
            found[name] = name if name in floats.inputs else floats.inputs[place]
    taken: set[str] = set()
    for op in quantized.ops:
        if op.kind in CONVERSIONS and op.inputs[0] in found:
            found[op.outputs[0]] = found[op.inputs[0]]
            continue
        twin = _named_alike(op, quantized, floats) or _built_alike(op, quantized, floats, found, taken)
        if twin is None:
            continue
        taken.add(twin.name)
        found |= dict(zip(op.outputs, twin.outputs, strict=False))
    return found


def _named_alike(op: Op, quantized: Graph, floats: Graph) -> Op | None:
    twin = floats.producers.get(op.outputs[0]) if op.outputs else None
    if twin is None or twin.kind != op.kind or len(twin.outputs) != len(op.outputs):
        return None
    same = floats.tensors[twin.outputs[0]].shape == quantized.tensors[op.outputs[0]].shape
    return twin if same else None


def _built_alike(op: Op, quantized: Graph, floats: Graph, found: dict[str, str], taken: set[str]) -> Op | None:
    read = _activations(op, quantized)
    if not read or any(name not in found for name in read):
        return None
    wanted = [found[name] for name in read]
    candidates = [
        item
        for item in floats.consumers.get(wanted[0], ())
        if item.kind == op.kind
        and item.name not in taken
        and _activations(item, floats) == wanted
        and floats.tensors[item.outputs[0]].shape == quantized.tensors[op.outputs[0]].shape
    ]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    return max(candidates, key=lambda item: _similarity(_weights(op, quantized), _weights(item, floats)))


def _activations(op: Op, graph: Graph) -> list[str]:
    return [
        name for name in op.present_inputs if not (graph.tensors[name].is_constant or graph.tensors[name].is_variable)
    ]


def _weights(op: Op, graph: Graph) -> Array | None:
    """The first real constant of an operator."""
    for name in op.present_inputs:
        tensor = graph.tensors[name]
        if tensor.is_constant and (tensor.quant is not None or tensor.dtype.is_float):
            return real_values(tensor)
    return None


def real_values(tensor: Tensor) -> Array | None:
    """The real numbers that a constant stands for; None for sparse ones and those with scales per group."""
    if tensor.sparsity is not None or tensor.data is None:
        return None
    if tensor.quant is None:
        return values_of(tensor)
    return None if isinstance(tensor.quant.granularity, PerGroup) else dequantize(values_of(tensor), tensor.quant)


def _similarity(a: Array | None, b: Array | None) -> float:
    """Cosine of the angle between two arrays; -1 if they cannot be compared."""
    if a is None or b is None or a.shape != b.shape:
        return -1.0
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.sum(a.astype(np.float64) * b)) / norms if norms else 0.0
