"""Models of one quantized operator with random shapes, options, scales and zero points, straight in integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tersor.formats import tflite
from tersor.formats.tflite.schema import code_of
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Tensor
from tersor.ir.quant import PerChannel, PerTensor, QuantParams
from tersor.numerics.packing import pack
from tersor.ops import OPS

Scaled = tuple[float, int]
"""A scale and a zero point."""

Build = Callable[["IntegerNet"], str | Sequence[str]]


class IntegerNet:
    """Collects tensors with their parameters.

    Args:
        seed: of everything that is drawn.
        dtype: of the activations.
        weight_dtype: of the weights of layers.
    """

    def __init__(self, seed: int, dtype: DType, weight_dtype: DType = DType.INT8) -> None:
        self.random, self.dtype, self.builder = np.random.default_rng(seed), dtype, Builder()
        self.weight_dtype = weight_dtype
        self.quant: dict[str, QuantParams] = {}

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def size(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high))

    def factor(self, low: float, high: float) -> float:
        return float(np.exp(self.random.uniform(np.log(low), np.log(high))))

    def zero_point(self) -> int:
        if self.dtype is DType.INT16:
            return 0
        low, high = self.dtype.integer_range
        return self.size(low, high + 1) if self.random.random() < 0.8 else int(self.pick(low, 0, high))

    def input(self, shape: Sequence[int], scaled: Scaled | None = None) -> str:
        scale = self.factor(1e-3, 0.5) / (256 if self.dtype is DType.INT16 else 1)
        return self.scaled(self.builder.input("x", shape, self.dtype), scaled or (scale, self.zero_point()))

    def scaled(self, name: str, scaled: Scaled) -> str:
        self.quant[name] = QuantParams((float(np.float32(scaled[0])),), (scaled[1],), self.dtype)
        return name

    def of(self, name: str) -> Scaled:
        return self.quant[name].scale, self.quant[name].zero_point

    def numbers(self, values: Any) -> str:
        return self.builder.constant("numbers", values)

    def weights(self, shape: Sequence[int], axis: int) -> str:
        low, high = self.weight_dtype.integer_range
        name = self.builder.constant("w", self.random.integers(low + 1, high + 1, tuple(shape)).astype(np.int8))
        count = shape[axis] if self.random.random() < 0.7 else 1
        scales = tuple(float(np.float32(self.factor(1e-3, 3e-2))) for _ in range(count))
        granularity = PerChannel(axis) if count > 1 else PerTensor()
        self.quant[name] = QuantParams(scales, (0,) * count, self.weight_dtype, granularity)
        return name

    def bias(self, data: str, weights: str, count: int) -> str:
        wide = self.dtype is DType.INT16
        values = self.random.integers(-20000, 20000, count).astype(np.int64 if wide else np.int32)
        name, of_weights = self.builder.constant("b", values), self.quant[weights]
        scales = tuple(float(np.float32(self.quant[data].scale) * np.float32(item)) for item in of_weights.scales)
        granularity = PerChannel(0) if len(scales) > 1 else PerTensor()
        dtype = DType.INT64 if wide else DType.INT32
        self.quant[name] = QuantParams(scales, (0,) * len(scales), dtype, granularity)
        return name

    def result(self, data: str, weights: str, reach: float) -> Scaled:
        """Parameters in which sums of products fill the range, or which are finer than the sums' own."""
        product = self.quant[data].scale * max(self.quant[weights].scales)
        if self.random.random() < 0.15 and self.dtype is not DType.INT16:
            return product / self.pick(0.9, 1.7, 3.3, 10), self.zero_point()
        return product * self.factor(20, reach), self.zero_point()

    def op(
        self,
        kind: str,
        operands: Sequence[str | None],
        shape: Sequence[int],
        scaled: Scaled | None,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        name = self.builder.op(kind, operands, shape, options or {})
        return name if scaled is None else self.scaled(name, scaled)

    def file(self, outputs: str | Sequence[str]) -> bytes:
        model = self.builder.model([outputs] if isinstance(outputs, str) else outputs)
        graph = model.graph
        tensors = [_stored(graph.tensors[name], quant) for name, quant in self.quant.items()]
        versions = {op.name: self.version(op.kind) for op in graph.ops}
        ops = {op.name: [replace(op, version=versions.get(op.name, 1))] for op in graph.ops}
        return tflite.write_bytes(model.with_graph(graph.edit(tensors=tensors, replace_ops=ops)))

    def version(self, kind: str) -> int:
        if kind not in OPS:
            return 1
        return (OPS[kind].int4 if self.weight_dtype is DType.INT4 else OPS[kind].version(self.dtype)) or 1

    def feed(self, shape: Sequence[int], dtype: DType) -> Array:
        if dtype.is_float:
            return (self.random.normal(size=tuple(shape)) * 20).astype(np.float32)
        if dtype is DType.BOOL:
            return self.random.integers(0, 2, tuple(shape)).astype(np.bool_)
        return self.random.integers(*dtype.integer_range, tuple(shape), endpoint=True).astype(dtype.numpy)


def _stored(tensor: Tensor, quant: QuantParams) -> Tensor:
    tensor = replace(tensor, dtype=quant.dtype, quant=quant)
    if tensor.data is not None and quant.dtype.is_packed:
        return tensor.with_data(pack(tensor.data, quant.dtype))
    return tensor


def _reach(size: int, kernel: int, stride: int, dilation: int, padding: int) -> int:
    return -(-size // stride) if padding == 0 else -(-(size - (kernel - 1) * dilation) // stride)


def _window(net: IntegerNet) -> tuple[int, int, int, int, int, int, int]:
    height, width, stride = net.size(5, 12), net.size(5, 12), net.pick(1, 2)
    dilation = net.pick(1, 1, 2) if stride == 1 else 1
    return height, width, net.size(1, 4), net.size(1, 4), stride, dilation, net.pick(0, 1)


def _window_options(net: IntegerNet, stride: int, dilation: int, padding: int) -> dict[str, int]:
    return {
        "stride_w": stride,
        "stride_h": stride,
        "dilation_w_factor": dilation,
        "dilation_h_factor": dilation,
        "padding": padding,
        "fused_activation_function": net.pick(0, 0, 1, 3),
    }


def conv(net: IntegerNet) -> str:
    height, width, tall, wide, stride, dilation, padding = _window(net)
    depth, outputs = net.pick(1, 3, 8, 16), net.pick(1, 5, 8, 16, 17)
    groups = net.pick(1, 1, 1, 2, 4) if depth % 8 == 0 and outputs % 8 == 0 else 1
    x, w = net.input([1, height, width, depth]), net.weights([outputs, tall, wide, depth // groups], 0)
    shape = [
        1,
        _reach(height, tall, stride, dilation, padding),
        _reach(width, wide, stride, dilation, padding),
        outputs,
    ]
    options = _window_options(net, stride, dilation, padding)
    return net.op("CONV_2D", [x, w, net.bias(x, w, outputs)], shape, net.result(x, w, 3000), options)


def depthwise(net: IntegerNet) -> str:
    height, width, tall, wide, stride, dilation, padding = _window(net)
    depth, multiplier = net.pick(1, 3, 8, 16, 17), net.pick(1, 1, 1, 2, 3)
    if net.random.random() < 0.5:
        tall = wide = 3
    outputs = depth * multiplier
    x, w = net.input([1, height, width, depth]), net.weights([1, tall, wide, outputs], 3)
    shape = [
        1,
        _reach(height, tall, stride, dilation, padding),
        _reach(width, wide, stride, dilation, padding),
        outputs,
    ]
    options = _window_options(net, stride, dilation, padding) | {"depth_multiplier": multiplier}
    return net.op("DEPTHWISE_CONV_2D", [x, w, net.bias(x, w, outputs)], shape, net.result(x, w, 600), options)


def dense(net: IntegerNet) -> str:
    depth, outputs, rows = net.size(1, 200), net.pick(1, 5, 8, 17, 64), net.pick(1, 1, 2, 5)
    x, w = net.input([rows, depth]), net.weights([outputs, depth], 0)
    operands = [x, w, net.bias(x, w, outputs)][: net.pick(2, 3, 3)]
    options = {"fused_activation_function": net.pick(0, 0, 1, 3)}
    return net.op("FULLY_CONNECTED", operands, [rows, outputs], net.result(x, w, 3000), options)


def transposed(net: IntegerNet) -> str:
    height, width, tall, wide = net.size(2, 6), net.size(2, 6), net.size(1, 5), net.size(1, 5)
    depth, outputs, stride, padding = net.pick(1, 3, 8, 16), net.pick(1, 5, 8), net.pick(1, 2), net.pick(0, 1)
    x, w = net.input([1, height, width, depth]), net.weights([outputs, tall, wide, depth], 0)
    sides = [height * stride, width * stride]
    if padding == 1:
        sides = [(height - 1) * stride + tall, (width - 1) * stride + wide]
    shape = [1, *sides, outputs]
    options = {"stride_w": stride, "stride_h": stride, "padding": padding}
    operands = [net.numbers(shape), w, x, net.bias(x, w, outputs)]
    return net.op("TRANSPOSE_CONV", operands, shape, net.result(x, w, 1000), options)


def two(kind: str, low: float, high: float) -> Build:
    """Two operands, which may need broadcasting."""

    def build(net: IntegerNet) -> str:
        shape = [1, net.size(1, 5), net.size(1, 5), net.pick(1, 3, 8, 17, 32)]
        other = net.pick(shape, shape, [1, 1, 1, shape[-1]], [1])
        a, b = net.input(shape), net.input(other)
        one, two_ = net.quant[a].scale, net.quant[b].scale
        scale = one * two_ if kind == "MUL" else max(one, two_)
        options = {"fused_activation_function": net.pick(0, 0, 1) if net.dtype is DType.INT16 else net.pick(0, 1, 3)}
        return net.op(kind, [a, b], shape, (scale * net.factor(low, high), net.zero_point()), options)

    return build


def larger_or_smaller(kind: str) -> Build:
    def build(net: IntegerNet) -> str:
        a = net.input([1, 3, 4, 5])
        return net.op(kind, [a, net.input([1, 3, 4, 5], net.of(a))], [1, 3, 4, 5], net.of(a))

    return build


def one(kind: str, fixed: Mapping[DType, Scaled] | None = None, alpha: bool = False) -> Build:
    """One operand."""

    def build(net: IntegerNet) -> str:
        shape = [1, 4, 4, net.pick(3, 16, 33)]
        x = net.input(shape)
        scaled = (net.quant[x].scale * net.factor(0.5, 3), net.zero_point()) if fixed is None else fixed[net.dtype]
        options = {"alpha": float(np.float32(net.random.uniform(0.01, 0.9)))} if alpha else {}
        return net.op(kind, [x], shape, scaled, options)

    return build


def softmax(net: IntegerNet) -> str:
    shape = [net.pick(1, 3), net.pick(2, 10, 100)]
    return net.op("SOFTMAX", [net.input(shape)], shape, _UNIT[net.dtype], {"beta": 1.0})


def pool(kind: str) -> Build:
    def build(net: IntegerNet) -> str:
        height, width, tall, wide, stride, _, padding = _window(net)
        depth = net.pick(1, 3, 8, 17)
        x = net.input([1, height, width, depth])
        shape = [1, _reach(height, tall, stride, 1, padding), _reach(width, wide, stride, 1, padding), depth]
        options = {"stride_w": stride, "stride_h": stride, "padding": padding}
        options |= {"fused_activation_function": net.pick(0, 0, 1, 3), "filter_height": tall, "filter_width": wide}
        return net.op(kind, [x], shape, net.of(x), options)

    return build


def reduction(kind: str) -> Build:
    def build(net: IntegerNet) -> str:
        shape = [1, net.size(2, 10), net.size(2, 10), net.pick(1, 3, 8, 17, 32)]
        axes, kept = net.pick([1, 2], [1, 2], [3], [1], [2, 3]), bool(net.size(0, 2))
        x = net.input(shape)
        scaled = net.of(x)
        if kind in ("MEAN", "SUM"):
            scaled = scaled[0] * net.factor(0.3, 2) * (10 if kind == "SUM" else 1), net.zero_point()
        found = [1 if axis in axes else size for axis, size in enumerate(shape) if kept or axis not in axes]
        return net.op(kind, [x, net.numbers(axes)], found, scaled, {"keep_dims": kept})

    return build


def quantize(net: IntegerNet) -> str:
    scale = net.factor(1e-3, 0.5)
    return net.op("QUANTIZE", [net.builder.input("x", [1, 101])], [1, 101], (scale, net.zero_point()))


def requantize(net: IntegerNet) -> str:
    x = net.input([1, 101])
    return net.op("QUANTIZE", [x], [1, 101], (net.quant[x].scale * net.factor(0.2, 5), net.zero_point()))


def dequantize(net: IntegerNet) -> str:
    return net.op("DEQUANTIZE", [net.input([1, 101])], [1, 101], None)


def moved(kind: str, shape: Sequence[int], options: Mapping[str, Any], *numbers: Any) -> Build:
    """Values of [2, 4, 6, 8] moved to a shape."""

    def build(net: IntegerNet) -> str:
        x = net.input([2, 4, 6, 8])
        return net.op(kind, [x, *map(net.numbers, numbers)], shape, net.of(x), options)

    return build


def parted(kind: str, shape: Sequence[int], count: int, options: Mapping[str, Any], *first: Any) -> Build:
    """Values of [2, 4, 6] in several results; `first` are numbers before the operand."""

    def build(net: IntegerNet) -> Sequence[str]:
        x = net.input([2, 4, 6])
        results = [(shape, net.dtype)] * count
        names = net.builder.op_with(kind, [*map(net.numbers, first), x], results, options)
        return [net.scaled(name, net.of(x)) for name in names]

    return build


def padded(net: IntegerNet) -> str:
    x = net.input([2, 4, 6, 8])
    fill = net.scaled(net.builder.constant("fill", net.feed([1], net.dtype)), net.of(x))
    pads = net.numbers([[0, 0], [1, 2], [0, 0], [0, 1]])
    return net.op("PADV2", [x, pads, fill], [2, 7, 6, 9], net.of(x))


def joined(kind: str, shape: Sequence[int], axis: int) -> Build:
    def build(net: IntegerNet) -> str:
        x = net.input([2, 4, 6])
        options = {"axis": axis} | ({"values_count": 2} if kind == "PACK" else {})
        return net.op(kind, [x, net.input([2, 4, 6], net.of(x))], shape, net.of(x), options)

    return build


def resized(kind: str) -> Build:
    def build(net: IntegerNet) -> str:
        height, width, depth = net.size(1, 8), net.size(1, 8), net.pick(1, 3, 8, 17)
        sides = net.pick([2 * height, 2 * width], [net.size(1, 20), net.size(1, 20)])
        x = net.input([1, height, width, depth])
        options = net.pick({}, {"align_corners": True}, {"half_pixel_centers": True})
        return net.op(kind, [x, net.numbers(sides)], [1, *sides, depth], net.of(x), options)

    return build


def slopes(net: IntegerNet) -> str:
    x = net.input([1, 4, 5, 16])
    alpha = net.builder.constant("alpha", net.random.integers(-128, 128, (1, 1, 16)).astype(np.int8))
    net.scaled(alpha, (net.factor(1e-3, 1e-2), net.zero_point()))
    scaled = net.quant[x].scale * net.factor(0.5, 3), net.zero_point()
    return net.op("PRELU", [x, alpha], [1, 4, 5, 16], scaled)


def place_of(kind: str) -> Build:
    def build(net: IntegerNet) -> Sequence[str]:
        x = net.input([2, 5, 7])
        options = {"output_type": 2}  # int32
        return net.builder.op_with(kind, [x, net.numbers([2])], [([2, 5], DType.INT32)], options)

    return build


def by_sizes(net: IntegerNet) -> Sequence[str]:
    x = net.input([2, 4, 6])
    results = [([2, size, 6], net.dtype) for size in (1, 3)]
    operands = [x, net.numbers([1, 3]), net.numbers(1)]
    names = net.builder.op_with("SPLIT_V", operands, results, {"num_splits": 2})
    return [net.scaled(name, net.of(x)) for name in names]


def positive(kind: str, low: float, high: float) -> Build:
    """One operand whose values are not negative, and a result that a function of [low, high] fills."""

    def build(net: IntegerNet) -> str:
        shape, reach = [1, 4, 4, net.pick(3, 16, 33)], net.factor(0.5, 20)
        lowest, highest = net.dtype.integer_range
        wide = net.dtype is DType.INT16
        x = net.input(shape, (reach / (highest if wide else highest - lowest), 0 if wide else lowest))
        if wide:  # ABS keeps what is fed from being negative
            x = net.op("ABS", [x], shape, net.of(x))
        power = {"SQRT": 0.5, "RSQRT": -0.5}.get(kind)
        sides = (reach * low, reach * high)
        ends = sorted(abs(float(np.log(item) if power is None else item**power)) for item in sides)
        return net.op(kind, [x], shape, (ends[1] / highest * net.factor(0.3, 1.2), net.zero_point()))

    return build


def exponential(net: IntegerNet) -> str:
    shape, reach = [1, 4, 4, net.pick(3, 16, 33)], net.factor(0.5, 8)
    highest = net.dtype.integer_range[1]
    x = net.input(shape, (reach / highest, 0 if net.dtype is DType.INT16 else net.size(-50, 50)))
    return net.op("EXP", [x], shape, (float(np.exp(reach)) / highest * net.factor(0.3, 1.2), net.zero_point()))


def gelu(net: IntegerNet) -> str:
    shape, reach = [1, 4, 4, net.pick(3, 16, 33)], net.factor(0.5, 12)
    highest = net.dtype.integer_range[1]
    x = net.input(shape, (reach / highest, net.zero_point()))
    scaled = reach / highest * net.factor(0.3, 1.2), net.zero_point()
    return net.op("GELU", [x], shape, scaled, {"approximate": net.pick(False, True)})


def fixed(kind: str, result: Mapping[DType, Scaled]) -> Build:
    """Rows of one operand; the result's parameters are the kernel's."""

    def build(net: IntegerNet) -> str:
        shape, highest = [net.pick(1, 3), net.pick(2, 10, 33, 100)], net.dtype.integer_range[1]
        x = net.input(shape, (net.factor(0.3, 20) / highest, net.zero_point()))
        options = {"beta": 1.0} if kind == "SOFTMAX" else {}
        return net.op(kind, [x], shape, result[net.dtype], options)

    return build


def matrices(net: IntegerNet) -> str:
    """Two activations, or one and a constant, transposed or not, in stacks that may need broadcasting."""
    stack, rows, depth, columns = net.pick([], [1], [3], [2, 3]), net.size(1, 9), net.size(1, 60), net.size(1, 9)
    other = net.pick(stack, stack, [1] * len(stack))
    flipped, adjoint = net.pick(False, True), net.pick(False, True)
    a = net.input([*stack, *([depth, rows] if flipped else [rows, depth])])
    shape = [*other, *([columns, depth] if adjoint else [depth, columns])]
    scaled = net.factor(1e-3, 3e-2) / (256 if net.dtype is DType.INT16 else 1), net.pick(0, net.zero_point())
    if net.pick(False, True):
        b = net.scaled(net.builder.constant("right", net.feed(shape, net.dtype)), scaled)
    else:
        b = net.input(shape, scaled)
    scale = net.quant[a].scale * net.quant[b].scale * net.factor(100, 5000)
    if net.dtype is DType.INT16:
        scale *= 256
    options = {"adj_x": flipped, "adj_y": adjoint}
    return net.op("BATCH_MATMUL", [a, b], [*stack, rows, columns], (scale, net.zero_point()), options)


def quotient(net: IntegerNet) -> str:
    """The divisor is a constant, or an input of which 0 is none of the integers."""
    shape, highest = [1, net.size(1, 5), net.size(1, 5), net.pick(1, 3, 8, 17)], net.dtype.integer_range[1]
    wide = net.dtype is DType.INT16
    a, scale = net.input(shape), net.factor(1e-3, 1e-1)
    values = net.random.integers(1, highest, net.pick(shape, [1, 1, 1, shape[-1]], [1])).astype(net.dtype.numpy)
    sign = net.pick(-1, 1) if wide else 1
    b = net.scaled(net.builder.constant("under", sign * values), (scale, 0 if wide else net.size(-128, 1)))
    result = net.quant[a].scale / scale * net.factor(0.01, 1), net.zero_point()
    return net.op("DIV", [a, b], shape, result, {"fused_activation_function": net.pick(0, 1, 3)})


def squared(net: IntegerNet) -> str:
    shape = [1, net.size(1, 5), net.size(1, 5), net.pick(1, 3, 8, 17)]
    a, b = net.input(shape), net.input(net.pick(shape, [1, 1, 1, shape[-1]], [1]))
    scale = max(net.quant[a].scale, net.quant[b].scale)
    return net.op("SQUARED_DIFFERENCE", [a, b], shape, (scale**2 * net.factor(20, 500), net.zero_point()))


def product_of(net: IntegerNet) -> str:
    shape, highest = [2, net.size(2, 4), net.size(2, 4)], net.dtype.integer_range[1]
    axes, kept = net.pick([2], [1], [1, 2]), bool(net.size(0, 2))
    x = net.input(shape, (net.factor(0.8, 2) / highest, net.zero_point()))
    found = [1 if axis in axes else size for axis, size in enumerate(shape) if kept or axis not in axes]
    scaled = net.factor(0.5, 3) / highest, net.zero_point()
    return net.op("REDUCE_PROD", [x, net.numbers(axes)], found, scaled, {"keep_dims": kept})


def compared(kind: str) -> Build:
    def build(net: IntegerNet) -> str:
        shape, highest = [1, 3, 4, 5], net.dtype.integer_range[1]
        a = net.input(shape, (net.factor(0.05, 8) / highest, net.zero_point()))
        b = net.input(net.pick(shape, [1, 1, 1, 5], [1]), net.of(a))
        return net.builder.op(kind, [a, b], shape, dtype=DType.BOOL)

    return build


def truth(net: IntegerNet) -> str:
    flags = net.builder.input("flags", [2, 3, 5], DType.BOOL)
    code = code_of(net.dtype)
    return net.op("CAST", [flags], [2, 3, 5], (1.0, 0), {"in_data_type": code_of(DType.BOOL), "out_data_type": code})


def chosen(kind: str) -> Build:
    def build(net: IntegerNet) -> str:
        shape = [2, 3, 5]
        flags = net.builder.input("flags", net.pick(shape, [2]) if kind == "SELECT" else shape, DType.BOOL)
        a = net.input(shape)
        b = net.input(shape if kind == "SELECT" else net.pick(shape, [1, 5]), net.of(a))
        return net.op(kind, [flags, a, b], shape, net.of(a))

    return build


def largest(net: IntegerNet) -> Sequence[str]:
    x, count = net.input([3, 12]), net.size(1, 12)
    results = [([3, count], net.dtype), ([3, count], DType.INT32)]
    values, places = net.builder.op_with("TOPK_V2", [x, net.numbers(np.int32(count))], results)
    return [net.scaled(values, net.of(x)), places]


def one_hot(net: IntegerNet) -> str:
    indices = net.numbers(net.random.integers(0, 7, 5).astype(np.int32))
    scaled = net.factor(1e-3, 0.1), net.zero_point()
    values = [net.scaled(net.builder.constant("on", np.array(item, np.int8)), scaled) for item in (100, -3)]
    axis = net.pick(-1, 0)
    options = {"axis": axis}
    return net.op("ONE_HOT", [indices, net.numbers(np.int32(7)), *values], [5, 7] if axis else [7, 5], scaled, options)


def filled(net: IntegerNet) -> str:
    x = net.input([])
    return net.op("FILL", [net.numbers([2, 3]), x], [2, 3], net.of(x))


def scattered(net: IntegerNet) -> str:
    x = net.input([4])
    other = net.scaled(net.builder.constant("other", np.array(-7, np.int8)), net.of(x))
    operands = [net.numbers([[0, 1], [1, 0], [1, 2], [2, 2]]), net.numbers([3, 4]), x, other]
    return net.op("SPARSE_TO_DENSE", operands, [3, 4], net.of(x))


def diagonal(net: IntegerNet) -> str:
    x = net.input([2, 4, 5])
    return net.op("MATRIX_SET_DIAG", [x, net.input([2, 4], net.of(x))], [2, 4, 5], net.of(x))


def updated(net: IntegerNet) -> str:
    x = net.input([1, 8, 4])
    start = net.numbers([0, net.size(0, 8), net.size(0, 3)])
    return net.op("DYNAMIC_UPDATE_SLICE", [x, net.input([1, 3, 2], net.of(x)), start], [1, 8, 4], net.of(x))


def looked_up(net: IntegerNet) -> str:
    table = net.builder.constant("table", net.feed([20, 8], DType.INT8))
    net.scaled(table, (net.factor(1e-3, 0.1), 0))
    indices = net.numbers(net.random.integers(0, 20, 5).astype(np.int32))
    return net.op("EMBEDDING_LOOKUP", [indices, table], [5, 8], net.of(table))


def asked(kind: str, shape: Sequence[int]) -> Build:
    def build(net: IntegerNet) -> str:
        options = {"out_type": 2} if kind == "SHAPE" else {}  # int32
        return net.builder.op(kind, [net.input([2, 4, 6])], shape, options, dtype=DType.INT32)

    return build


_UNIT = {DType.INT8: (1 / 256, -128), DType.INT16: (1 / 32768, 0)}
_SIGNED_UNIT = {DType.INT8: (1 / 128, 0), DType.UINT8: (1 / 128, 128), DType.INT16: (1 / 32768, 0)}

BUILDS: Mapping[str, tuple[Build, ...]] = {
    "CONV_2D": (conv,),
    "DEPTHWISE_CONV_2D": (depthwise,),
    "FULLY_CONNECTED": (dense,),
    "TRANSPOSE_CONV": (transposed,),
    "ADD": (two("ADD", 0.3, 4),),
    "SUB": (two("SUB", 0.3, 4),),
    "MUL": (two("MUL", 3, 500),),
    "MAXIMUM": (larger_or_smaller("MAXIMUM"),),
    "MINIMUM": (larger_or_smaller("MINIMUM"),),
    "RELU": (one("RELU"),),
    "RELU6": (one("RELU6"),),
    "RELU_0_TO_1": (one("RELU_0_TO_1"),),
    "RELU_N1_TO_1": (one("RELU_N1_TO_1"),),
    "LEAKY_RELU": (one("LEAKY_RELU", alpha=True),),
    "ELU": (one("ELU"),),
    "HARD_SWISH": (one("HARD_SWISH"),),
    "LOGISTIC": (one("LOGISTIC", _UNIT),),
    "TANH": (one("TANH", _SIGNED_UNIT),),
    "SOFTMAX": (softmax, fixed("SOFTMAX", _UNIT)),
    "LOG_SOFTMAX": (fixed("LOG_SOFTMAX", {DType.INT8: (1 / 16, 127)}),),
    "L2_NORMALIZATION": (fixed("L2_NORMALIZATION", _SIGNED_UNIT),),
    "BATCH_MATMUL": (matrices,),
    "DIV": (quotient,),
    "SQUARED_DIFFERENCE": (squared,),
    "ABS": (one("ABS"),),
    "EXP": (exponential,),
    "LOG": (positive("LOG", 0.1, 1),),
    "SQRT": (positive("SQRT", 0.1, 1),),
    "RSQRT": (positive("RSQRT", 0.1, 1),),
    "GELU": (gelu,),
    "REDUCE_PROD": (product_of,),
    "TOPK_V2": (largest,),
    **{kind: (compared(kind),) for kind in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")},
    "CAST": (truth,),
    "SELECT": (chosen("SELECT"),),
    "SELECT_V2": (chosen("SELECT_V2"),),
    "EMBEDDING_LOOKUP": (looked_up,),
    "GATHER_ND": (moved("GATHER_ND", [3, 6, 8], {}, [[0, 1], [1, 3], [1, 0]]),),
    "ONE_HOT": (one_hot,),
    "FILL": (filled,),
    "SPARSE_TO_DENSE": (scattered,),
    "MATRIX_SET_DIAG": (diagonal,),
    "DYNAMIC_UPDATE_SLICE": (updated,),
    "REVERSE_SEQUENCE": (moved("REVERSE_SEQUENCE", [2, 4, 6, 8], {"seq_dim": 2, "batch_dim": 0}, [5, 2]),),
    "SHAPE": (asked("SHAPE", [3]),),
    "RANK": (asked("RANK", []),),
    "AVERAGE_POOL_2D": (pool("AVERAGE_POOL_2D"),),
    "MAX_POOL_2D": (pool("MAX_POOL_2D"),),
    "MEAN": (reduction("MEAN"),),
    "SUM": (reduction("SUM"),),
    "REDUCE_MAX": (reduction("REDUCE_MAX"),),
    "REDUCE_MIN": (reduction("REDUCE_MIN"),),
    "QUANTIZE": (quantize, requantize),
    "DEQUANTIZE": (dequantize,),
    "RESIZE_BILINEAR": (resized("RESIZE_BILINEAR"),),
    "RESIZE_NEAREST_NEIGHBOR": (resized("RESIZE_NEAREST_NEIGHBOR"),),
    "RESHAPE": (moved("RESHAPE", [8, 48], {}, [8, 48]),),
    "SQUEEZE": (moved("SQUEEZE", [2, 4, 6, 8], {}),),
    "EXPAND_DIMS": (moved("EXPAND_DIMS", [2, 1, 4, 6, 8], {}, 1),),
    "TRANSPOSE": (moved("TRANSPOSE", [8, 2, 6, 4], {}, [3, 0, 2, 1]),),
    "PAD": (moved("PAD", [2, 7, 6, 9], {}, [[0, 0], [1, 2], [0, 0], [0, 1]]),),
    "MIRROR_PAD": (moved("MIRROR_PAD", [2, 7, 6, 9], {"mode": 0}, [[0, 0], [1, 2], [0, 0], [0, 1]]),),
    "SLICE": (moved("SLICE", [1, 3, 2, 8], {}, [1, 0, 3, 0], [1, 3, 2, -1]),),
    "STRIDED_SLICE": (
        moved(
            "STRIDED_SLICE", [2, 2, 3, 3], {"begin_mask": 1, "end_mask": 1}, [1, 0, 1, 7], [1, 4, 6, 1], [1, 2, 2, -2]
        ),
        moved("STRIDED_SLICE", [4, 5, 8], {"shrink_axis_mask": 1, "end_mask": 8}, [1, 0, 1, 0], [2, 4, 6, 1], [1] * 4),
    ),
    "DEPTH_TO_SPACE": (moved("DEPTH_TO_SPACE", [2, 8, 12, 2], {"block_size": 2}),),
    "SPACE_TO_DEPTH": (moved("SPACE_TO_DEPTH", [2, 2, 3, 32], {"block_size": 2}),),
    "CONCATENATION": (joined("CONCATENATION", [2, 8, 6], 1),),
    "PACK": (joined("PACK", [2, 2, 4, 6], 1),),
    "PRELU": (slopes,),
    "ARG_MAX": (place_of("ARG_MAX"),),
    "ARG_MIN": (place_of("ARG_MIN"),),
    "SPLIT_V": (by_sizes,),
    "GATHER": (moved("GATHER", [2, 4, 3, 8], {"axis": 2}, [5, 0, 5]),),
    "TILE": (moved("TILE", [2, 8, 6, 24], {}, [1, 2, 1, 3]),),
    "BROADCAST_TO": (moved("BROADCAST_TO", [3, 2, 4, 6, 8], {}, [3, 2, 4, 6, 8]),),
    "REVERSE_V2": (moved("REVERSE_V2", [2, 4, 6, 8], {}, [1]),),
    "SPACE_TO_BATCH_ND": (moved("SPACE_TO_BATCH_ND", [12, 2, 2, 8], {}, [2, 3], [[0, 0], [0, 0]]),),
    "BATCH_TO_SPACE_ND": (moved("BATCH_TO_SPACE_ND", [1, 3, 6, 8], {}, [1, 2], [[1, 0], [2, 4]]),),
    "PADV2": (padded,),
    "SPLIT": (parted("SPLIT", [2, 2, 6], 2, {"num_splits": 2}, 1),),
    "UNPACK": (parted("UNPACK", [2, 6], 4, {"num": 4, "axis": 1}),),
}
"""By operator, what builds models of it."""

PADDED_BLOCKS = moved("SPACE_TO_BATCH_ND", [12, 3, 3, 8], {}, [2, 3], [[1, 1], [0, 3]])
