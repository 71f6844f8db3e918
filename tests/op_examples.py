"""For each row of the operator table, tiny float models that hold the operator, and samples to feed them.

Every function below is one example; its decorator says of which operator, its name which variant. Weights and samples
come from a fixed seed. Samples keep to the ranges in which an operator makes sense (positive for LOG, away from 0 for a
divisor), and the shapes are as small as shows the kernels' indexing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersor.formats import tflite
from tersor.formats.tflite.schema import snake_case
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model

SAMPLES = 12
RELU, RELU6, TANH_FUSED = 1, 3, 4
"""Codes of fused activations (`schema.fbs`, `enum ActivationFunctionType`)."""
SAME_PADDING, VALID_PADDING = 0, 1

_STRIDE_1 = {"stride_w": 1, "stride_h": 1}
_STRIDE_2 = {"stride_w": 2, "stride_h": 2}
_DILATION_2 = {snake_case("dilationWFactor"): 2, snake_case("dilationHFactor"): 2}


@dataclass(frozen=True)
class Example:
    """A float model and what it is calibrated and run on.

    Attributes:
        name: `OPERATOR-variant`.
        kind: the operator it is an example of.
        model: a model that holds the operator, as read from a file.
        samples: arrays by input name.
    """

    name: str
    kind: str
    model: Model
    samples: tuple[dict[str, Array], ...]


class Net(Builder):
    """A builder that also draws weights, and knows what its inputs are fed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.feeds: dict[str, Callable[[], Array]] = {}

    def real(self, shape: Sequence[int], low: float = -1.0, high: float = 1.0) -> str:
        """A float input that takes values in [low, high]."""
        name = self.input("x", shape)
        self.feeds[name] = lambda: self.random.uniform(low, high, tuple(shape)).astype(np.float32)
        return name

    def near(self, other: str) -> str:
        """A float input whose values equal the other's, or are a little smaller or larger."""
        shape = self.shape_of(other)
        name = self.input("near", shape)
        steps = np.array([-0.5, -0.06, -0.01, -0.002, 0, 0, 0.002, 0.01, 0.06, 0.5], np.float32)
        self.feeds[name] = lambda: self.random.choice(steps, shape)
        return self.op("ADD", [other, name], shape, name="nearly")

    def index(self, shape: Sequence[int], bound: int) -> str:
        """An int32 input that takes values in [0, bound)."""
        name = self.input("index", shape, DType.INT32)
        self.feeds[name] = lambda: self.random.integers(0, bound, tuple(shape), dtype=np.int32)
        return name

    def flags(self, shape: Sequence[int]) -> str:
        """A boolean input."""
        name = self.input("flag", shape, DType.BOOL)
        self.feeds[name] = lambda: self.random.integers(0, 2, tuple(shape)).astype(np.bool_)
        return name

    def weights(self, shape: Sequence[int], low: float = -1.0, high: float = 1.0, name: str = "weights") -> str:
        """A float constant with values in [low, high]."""
        return self.constant(name, self.random.uniform(low, high, tuple(shape)).astype(np.float32))

    def uneven(self, shape: Sequence[int], axis: int) -> str:
        """Weights whose channels along `axis` differ in size by a factor of 20."""
        sizes = np.geomspace(0.05, 1.0, shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return self.constant("weights", (self.random.uniform(-1, 1, tuple(shape)) * sizes).astype(np.float32))

    def sample(self) -> dict[str, Array]:
        return {name: feed() for name, feed in self.feeds.items()}


Build = Callable[[Net], str | Sequence[str]]

EXAMPLES: dict[str, dict[str, Build]] = {}
"""By operator and variant, the function that adds the operator to a net and returns the net's outputs."""


def example(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function as an example of an operator; with several kinds it takes the kind as second argument."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for kind in kinds:
            build = function if len(kinds) == 1 else lambda net, kind=kind: function(net, kind)
            EXAMPLES.setdefault(kind, {})[function.__name__] = build
        return function

    return register


def make(kind: str, variant: str) -> Example:
    """The example of that name."""
    net = Net(zlib.crc32(f"{kind}-{variant}".encode()))
    outputs = EXAMPLES[kind][variant](net)
    model = net.model([outputs] if isinstance(outputs, str) else outputs)
    # Through a file, so that the options are complete, as they are in every model that a user brings.
    model = tflite.read_bytes(tflite.write_bytes(model))
    return Example(f"{kind}-{variant}", kind, model, tuple(net.sample() for _ in range(SAMPLES)))


# Products with constant weights


def conv(net: Net, x: str, channels: int, **options: int) -> str:
    """A 3x3 convolution with bias that keeps height and width."""
    _, height, width, depth = net.shape_of(x)
    operands = [x, net.weights([channels, 3, 3, depth]), net.weights([channels], name="bias")]
    return net.op("CONV_2D", operands, [1, height, width, channels], {**_STRIDE_1, **options})


@example("CONV_2D")
def bias(net: Net) -> str:
    operands = [net.real([1, 6, 6, 4]), net.uneven([5, 3, 3, 4], 0), net.weights([5], name="bias")]
    return net.op("CONV_2D", operands, [1, 6, 6, 5], _STRIDE_1)


@example("CONV_2D")
def relu6(net: Net) -> str:
    operands = [net.real([1, 7, 7, 3], 0, 4), net.weights([4, 3, 3, 3]), net.weights([4], name="bias")]
    options = _STRIDE_2 | {"padding": VALID_PADDING, "fused_activation_function": RELU6}
    return net.op("CONV_2D", operands, [1, 3, 3, 4], options)


@example("CONV_2D")
def dilated(net: Net) -> str:
    return conv(net, net.real([1, 8, 8, 2]), 3, **_DILATION_2)


@example("CONV_2D")
def grouped(net: Net) -> str:
    operands = [net.real([1, 5, 5, 4]), net.weights([6, 3, 3, 2]), net.weights([6], name="bias")]
    return net.op("CONV_2D", operands, [1, 5, 5, 6], _STRIDE_1, version=6)


@example("CONV_2D")
def large_bias(net: Net) -> str:
    bias = net.constant("bias", np.array([3e5, -2, 0.1], np.float32))
    operands = [net.real([1, 4, 4, 2], -1e-3, 1e-3), net.weights([3, 1, 1, 2], -1e-3, 1e-3), bias]
    return net.op("CONV_2D", operands, [1, 4, 4, 3], _STRIDE_1)


@example("CONV_2D")
def dead_channel(net: Net) -> str:
    weights = net.random.uniform(-1, 1, (3, 1, 1, 4)).astype(np.float32)
    weights[1] = 0
    operands = [net.real([1, 4, 4, 4]), net.constant("weights", weights), net.constant("bias", [0.0, 0.5, 0.0])]
    return net.op("CONV_2D", operands, [1, 4, 4, 3], _STRIDE_1)


@example("CONV_2D")
def to_softmax(net: Net) -> str:
    y = conv(net, net.real([1, 4, 4, 3]), 2, fused_activation_function=RELU)
    y = net.op("RESHAPE", [y, net.constant("shape", [1, 32])], [1, 32], {"new_shape": (1, 32)})
    return net.op("SOFTMAX", [y], [1, 32], {"beta": 1.0})


@example("CONV_2D")
def swish(net: Net) -> str:
    y = conv(net, net.real([1, 4, 4, 3]), 4)
    return net.op("MUL", [y, net.op("LOGISTIC", [y], [1, 4, 4, 4])], [1, 4, 4, 4])


@example("DEPTHWISE_CONV_2D")
def multiplier_1(net: Net) -> str:
    operands = [net.real([1, 6, 6, 5], 0, 6), net.uneven([1, 3, 3, 5], 3), net.weights([5], name="bias")]
    options = _STRIDE_1 | {"depth_multiplier": 1, "fused_activation_function": RELU6}
    return net.op("DEPTHWISE_CONV_2D", operands, [1, 6, 6, 5], options)


@example("DEPTHWISE_CONV_2D")
def multiplier_2(net: Net) -> str:
    operands = [net.real([1, 6, 6, 3]), net.weights([1, 3, 3, 6]), net.weights([6], name="bias")]
    options = _STRIDE_2 | {"depth_multiplier": 2}
    return net.op("DEPTHWISE_CONV_2D", operands, [1, 3, 3, 6], options)


@example("DEPTHWISE_CONV_2D")
def dilated_depthwise(net: Net) -> str:
    operands = [net.real([1, 7, 7, 3]), net.weights([1, 3, 3, 3]), net.weights([3], name="bias")]
    options = _STRIDE_1 | _DILATION_2 | {"depth_multiplier": 1}
    return net.op("DEPTHWISE_CONV_2D", operands, [1, 7, 7, 3], options, version=2)


@example("TRANSPOSE_CONV")
def without_bias(net: Net) -> str:
    operands = [net.constant("shape", [1, 8, 8, 3]), net.uneven([3, 3, 3, 2], 0), net.real([1, 4, 4, 2])]
    return net.op("TRANSPOSE_CONV", operands, [1, 8, 8, 3], _STRIDE_2)


@example("TRANSPOSE_CONV")
def with_bias(net: Net) -> str:
    shape, bias = net.constant("shape", [1, 6, 6, 2]), net.weights([2], name="bias")
    operands = [shape, net.weights([2, 3, 3, 4]), net.real([1, 4, 4, 4]), bias]
    return net.op("TRANSPOSE_CONV", operands, [1, 6, 6, 2], _STRIDE_1 | {"padding": VALID_PADDING}, version=3)


@example("FULLY_CONNECTED")
def with_bias_and_relu(net: Net) -> str:
    operands = [net.real([1, 24]), net.uneven([10, 24], 0), net.weights([10], name="bias")]
    return net.op("FULLY_CONNECTED", operands, [1, 10], {"fused_activation_function": RELU})


@example("FULLY_CONNECTED")
def no_bias(net: Net) -> str:
    return net.op("FULLY_CONNECTED", [net.real([1, 16]), net.weights([6, 16]), None], [1, 6], version=6)


@example("FULLY_CONNECTED")
def two_operands(net: Net) -> str:
    return net.op("FULLY_CONNECTED", [net.real([1, 16]), net.weights([6, 16])], [1, 6], version=6)


@example("FULLY_CONNECTED")
def keep_dimensions(net: Net) -> str:
    operands = [net.real([1, 5, 8]), net.weights([6, 8]), net.weights([6], name="bias")]
    return net.op("FULLY_CONNECTED", operands, [1, 5, 6], {"keep_num_dims": True}, version=5)


@example("FULLY_CONNECTED")
def shared_weights(net: Net) -> str:
    x, weights, bias = net.real([1, 8]), net.weights([8, 8]), net.weights([8], name="bias")
    y = net.op("FULLY_CONNECTED", [x, weights, bias], [1, 8])
    return net.op("FULLY_CONNECTED", [y, weights, bias], [1, 8])


@example("EMBEDDING_LOOKUP")
def table(net: Net) -> str:
    return net.op("EMBEDDING_LOOKUP", [net.index([5], 20), net.weights([20, 8])], [5, 8])


@example("BATCH_MATMUL")
def constant_right(net: Net) -> str:
    return net.op("BATCH_MATMUL", [net.real([1, 3, 8]), net.weights([1, 8, 5])], [1, 3, 5])


@example("BATCH_MATMUL")
def two_activations(net: Net) -> str:
    operands = [net.real([2, 3, 8]), net.real([2, 5, 8], -2, 3)]
    return net.op("BATCH_MATMUL", operands, [2, 3, 5], {"adj_y": True})


# Arithmetic


@example("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM")
def two_inputs(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([1, 4, 4, 3]), net.real([1, 4, 4, 3], 0.4, 2)], [1, 4, 4, 3])


@example("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM")
def constant_operand(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([1, 4, 4, 3]), net.weights([3], 0.3, 0.9)], [1, 4, 4, 3])


