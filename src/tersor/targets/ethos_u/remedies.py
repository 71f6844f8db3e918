"""What to change about an operator that Vela leaves on the CPU, where more can be said than its constraint does."""

from __future__ import annotations

from tersor.ir.graph import Graph, Op, Tensor

_INSTEAD = {
    "GELU": "use ReLU, ReLU6 or hard swish",
    "ELU": "use ReLU or LeakyReLU",
    "DIV": "multiply by the reciprocal of a constant",
    "GATHER_ND": "look up in the program, after the network",
}

_FIXED = "Only the first dimension of tensors can be dynamic."
"""Vela's words."""


def remedy(op: Op, graph: Graph, demanded: str) -> str | None:
    """What to change; None where keeping the constraint is all."""
    if demanded == _FIXED:
        return "convert the model with a fixed input size"
    reads = _moving([graph.tensors[name] for name in op.present_inputs])
    writes = _moving([graph.tensors[name] for name in op.outputs])
    if op.kind in ("QUANTIZE", "CAST") and any(name in graph.inputs for name in op.present_inputs):
        return "let the model take integers (the recipe's interface): tersor quantize MODEL --as int8"
    if op.kind == "DEQUANTIZE" and any(name in graph.outputs for name in op.outputs):
        return "let the model return integers (the recipe's interface), and scale them in the program"
    if op.kind in _INSTEAD:
        return _INSTEAD[op.kind]
    if op.kind in ("QUANTIZE", "DEQUANTIZE"):
        return "quantize what stands beside it, too: it computes in float"
    if any(tensor.dtype.is_float for tensor in (*reads, *writes)):
        return "quantize the whole model: tersor quantize MODEL --as int8"
    return None


def _moving(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if not tensor.is_constant]
