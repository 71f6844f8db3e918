"""Rules of the Edge TPU for layers: products, pooling, joining, softmax."""

from __future__ import annotations

import math

from tersor.ir.graph import Graph, Op
from tersor.targets._rules import described, rule
from tersor.targets.edge_tpu.every import DOCUMENTED
from tersor.targets.edge_tpu.statuses import UNSPECIFIED

MOST_SOFTMAX = 16_000


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


@rule(UNSPECIFIED, "share alpha along height and width (Keras: shared_axes=[1, 2])", DOCUMENTED, ["PRELU"])
def alpha_per_channel(op: Op, graph: Graph) -> str | None:
    """PRELU: one alpha per channel at most."""
    alpha = graph.operand(op, 1)
    return None if alpha is None or math.prod(alpha.shape[:-1]) == 1 else f"alpha {described(alpha)}"


@rule(UNSPECIFIED, "take the softmax of the few best scores in the program", DOCUMENTED, ["SOFTMAX"])
def short_softmax(op: Op, graph: Graph) -> str | None:
    """SOFTMAX: over at most 16,000 values."""
    data = graph.operand(op, 0)
    size = 0 if data is None or not data.shape else data.shape[-1]
    return None if size <= MOST_SOFTMAX else f"{size:,} values"


RULES = (
    no_fused_activation,
    constants_in_concatenation,
    even_dilation,
    plain_weights,
    one_vector,
    alpha_per_channel,
    short_softmax,
)