@example("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM")
def broadcast(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([1, 4, 4, 3], -3, 1), net.real([1, 1, 1, 3], 0.5, 1)], [1, 4, 4, 3])


@example("DIV")
def away_from_zero(net: Net) -> str:
    """Quotients near 0 are lost; see `tests/test_limits.py`."""
    return net.op("DIV", [net.real([1, 4, 4, 3], 0.5, 1), net.real([1, 4, 4, 3], 0.4, 2)], [1, 4, 4, 3])


@example("SUB", "DIV")
def constant_first(net: Net, kind: str) -> str:
    return net.op(kind, [net.constant("one", np.float32(1)), net.real([1, 4, 4, 3], 0.2, 1)], [1, 4, 4, 3])


@example("ADD", "SUB", "MUL")
def fused_relu6(net: Net, kind: str) -> str:
    operands = [net.real([1, 4, 4, 3], -4, 4), net.real([1, 4, 4, 3], -4, 4)]
    return net.op(kind, operands, [1, 4, 4, 3], {"fused_activation_function": RELU6})


@example("ADD")
def residual(net: Net) -> str:
    x = net.real([1, 5, 5, 4])
    y = conv(net, conv(net, x, 4, fused_activation_function=RELU), 4)
    return net.op("ADD", [x, y], [1, 5, 5, 4], {"fused_activation_function": RELU})


