"""Rules of the Edge TPU for operators that reduce, join, resize or reorder values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tersor.ir.graph import Graph, Op
from tersor.targets._rules import described, rule
from tersor.targets.edge_tpu.every import DOCUMENTED, ESTIMATE, PAIRS
from tersor.targets.edge_tpu.statuses import UNSPECIFIED

MOST_TRANSPOSED = 1 << 16
MOST_AVERAGED = 1 << 14
MOST_RESIZED = 1_500_000
MOST_UPSCALING = 8

_SPLIT = "do it in parts (SPLIT before, CONCATENATION after), or make the input of the model smaller"
_NOT_BATCH = "keep the batch dimension out of it: reshape first, so that the axis is one of the three innermost"


@rule(UNSPECIFIED, _NOT_BATCH, DOCUMENTED, ["MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"])
def reduce_within_sample(op: Op, graph: Graph) -> str | None:
    """MEAN, SUM, REDUCE_MAX, REDUCE_MIN: not over the batch dimension."""
    data = graph.operand(op, 0)
    axes = _axes(op, graph)
    return f"axes {axes}" if data is not None and _batch(axes, len(data.shape)) else None


@rule(UNSPECIFIED, "make the number of channels a multiple of 4", DOCUMENTED, ["MEAN"])
def channels_by_four(op: Op, graph: Graph) -> str | None:
    """MEAN over channels: their number is a multiple of 4."""
    data = graph.operand(op, 0)
    if data is None or not data.shape or len(data.shape) - 1 not in _axes(op, graph):
        return None
    return None if data.shape[-1] % 4 == 0 else f"{data.shape[-1]} channels"


@rule(UNSPECIFIED, _SPLIT, ESTIMATE, ["MEAN"])
def small_mean(op: Op, graph: Graph) -> str | None:
    """MEAN: over at most 16,384 values."""
    data = graph.operand(op, 0)
    if data is None:
        return None
    count = math.prod(data.shape[axis] for axis in _axes(op, graph))
    return None if count <= MOST_AVERAGED else f"{count:,} values"


def _axes(op: Op, graph: Graph, operand: int = 1) -> list[int]:
    """The axes that an operator reads from a constant, counted from the front; none where they are computed."""
    data, axes = graph.operand(op, 0), graph.operand(op, operand)
    if data is None or axes is None or axes.data is None:
        return []
    return [int(axis) % max(1, len(data.shape)) for axis in axes.data.reshape(-1)]


def _batch(axes: Sequence[int], rank: int) -> bool:
    """Whether the outermost of four dimensions is among the axes: fewer dimensions have no batch to the device."""
    return rank >= 4 and 0 in axes


@rule(UNSPECIFIED, _NOT_BATCH, DOCUMENTED, ["PACK", "UNPACK", "SPLIT"])
def pack_within_sample(op: Op, graph: Graph) -> str | None:
    """PACK, UNPACK, SPLIT: not along the batch dimension."""
    longest = max((graph.tensors[name] for name in (*op.present_inputs, *op.outputs)), key=lambda t: len(t.shape))
    rank = len(longest.shape)
    axes = _split_axes(op, graph) if op.kind == "SPLIT" else [int(op.option("axis", 0))]
    return "axis 0" if _batch([axis % max(1, rank) for axis in axes], rank) else None


def _split_axes(op: Op, graph: Graph) -> list[int]:
    axis = graph.operand(op, 0)
    return [] if axis is None or axis.data is None else [int(axis.data.reshape(-1)[0])]


@rule(UNSPECIFIED, "scale up in steps of 2", PAIRS + ", " + ESTIMATE, ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def moderate_upscaling(op: Op, graph: Graph) -> str | None:
    """RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR: to at most 8 times the height or width."""
    before, after = _sizes(op, graph)
    factor = max((new / max(1, old) for new, old in zip(after, before, strict=False)), default=1.0)
    shown = f"{'x'.join(map(str, before))} to {'x'.join(map(str, after))}"
    return None if factor <= MOST_UPSCALING else f"{shown}, {factor:.3g} times"


@rule(
    UNSPECIFIED,
    "scale up at a lower resolution, or after the network in the program",
    ESTIMATE,
    ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"],
)
def small_resize(op: Op, graph: Graph) -> str | None:
    """RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR: to at most 1,500,000 values."""
    result = graph.tensors[op.outputs[0]]
    return None if result.elements <= MOST_RESIZED else f"{result.elements:,} values"


def _sizes(op: Op, graph: Graph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Height and width before and after."""
    data, result = graph.operand(op, 0), graph.tensors[op.outputs[0]]
    return (() if data is None else data.shape[1:3]), result.shape[1:3]


@rule(UNSPECIFIED, "use RESHAPE", DOCUMENTED, ["SQUEEZE"])
def leading_ones(op: Op, graph: Graph) -> str | None:
    """SQUEEZE: only dimensions of 1 that lead, so that no value moves."""
    data = graph.operand(op, 0)
    if data is None:
        return None
    dropped = [axis % len(data.shape) for axis in op.option("squeeze_dims", ()) or ()]
    dropped = dropped or [axis for axis, size in enumerate(data.shape) if size == 1]
    last = max(dropped, default=-1)
    return None if math.prod(data.shape[: last + 1]) == 1 else f"drops axis {last} of {described(data)}"


@rule(UNSPECIFIED, "use SLICE, RESHAPE or EXPAND_DIMS instead of the masks", DOCUMENTED, ["STRIDED_SLICE"])
def plain_slice(op: Op, graph: Graph) -> str | None:
    """STRIDED_SLICE: forwards, without ellipsis and new-axis masks."""
    for mask in ("ellipsis_mask", "new_axis_mask"):
        if op.option(mask, 0):
            return mask.replace("_", " ")
    strides = graph.operand(op, 3)
    if strides is not None and strides.data is not None and (strides.data < 0).any():
        return f"strides {strides.data.tolist()}"
    return None


@rule(
    UNSPECIFIED,
    "keep to the order height, width, channels from the input on, so that nothing is transposed; or do it in parts",
    ESTIMATE,
    ["TRANSPOSE"],
)
def small_transpose(op: Op, graph: Graph) -> str | None:
    """TRANSPOSE: of at most 65,536 values."""
    data = graph.operand(op, 0)
    return None if data is None or data.elements <= MOST_TRANSPOSED else f"{data.elements:,} values"


RULES = (
    reduce_within_sample,
    channels_by_four,
    small_mean,
    pack_within_sample,
    moderate_upscaling,
    small_resize,
    leading_ones,
    plain_slice,
    small_transpose,
)
