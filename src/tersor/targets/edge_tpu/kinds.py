"""Rules of the Edge TPU for single kinds of operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tersor.ir.graph import Graph, Op, Tensor
from tersor.targets._rules import rule
from tersor.targets.edge_tpu.every import DOCUMENTED, ESTIMATE, PAIRS, described
from tersor.targets.edge_tpu.statuses import UNSPECIFIED

MOST_SOFTMAX = 16_000
MOST_TRANSPOSED = 1 << 16
MOST_AVERAGED = 1 << 14
MOST_RESIZED = 1_500_000
MOST_UPSCALING = 8

_SPLIT = "do it in parts (SPLIT before, CONCATENATION after), or make the input of the model smaller"


@rule(
    UNSPECIFIED,
    "let the activation be an operator of its own, or fuse it into the convolution before",
    DOCUMENTED,
    ["AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"],
)
def no_fused_activation(op: Op, _graph: Graph) -> str | None:
    """AVERAGE_POOL_2D, MAX_POOL_2D, CONCATENATION: no fused activation."""
    code = op.option("fused_activation_function", 0)
    names = {1: "ReLU", 2: "ReLU-1-to-1", 3: "ReLU6", 4: "tanh", 5: "sign"}
    return None if not code else f"fused {names.get(code, 'activation')}"


@rule(
    UNSPECIFIED,
    "add the constant in the program, or concatenate one constant of zeros at a time",
    DOCUMENTED,
    ["CONCATENATION"],
)
def constants_in_concatenation(op: Op, graph: Graph) -> str | None:
    """CONCATENATION: with a constant there are exactly two operands, and the constant stands for zeros."""
    operands = [graph.tensors[name] for name in op.present_inputs]
    constants = [tensor for tensor in operands if tensor.data is not None]
    if not constants:
        return None
    if len(operands) != 2:
        return f"{len(operands)} operands, {len(constants)} of them constant"
    data = constants[0].data
    zero = constants[0].quant.zero_points[0] if constants[0].quant is not None else 0
    return None if data is not None and bool((data == zero).all()) else "a constant that is not zero"


@rule(
    UNSPECIFIED,
    "use the same dilation in both directions, or none",
    DOCUMENTED,
    ["CONV_2D", "DEPTHWISE_CONV_2D"],
)
def even_dilation(op: Op, _graph: Graph) -> str | None:
    """CONV_2D, DEPTHWISE_CONV_2D: the same dilation in x and y."""
    across, down = op.option("dilation_w_factor", 1), op.option("dilation_h_factor", 1)
    return None if across == down else f"dilation {across} in x and {down} in y"


@rule(
    UNSPECIFIED,
    "use the default layout of weights (no shuffled weights)",
    DOCUMENTED,
    ["FULLY_CONNECTED"],
)
def plain_weights(op: Op, _graph: Graph) -> str | None:
    """FULLY_CONNECTED: weights in the default format."""
    return "shuffled weights" if op.option("weights_format", 0) else None


@rule(
    UNSPECIFIED,
    "use a 1x1 CONV_2D where the layer is applied to several vectors at a time",
    DOCUMENTED,
    ["FULLY_CONNECTED"],
)
def one_vector(op: Op, graph: Graph) -> str | None:
    """FULLY_CONNECTED: the result is one vector."""
    result = graph.tensors[op.outputs[0]]
    return None if math.prod(result.shape[:-1]) == 1 else f"result {described(result)}"


def _axes(op: Op, graph: Graph, operand: int = 1) -> list[int]:
    """The axes that an operator reads from a constant, counted from the front; none where they are computed."""
    data, axes = graph.operand(op, 0), graph.operand(op, operand)
    if data is None or axes is None or axes.data is None:
        return []
    return [int(axis) % max(1, len(data.shape)) for axis in axes.data.reshape(-1)]


def _batch(axes: Sequence[int], rank: int) -> bool:
    """Whether the outermost of four dimensions is among the axes: fewer dimensions have no batch to the device."""
    return rank >= 4 and 0 in axes


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


@rule(UNSPECIFIED, "share alpha along height and width (Keras: shared_axes=[1, 2])", DOCUMENTED, ["PRELU"])
def alpha_per_channel(op: Op, graph: Graph) -> str | None:
    """PRELU: one alpha per channel at most."""
    alpha = graph.operand(op, 1)
    return None if alpha is None or math.prod(alpha.shape[:-1]) == 1 else f"alpha {described(alpha)}"


@rule(UNSPECIFIED, "scale up in steps of 2", PAIRS + ", " + ESTIMATE, ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def moderate_upscaling(op: Op, graph: Graph) -> str | None:
    """RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR: to at most 8 times the height or width."""
    before, after = _sizes(op, graph)
    factor = max((new / max(1, old) for new, old in zip(after, before, strict=False)), default=1.0)
    shown = f"{'x'.join(map(str, before))} to {'x'.join(map(str, after))}"
    return None if factor <= MOST_UPSCALING else f"{shown}, {factor:.3g} times"


def _sizes(op: Op, graph: Graph) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Height and width before and after."""
    data, result = graph.operand(op, 0), graph.tensors[op.outputs[0]]
    return (() if data is None else data.shape[1:3]), result.shape[1:3]


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


@rule(UNSPECIFIED, "take the softmax of the few best scores in the program", DOCUMENTED, ["SOFTMAX"])
def short_softmax(op: Op, graph: Graph) -> str | None:
    """SOFTMAX: over at most 16,000 values."""
    data = graph.operand(op, 0)
    size = 0 if data is None or not data.shape else data.shape[-1]
    return None if size <= MOST_SOFTMAX else f"{size:,} values"


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
    data: Tensor | None = graph.operand(op, 0)
    return None if data is None or data.elements <= MOST_TRANSPOSED else f"{data.elements:,} values"


RULES = (
    no_fused_activation,
    constants_in_concatenation,
    even_dilation,
    plain_weights,
    one_vector,
    reduce_within_sample,
    channels_by_four,
    small_mean,
    pack_within_sample,
    alpha_per_channel,
    moderate_upscaling,
    small_resize,
    short_softmax,
    leading_ones,
    plain_slice,
    small_transpose,
)