@example("ADD")
def itself(net: Net) -> str:
    x = net.real([1, 4, 4, 3])
    return net.op("ADD", [x, x], [1, 4, 4, 3])


@example("ADD")
def very_different_sizes(net: Net) -> str:
    return net.op("ADD", [net.real([1, 4, 4, 3]), net.real([1, 4, 4, 3], -3e-4, 3e-4)], [1, 4, 4, 3])


@example("MUL")
def large_scales(net: Net) -> str:
    small = net.op("MUL", [net.real([1, 4, 4, 3], -300, 300), net.real([1, 4, 4, 3], -200, 200)], [1, 4, 4, 3])
    return net.op("MUL", [small, net.weights([3], 1e-5, 2e-5)], [1, 4, 4, 3])


@example("MUL")
def clipped_product(net: Net) -> str:
    operands = [net.real([1, 4, 4, 3], -300, 300), net.real([1, 4, 4, 3], -2, 2)]
    return net.op("MUL", operands, [1, 4, 4, 3], {"fused_activation_function": RELU6})


@example("MAXIMUM", "MINIMUM")
def constant_out_of_range(net: Net, kind: str) -> str:
    bound = net.constant("bound", np.float32(-50 if kind == "MAXIMUM" else 50))
    return net.op(kind, [net.real([1, 4, 4, 3]), bound], [1, 4, 4, 3])


