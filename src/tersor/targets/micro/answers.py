"""Rules of TensorFlow Lite Micro for operators that run, and answer nonsense.

The interpreter does not refuse them; `tests/test_micro.py` holds their answers against those of LiteRT.
"""

from __future__ import annotations

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.targets._rules import rule

NONSENSE = "runs, and answers nonsense"

BASIS = "the kernels' source, and answers held against LiteRT's"


@rule(NONSENSE, "quantize with activations of 8 bits: tersor quantize --as int8", BASIS, ["GREATER"])
def numbers_that_are_set(op: Op, graph: Graph) -> str | None:
    """GREATER: values of 8 bits; of 16 bits, its kernel compares with numbers that it never sets."""
    read = graph.operand(op, 0)
    return "compares int16 values" if read is not None and read.dtype is DType.INT16 else None


@rule(NONSENSE, "pad before it, with PAD", BASIS, ["SPACE_TO_BATCH_ND"])
def blocks_without_padding(op: Op, graph: Graph) -> str | None:
    """SPACE_TO_BATCH_ND: no padding of its own; it pads with a number that its kernel never sets."""
    amounts = graph.operand(op, 2)
    return "pads" if amounts is None or amounts.data is None or amounts.data.any() else None


@rule(
    NONSENSE,
    "requantize before it to the scale of the result (tersor quantize does)",
    BASIS,
    ["RELU6"],
)
def clips_in_its_own_scale(op: Op, graph: Graph) -> str | None:
    """RELU6 of integers: operand and result have the same scale and zero point; it ignores those of the result."""
    read, result = graph.operand(op, 0), graph.tensors[op.outputs[0]]
    if read is None or read.quant is None or result.quant is None:
        return None
    before, after = read.quant, result.quant
    if (before.scales, before.zero_points) == (after.scales, after.zero_points):
        return None
    return f"goes from scale {before.scale:.6g} to {after.scale:.6g}"


RULES = (numbers_that_are_set, blocks_without_padding, clips_in_its_own_scale)
