"""Files that the Edge TPU compiler does not compile at all, and what it prints instead."""

from __future__ import annotations

from tersor.ir.graph import Graph, Model, Op

_LATEST = {"CONV_2D": 5, "TRANSPOSE_CONV": 3, "EXP": 1}
"""The latest versions that compiler 16 can read, where a file is known that it could not (public reports)."""

_SHAPES = {
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "TRANSPOSE_CONV": (0,),
    "FILL": (0,),
    "BROADCAST_TO": (1,),
    "SLICE": (1, 2),
    "PAD": (1,),
    "TILE": (1,),
    "RANGE": (0, 1, 2),
}
"""Operands that say how large a result is."""

_ALWAYS_OPEN = frozenset({"WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"})
"""Operators of which nobody knows the size of the result beforehand."""


def refusal(model: Model) -> str | None:
    """Why the compiler takes no part of a file; None where it takes it."""
    graph = model.graph
    for place, op in enumerate(graph.ops):
        found = refused(op, graph)
        if found is not None:
            return f"operator {place} ({op.label}): {found}"
    return None


def refused(op: Op, graph: Graph) -> str | None:
    """Why the compiler takes no file with this operator; None where it does."""
    return _unreadable(op) or _open_size(op, graph)


def _unreadable(op: Op) -> str | None:
    if op.version > _LATEST.get(op.kind, op.version):
        return (
            f"version {op.version} is newer than the compiler (\"Didn't find op for builtin opcode '{op.kind}' version "
            f"'{op.version}'\"); convert the model with TensorFlow 2.8 or with tersor quantize"
        )
    if op.custom_code is not None and op.custom_code.startswith("Flex"):
        return "operators of TensorFlow do not compile; convert the model without Select TF ops"
    return None


def _open_size(op: Op, graph: Graph) -> str | None:
    if op.kind in _ALWAYS_OPEN and not all(graph.tensors[name].dtype.is_float for name in op.outputs):
        return "the size of its result depends on the values; the compiler takes fixed sizes only"
    for index in _SHAPES.get(op.kind, ()):
        tensor = graph.operand(op, index)
        if tensor is not None and not tensor.is_constant:
            return (
                "the size of its result is computed while the network runs; the compiler takes fixed sizes only: "
                "convert the model with a fixed batch and input size"
            )
    return None