@example("MINIMUM")
def clip(net: Net) -> str:
    y = net.op("MAXIMUM", [net.real([1, 4, 4, 3], -3, 3), net.constant("low", np.float32(-1))], [1, 4, 4, 3])
    return net.op("MINIMUM", [y, net.constant("high", np.float32(1.5))], [1, 4, 4, 3])


@example("ABS", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "PRELU", "ELU", "HARD_SWISH", "LOGISTIC", "TANH")
def both_signs(net: Net, kind: str) -> str:
    operands = [net.real([1, 4, 4, 6], -5, 8)]
    if kind == "PRELU":
        operands.append(net.weights([1, 1, 6], -0.1, 0.4))
    return net.op(kind, operands, [1, 4, 4, 6])


@example("RELU")
def narrow_result(net: Net) -> str:
    return net.op("RELU", [net.real([1, 4, 4, 6], -50, 0.05)], [1, 4, 4, 6])


@example("EXP")
def moderate(net: Net) -> str:
    return net.op("EXP", [net.real([1, 40], -3, 2)], [1, 40])


@example("LOG", "SQRT", "RSQRT")
def positive(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([1, 40], 0.2, 6)], [1, 40])


@example("SQRT")
def from_zero(net: Net) -> str:
    return net.op("SQRT", [net.real([1, 40], 0, 2)], [1, 40])


@example("LEAKY_RELU")
def slope(net: Net) -> str:
    return net.op("LEAKY_RELU", [net.real([1, 4, 4, 6], -5, 8)], [1, 4, 4, 6], {"alpha": 0.2})


@example("LEAKY_RELU")
def tiny_slope(net: Net) -> str:
    return net.op("LEAKY_RELU", [net.real([1, 4, 4, 6], -5, 8)], [1, 4, 4, 6], {"alpha": 1e-4})


@example("GELU")
def exact(net: Net) -> str:
    return net.op("GELU", [net.real([1, 48], -5, 5)], [1, 48])


@example("GELU")
def approximate(net: Net) -> str:
    return net.op("GELU", [net.real([1, 48], -5, 5)], [1, 48], {"approximate": True})


@example("HARD_SWISH")
def dying(net: Net) -> str:
    return net.op("HARD_SWISH", [net.real([1, 48], -40, -2.8)], [1, 48])


@example("LOGISTIC", "TANH")
def read_twice(net: Net, kind: str) -> list[str]:
    y = net.op(kind, [net.real([1, 24], -3, 3)], [1, 24])
    return [net.op("RESHAPE", [y, net.constant("shape", [4, 6])], [4, 6], {"new_shape": (4, 6)}), y]


