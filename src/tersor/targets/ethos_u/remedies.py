"""What to change about an operator that Vela leaves on the CPU, where more can be said than its constraint does."""

from __future__ import annotations

from tersor.ir.graph import Graph, Op, Tensor

_INSTEAD = {
    "GELU": "use ReLU, ReLU6 or hard swish",
    "ELU": "use ReLU or LeakyReLU",
    "DIV": "multiply by the reciprocal of a constant",
    "GATHER_ND": "look up in the program, after the network",
    "CAST": "give the model its input as int8 (the recipe's interface)",
}


def remedy(op: Op, graph: Graph) -> str | None:
    """What to change; None where keeping the constraint is all."""
    reads = _moving([graph.tensors[name] for name in op.present_inputs])
    writes = _moving([graph.tensors[name] for name in op.outputs])
    if op.kind == "QUANTIZE" and any(tensor.dtype.is_float for tensor in reads):
        return "let the model take integers (the recipe's interface): tersor quantize MODEL --as int8"
    if op.kind == "DEQUANTIZE":
        return "let the model return integers (the recipe's interface), and scale them in the program"
    if any(tensor.dtype.is_float for tensor in (*reads, *writes)):
        return "quantize the whole model: tersor quantize MODEL --as int8"
    return _INSTEAD.get(op.kind)


def _moving(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if not tensor.is_constant]
