"""Float models of one operator whose values have any range: tiny, huge, to one side of 0, far from it, mostly small.

`op_examples` has ranges in which an operator makes sense; these are what a network may bring. Each function builds a
model from a seed: ranges, shapes, options and constants are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from op_examples import Net
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.ops import OPS

SHAPE = (1, 4, 4, 6)
SAMPLES = 4

SYMMETRIC, POSITIVE, NEGATIVE, AWAY, LOPSIDED, SPIKY = "symmetric", "positive", "negative", "away", "lopsided", "spiky"
FORMS = (SYMMETRIC, POSITIVE, NEGATIVE, AWAY, LOPSIDED, SPIKY)
"""How values lie: around 0, on one side, away from 0, mostly on one side, or most of them near 0."""

_NO_ACTIVATION = ("MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")


class Wild(Net):
    """Draws ranges."""

    def among(self, *choices: object) -> object:
        return choices[int(self.random.integers(len(choices)))]

    def size(self, *choices: int) -> int:
        return choices[int(self.random.integers(len(choices)))]

    def factor(self, low: float, high: float) -> float:
        return float(np.exp(self.random.uniform(np.log(low), np.log(high))))

    def values(self, shape: Sequence[int], *forms: str) -> Callable[[], Array]:
        """What draws values of one range, of one of the forms."""
        scale = self.factor(1e-6, 1e6) if self.random.random() < 0.5 else self.factor(0.05, 20)
        form = str(self.among(*(forms or FORMS)))
        small = self.factor(1e-3, 0.5)
        low, high = {
            SYMMETRIC: (-scale * (0.1 + small), scale),
            POSITIVE: (0.0, scale),
            NEGATIVE: (-scale, 0.0),
            AWAY: (scale * max(small, 0.03), scale),
            LOPSIDED: (-scale, scale * small / 5),
            SPIKY: (-scale, scale),
        }[form]

        def draw() -> Array:
            drawn = self.random.uniform(low, high, tuple(shape))
            if form == SPIKY:
                drawn = np.sign(drawn) * scale * np.exp(-self.random.uniform(0, 12, tuple(shape)))
            return drawn.astype(np.float32)

        return draw

    def anything(self, shape: Sequence[int], *forms: str) -> str:
        """A float input of any range."""
        name = self.input("x", shape)
        self.feeds[name] = self.values(shape, *forms)
        return name

    def any_constant(self, shape: Sequence[int], *forms: str) -> str:
        return self.constant("c", self.values(shape, *forms)())


Build = Callable[[Wild, str], str]


def unary(*forms: str, **options: object) -> Build:
    return lambda net, kind: net.op(kind, [net.anything(SHAPE, *forms)], SHAPE, options)


def binary(*second: str) -> Build:
    def build(net: Wild, kind: str) -> str:
        other = [SHAPE, SHAPE, (1, 1, 1, 6), (1,)][net.size(0, 1, 2, 3)]
        x = net.anything(SHAPE)
        y = net.any_constant(other, *second) if net.random.random() < 0.3 else net.anything(other, *second)
        options = {} if kind in _NO_ACTIVATION else {"fused_activation_function": net.size(0, 0, 1, 3)}
        return net.op(kind, [x, y], SHAPE, options)

    return build


def compared(net: Wild, kind: str) -> str:
    """With itself, moved by parts of its range."""
    x = net.anything(SHAPE)
    sample = net.feeds[x]()
    span = float(np.ptp(sample))
    name = net.input("moves", SHAPE)
    net.feeds[name] = lambda: (net.random.choice([-1, -0.2, -0.01, 0, 0, 0.01, 0.2, 1], SHAPE) * span).astype(
        np.float32
    )
    return net.op(kind, [x, net.op("ADD", [x, name], SHAPE)], SHAPE, dtype=DType.BOOL)


def rows(net: Wild, kind: str) -> str:
    shape = (2, net.size(2, 10, 100, 300, 1001))
    options = {"beta": float(net.size(1, 1, 5))} if kind == "SOFTMAX" else {}
    return net.op(kind, [net.anything(shape)], shape, options)


def reduced(net: Wild, kind: str) -> str:
    sizes = (2, 3) if kind == "REDUCE_PROD" else (1, 2, 5, 16, 50, 128)
    shape = (1, net.size(*sizes), net.size(*sizes), 3)
    axes = [[1, 2], [3], [1], [1, 2, 3]][net.size(0, 1, 2, 3)]
    result = [1 if axis in axes else size for axis, size in enumerate(shape)]
    return net.op(kind, [net.anything(shape), net.constant("axes", axes)], result, {"keep_dims": True})


def pooled(net: Wild, kind: str) -> str:
    side = net.size(2, 5, 16, 64)
    options = {"stride_w": 1, "stride_h": 1, "filter_width": side, "filter_height": side, "padding": 1}
    return net.op(kind, [net.anything((1, side, side, 5))], (1, 1, 1, 5), options)


def layer(net: Wild, kind: str) -> str:
    depth, outputs = net.size(1, 8, 64), 5
    strides = {"stride_w": 1, "stride_h": 1}
    dilation = {"dilation_w_factor": 1, "dilation_h_factor": 1}
    activation = {"fused_activation_function": net.size(0, 0, 1, 3)}
    image = (1, 4, 4, depth)
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, int]]] = {
        "FULLY_CONNECTED": ((2, depth), (outputs, depth), (2, outputs), activation),
        "CONV_2D": (image, (outputs, 3, 3, depth), (1, 4, 4, outputs), strides | dilation | activation),
        "DEPTHWISE_CONV_2D": (
            image,
            (1, 3, 3, depth),
            image,
            strides | dilation | activation | {"depth_multiplier": 1},
        ),
        "TRANSPOSE_CONV": (image, (outputs, 3, 3, depth), (1, 8, 8, outputs), {"stride_w": 2, "stride_h": 2}),
    }
    data, weights, result, options = shapes[kind]
    x, own = net.anything(data), net.values(weights)()
    largest = float(np.abs(net.feeds[x]()).max()) * float(np.abs(own).max())
    bias = net.random.uniform(-1, 1, result[-1]) * net.factor(1e-3, 1e3) * largest
    operands = [x, net.constant("w", own), net.constant("b", bias.astype(np.float32))]
    if kind == "TRANSPOSE_CONV":
        return net.op(kind, [net.constant("s", result), operands[1], x, operands[2]], result, options, version=3)
    return net.op(kind, operands, result, options)


def matrices(net: Wild, kind: str) -> str:
    depth = net.size(1, 8, 64, 600)
    return net.op(kind, [net.anything((2, 3, depth)), net.anything((2, depth, 5))], (2, 3, 5))


def slopes(net: Wild, kind: str) -> str:
    return net.op(kind, [net.anything(SHAPE), net.any_constant((1, 1, 6))], SHAPE)


def leaky(net: Wild, kind: str) -> str:
    slope = float(np.float32(net.factor(1e-6, 3))) * net.size(1, 1, -1)
    return net.op(kind, [net.anything(SHAPE)], SHAPE, {"alpha": slope})


def exponential(net: Wild, kind: str) -> str:
    """Up to where float32 ends."""
    x = net.input("x", SHAPE)
    reach = net.factor(0.01, 80)
    net.feeds[x] = lambda: net.random.uniform(-reach * 5, reach, SHAPE).astype(np.float32)
    return net.op(kind, [x], SHAPE)


_PLAIN = "ABS RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 ELU HARD_SWISH LOGISTIC TANH GELU"
_COMPARISONS = "EQUAL NOT_EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL"

BUILDS: dict[str, Build] = {
    **dict.fromkeys(_PLAIN.split(), unary()),
    **dict.fromkeys(("SQRT", "RSQRT", "LOG"), unary(POSITIVE, AWAY)),
    "EXP": exponential,
    **dict.fromkeys(("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM"), binary()),
    "DIV": binary(AWAY),
    **dict.fromkeys(_COMPARISONS.split(), compared),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"), rows),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN"), reduced),
    "AVERAGE_POOL_2D": pooled,
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"), layer),
    "BATCH_MATMUL": matrices,
    "PRELU": slopes,
    "LEAKY_RELU": leaky,
}
"""By operator, what builds models of it; operators that only move values have none, since no range is theirs."""

CASES = [
    (kind, flavour)
    for kind in BUILDS
    for flavour, version in (("int8", OPS[kind].int8), ("int16x8", OPS[kind].int16))
    if version is not None
]


def wild(kind: str, seed: int) -> tuple[Model, list[dict[str, Array]]]:
    """A model of an operator, and samples."""
    net = Wild(seed)
    model = net.model([BUILDS[kind](net, kind)])
    return tflite.read_bytes(tflite.write_bytes(model)), [net.sample() for _ in range(SAMPLES)]