@example("SOFTMAX", "LOG_SOFTMAX")
def logits(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([4, 12], -4, 4)], [4, 12], {"beta": 1.0} if kind == "SOFTMAX" else {})


@example("SOFTMAX")
def attention(net: Net) -> str:
    scores = net.op("BATCH_MATMUL", [net.real([1, 6, 8]), net.real([1, 8, 6])], [1, 6, 6])
    shares = net.op("SOFTMAX", [scores], [1, 6, 6], {"beta": 1.0})
    return net.op("BATCH_MATMUL", [shares, net.real([1, 6, 8], -2, 2)], [1, 6, 8])


@example("L2_NORMALIZATION")
def rows(net: Net) -> str:
    return net.op("L2_NORMALIZATION", [net.real([4, 12], -3, 5)], [4, 12])


# Pooling and reductions


@example("AVERAGE_POOL_2D", "MAX_POOL_2D")
def windows(net: Net, kind: str) -> str:
    options = _STRIDE_2 | {"filter_width": 3, "filter_height": 3}
    return net.op(kind, [net.real([1, 7, 7, 4])], [1, 4, 4, 4], options)


@example("AVERAGE_POOL_2D")
def all_of_it(net: Net) -> str:
    options = _STRIDE_1 | {"filter_width": 7, "filter_height": 7, "padding": VALID_PADDING}
    return net.op("AVERAGE_POOL_2D", [conv(net, net.real([1, 7, 7, 2]), 4)], [1, 1, 1, 4], options)


@example("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")
def spatial(net: Net, kind: str) -> str:
    operands = [net.real([1, 5, 5, 4], -1, 3), net.constant("axes", [1, 2])]
    return net.op(kind, operands, [1, 1, 1, 4], {"keep_dims": True})


@example("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
def last_axis(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([2, 3, 4], 0.5, 1.5), net.constant("axes", [-1])], [2, 3])


@example("ARG_MAX", "ARG_MIN")
def of_rows(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([4, 12]), net.constant("axis", np.int32(1))], [4], _index_type(), dtype=DType.INT32)


@example("ARG_MAX")
def of_probabilities(net: Net) -> list[str]:
    y = net.op("SOFTMAX", [net.real([4, 12], -4, 4)], [4, 12], {"beta": 1.0})
    return [net.op("ARG_MAX", [y, net.constant("axis", np.int32(1))], [4], _index_type(), dtype=DType.INT32), y]


def _index_type() -> dict[str, int]:
    return {"output_type": 2}  # `TensorType.INT32` of the schema


@example("TOPK_V2")
def three_of_twelve(net: Net) -> Sequence[str]:
    operands = [net.real([4, 12]), net.constant("k", np.int32(3))]
    return net.op_with("TOPK_V2", operands, [([4, 3], DType.FLOAT32), ([4, 3], DType.INT32)])


# Comparisons and selection

COMPARISONS = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")


@example(*COMPARISONS)
def close_values(net: Net, kind: str) -> str:
    x = net.real([1, 60], -2, 2)
    return net.op(kind, [x, net.near(x)], [1, 60], dtype=DType.BOOL)


@example(*COMPARISONS)
def with_a_constant(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([1, 60], -2, 2), net.constant("half", np.float32(0.5))], [1, 60], dtype=DType.BOOL)


@example(*COMPARISONS)
def different_ranges(net: Net, kind: str) -> list[str]:
    x, y = net.real([1, 60], -2, 2), net.real([1, 60], 0, 1.1)
    return [net.op(kind, [x, y], [1, 60], dtype=DType.BOOL), net.op("ABS", [y], [1, 60]), net.op("ABS", [x], [1, 60])]


_TO_FLOAT = {"in_data_type": 6, "out_data_type": 0}
"""Codes of BOOL and FLOAT32 (`TensorType` of the schema)."""


@example("CAST")
def mask(net: Net) -> str:
    present = net.op("CAST", [net.flags([1, 4, 1])], [1, 4, 1], _TO_FLOAT)
    return net.op("MUL", [net.real([1, 4, 6], -3, 1), present], [1, 4, 6])


