"""Integer operators of a file that answer nonsense to some values, or to all: what to say of them."""

from __future__ import annotations

from collections.abc import Iterator

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.numerics.kernel_limits import quotient_shift
from tersor.ops import FIXED, OPS, step_limit

_INTEGERS = (DType.INT8, DType.INT16)


def doubtful(graph: Graph, *, fixed_point: bool) -> Iterator[str]:
    """A sentence for each operator whose integer kernel cannot do with the scales of the file.

    Args:
        graph: a quantized graph; float operators are never doubtful.
        fixed_point: whether int8 kernels compute in fixed point what LiteRT's have tables for.
    """
    for op in graph.ops:
        read, spec = graph.operand(op, 0) if op.inputs else None, OPS.get(op.kind)
        if spec is None or read is None or read.quant is None or read.dtype not in _INTEGERS:
            continue
        if spec.quotient_bits is not None:
            lost = lost_below(graph, op)
            if lost is not None:
                yield (
                    f"{op.kind} {op.name!r} answers nonsense where its numerator is below {lost:.2g} and not 0: the "
                    "quotient comes out as the largest or the smallest number; keep it in float "
                    "(tersor quantize does)"
                )
        has_table = spec.scale == FIXED and read.dtype is DType.INT8 and not fixed_point
        limit = step_limit(op, read.dtype)
        if not has_table and read.quant.scale > limit:
            yield (
                f"{op.kind} {op.name!r} answers nonsense: its kernel overflows for steps over {limit:.3g}, and "
                f"those of {read.name!r} are {read.quant.scale:.3g}; keep it in float (tersor quantize does)"
            )


def lost_below(graph: Graph, op: Op) -> float | None:
    """The magnitude of numerators from which on a quotient of integers is right; None if all are."""
    over, under, result = graph.operand(op, 0), graph.operand(op, 1), graph.tensors[op.outputs[0]]
    most = OPS[op.kind].quotient_bits
    if most is None or over is None or under is None or over.quant is None or under.quant is None:
        return None
    if result.quant is None or quotient_shift(1, over.quant.scale, under.quant, result.quant) <= most:
        return None
    bits = quotient_shift(1, over.quant.scale, under.quant, result.quant) - most
    return float(2.0**bits * over.quant.scale)