@example("CAST")
def moved_with_others(net: Net) -> list[str]:
    """Truth values have a scale of 1, in which nothing else is stored."""
    present = net.op("CAST", [net.flags([1, 4, 4, 2])], [1, 4, 4, 2], _TO_FLOAT)
    flat = net.op("RESHAPE", [present, net.constant("shape", [1, 32])], [1, 32], {"new_shape": (1, 32)})
    pool = {**_STRIDE_2, "filter_width": 3, "filter_height": 3}
    return [
        net.op("CONCATENATION", [flat, net.real([1, 32], -0.3, 0.8)], [1, 64], {"axis": 1}),
        net.op("AVERAGE_POOL_2D", [present], [1, 2, 2, 2], pool),
    ]


@example("SELECT", "SELECT_V2")
def by_input(net: Net, kind: str) -> str:
    return net.op(kind, [net.flags([2, 12]), net.real([2, 12], -3, 1), net.real([2, 12], 0, 2)], [2, 12])


@example("SELECT_V2")
def masked(net: Net) -> str:
    operands = [net.flags([1, 12]), net.real([2, 12], -3, 1), net.constant("else", np.float32(-8))]
    return net.op("SELECT_V2", operands, [2, 12])


# Moving values


@example("BATCH_TO_SPACE_ND")
def block_to_space(net: Net) -> str:
    operands = [net.real([4, 3, 3, 2]), net.constant("block", [2, 2]), net.constant("crops", [[0, 1], [1, 0]])]
    return net.op("BATCH_TO_SPACE_ND", operands, [1, 5, 5, 2])


@example("SPACE_TO_BATCH_ND")
def space_to_block(net: Net) -> str:
    operands = [net.real([1, 5, 5, 2], 1, 2), net.constant("block", [2, 2]), net.constant("pads", [[0, 1], [1, 0]])]
    return net.op("SPACE_TO_BATCH_ND", operands, [4, 3, 3, 2])


@example("BROADCAST_TO")
def repeated(net: Net) -> str:
    return net.op("BROADCAST_TO", [net.real([1, 1, 5]), net.constant("shape", [2, 3, 5])], [2, 3, 5], version=2)


@example("CONCATENATION")
def ranges_differ(net: Net) -> str:
    parts = [net.real([1, 4, 4, 2], 0, 1), net.real([1, 4, 4, 3], -1, 6), net.weights([1, 4, 4, 1])]
    return net.op("CONCATENATION", parts, [1, 4, 4, 6], {"axis": 3})


@example("CONCATENATION")
def other_readers(net: Net) -> list[str]:
    narrow = conv(net, net.real([1, 4, 4, 2], 0, 0.1), 3)
    wide = conv(net, net.real([1, 4, 4, 2], -9, 9), 3)
    return [
        net.op("CONCATENATION", [narrow, wide], [1, 4, 4, 6], {"axis": 3}),
        net.op("RELU", [narrow], [1, 4, 4, 3]),
    ]


@example("CONCATENATION")
def fixed_and_free(net: Net) -> str:
    y = conv(net, net.real([1, 4, 4, 2]), 3)
    parts = [y, net.op("LOGISTIC", [y], [1, 4, 4, 3]), net.op("TANH", [y], [1, 4, 4, 3])]
    return net.op("CONCATENATION", parts, [1, 4, 4, 9], {"axis": -1})


@example("CONCATENATION")
def twice_the_same(net: Net) -> str:
    x = net.real([1, 4, 4, 2])
    return net.op("CONCATENATION", [x, x], [1, 4, 4, 4], {"axis": 3})


@example("DEPTH_TO_SPACE")
def deep(net: Net) -> str:
    return net.op("DEPTH_TO_SPACE", [net.real([1, 3, 3, 8])], [1, 6, 6, 2], {"block_size": 2})


@example("SPACE_TO_DEPTH")
def wide(net: Net) -> str:
    return net.op("SPACE_TO_DEPTH", [net.real([1, 6, 6, 2])], [1, 3, 3, 8], {"block_size": 2})


@example("DYNAMIC_UPDATE_SLICE")
def inserted(net: Net) -> str:
    operands = [net.real([1, 8, 4]), net.real([1, 2, 4], 0, 3), net.constant("start", [0, 3, 0])]
    return net.op("DYNAMIC_UPDATE_SLICE", operands, [1, 8, 4])


@example("EXPAND_DIMS")
def inner(net: Net) -> str:
    return net.op("EXPAND_DIMS", [net.real([2, 5]), net.constant("axis", np.int32(1))], [2, 1, 5])


@example("FILL")
def with_a_computed_value(net: Net) -> str:
    value = net.op("REDUCE_MAX", [net.real([4]), net.constant("axis", [0])], [])
    return net.op("FILL", [net.constant("dims", [2, 3]), value], [2, 3])


@example("GATHER")
def rows_of_an_input(net: Net) -> str:
    return net.op("GATHER", [net.real([6, 5]), net.index([4], 6)], [4, 5], {"axis": 0})


@example("GATHER")
def rows_of_a_table(net: Net) -> str:
    table = net.constant("table", (np.linspace(-1, 1, 400 * 8) ** 3).reshape(400, 8).astype(np.float32))
    return net.op("GATHER", [table, net.index([3], 400)], [3, 8], {"axis": 0})


@example("GATHER_ND")
def points(net: Net) -> str:
    return net.op("GATHER_ND", [net.real([3, 3, 4]), net.index([5, 2], 3)], [5, 4])


@example("MATRIX_SET_DIAG")
def diagonal(net: Net) -> str:
    return net.op("MATRIX_SET_DIAG", [net.real([2, 4, 4]), net.real([2, 4], 0, 3)], [2, 4, 4])


@example("MIRROR_PAD")
def reflect(net: Net) -> str:
    operands = [net.real([1, 4, 4, 2]), net.constant("pads", [[0, 0], [1, 2], [2, 1], [0, 0]])]
    return net.op("MIRROR_PAD", operands, [1, 7, 7, 2], {"mode": 0})


@example("MIRROR_PAD")
def symmetric(net: Net) -> str:
    operands = [net.real([1, 4, 4, 2]), net.constant("pads", [[0, 0], [1, 2], [2, 1], [0, 0]])]
    return net.op("MIRROR_PAD", operands, [1, 7, 7, 2], {"mode": 1})


@example("ONE_HOT")
def of_indices(net: Net) -> str:
    values = [net.constant("on", np.float32(1)), net.constant("off", np.float32(-0.25))]
    return net.op("ONE_HOT", [net.index([5], 7), net.constant("depth", np.int32(7)), *values], [5, 7], {"axis": -1})


@example("SPARSE_TO_DENSE")
def scattered(net: Net) -> str:
    places, shape = net.constant("places", [[0, 1], [1, 2], [2, 0]]), net.constant("shape", [3, 4])
    operands = [places, shape, net.real([3], -2, 1), net.constant("default", np.float32(0.5))]
    return net.op("SPARSE_TO_DENSE", operands, [3, 4])


@example("PACK")
def stacked(net: Net) -> str:
    parts = [net.real([3, 4]), net.real([3, 4], 0, 4), net.real([3, 4], -1, 0)]
    return net.op("PACK", parts, [3, 3, 4], {"values_count": 3, "axis": 1})


@example("UNPACK")
def unstacked(net: Net) -> Sequence[str]:
    x = net.real([3, 2, 4])
    return net.op_with("UNPACK", [x], [([3, 4], DType.FLOAT32)] * 2, {"num": 2, "axis": 1})


@example("PAD")
def edges(net: Net) -> str:
    operands = [net.real([1, 4, 4, 2], 1, 3), net.constant("pads", [[0, 0], [1, 2], [2, 1], [0, 0]])]
    return net.op("PAD", operands, [1, 7, 7, 2])


@example("PADV2")
def edges_with_a_value(net: Net) -> str:
    pads = net.constant("pads", [[0, 0], [1, 2], [2, 1], [0, 0]])
    return net.op("PADV2", [net.real([1, 4, 4, 2]), pads, net.constant("value", np.float32(-2.5))], [1, 7, 7, 2])


@example("RESHAPE")
def flattened(net: Net) -> str:
    return net.op("RESHAPE", [net.real([1, 4, 3]), net.constant("shape", [1, 12])], [1, 12], {"new_shape": (1, 12)})


@example("RESHAPE")
def shape_in_options(net: Net) -> str:
    return net.op("RESHAPE", [net.real([1, 4, 3])], [3, 4], {"new_shape": (3, 4)})


@example("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def doubled(net: Net, kind: str) -> str:
    return net.op(kind, [net.real([1, 4, 4, 3]), net.constant("size", [8, 8])], [1, 8, 8, 3])


@example("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def half_pixel(net: Net, kind: str) -> str:
    operands = [net.real([1, 4, 4, 3]), net.constant("size", [7, 9])]
    return net.op(kind, operands, [1, 7, 9, 3], {"half_pixel_centers": True}, version=3)


@example("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def corners(net: Net, kind: str) -> str:
    operands = [net.real([1, 4, 4, 3]), net.constant("size", [7, 7])]
    return net.op(kind, operands, [1, 7, 7, 3], {"align_corners": True})


@example("REVERSE_SEQUENCE")
def sequences(net: Net) -> str:
    operands = [net.real([3, 5, 2]), net.constant("lengths", [2, 5, 3])]
    return net.op("REVERSE_SEQUENCE", operands, [3, 5, 2], {"seq_dim": 1, "batch_dim": 0})


@example("REVERSE_V2")
def one_axis(net: Net) -> str:
    return net.op("REVERSE_V2", [net.real([2, 3, 4]), net.constant("axis", [1])], [2, 3, 4])


@example("SLICE")
def window(net: Net) -> str:
    operands = [net.real([1, 5, 5, 2]), net.constant("start", [0, 1, 2, 0]), net.constant("size", [1, 3, 2, -1])]
    return net.op("SLICE", operands, [1, 3, 2, 2])


@example("STRIDED_SLICE")
def every_second(net: Net) -> str:
    corners = [net.constant("start", [0, 0, 0]), net.constant("end", [2, 6, 4]), net.constant("step", [1, 2, 1])]
    return net.op("STRIDED_SLICE", [net.real([2, 6, 4]), *corners], [2, 3, 4], {"end_mask": 1})


@example("STRIDED_SLICE")
def shrunk(net: Net) -> str:
    corners = [net.constant("start", [0, -1, 0]), net.constant("end", [0, 0, 0]), net.constant("step", [1, 1, 1])]
    options = {"begin_mask": 5, "end_mask": 5, "shrink_axis_mask": 2}
    return net.op("STRIDED_SLICE", [net.real([2, 6, 4]), *corners], [2, 4], options)


@example("SPLIT")
def halves(net: Net) -> Sequence[str]:
    operands = [net.constant("axis", np.int32(3)), net.real([1, 4, 4, 6])]
    return net.op_with("SPLIT", operands, [([1, 4, 4, 3], DType.FLOAT32)] * 2, {"num_splits": 2})


@example("SPLIT")
def gated(net: Net) -> str:
    halves = net.op_with(
        "SPLIT",
        [net.constant("axis", np.int32(3)), conv(net, net.real([1, 4, 4, 3]), 6)],
        [([1, 4, 4, 3], DType.FLOAT32)] * 2,
        {"num_splits": 2},
    )
    return net.op("MUL", [halves[0], net.op("LOGISTIC", [halves[1]], [1, 4, 4, 3])], [1, 4, 4, 3])


@example("SPLIT_V")
def parts(net: Net) -> Sequence[str]:
    operands = [net.real([2, 7]), net.constant("sizes", [2, 5]), net.constant("axis", np.int32(1))]
    return net.op_with("SPLIT_V", operands, [([2, 2], DType.FLOAT32), ([2, 5], DType.FLOAT32)], {"num_splits": 2})


@example("SQUEEZE")
def ones(net: Net) -> str:
    return net.op("SQUEEZE", [net.real([1, 1, 6])], [1, 6], {"squeeze_dims": (1,)})


@example("TILE")
def tiled(net: Net) -> str:
    return net.op("TILE", [net.real([1, 2, 3]), net.constant("times", [1, 2, 2])], [1, 4, 6])


@example("TRANSPOSE")
def permuted(net: Net) -> str:
    return net.op("TRANSPOSE", [net.real([1, 3, 4, 2]), net.constant("order", [0, 3, 1, 2])], [1, 2, 3, 4])


# Questions about a shape


@example("SHAPE")
def as_another(net: Net) -> str:
    y = net.op("RELU", [net.real([1, 12])], [1, 12])
    shape = net.op("SHAPE", [net.real([3, 4])], [2], {"out_type": 2}, dtype=DType.INT32)
    return net.op("RESHAPE", [y, shape], [3, 4])


@example("RANK")
def rank(net: Net) -> list[str]:
    y = net.op("RELU", [net.real([2, 3, 4])], [2, 3, 4])
    return [y, net.op("RANK", [y], [], dtype=DType.INT32)]
