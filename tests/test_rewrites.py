"""Rewrites for a target leave outputs unchanged, also in integers, and refuse with a reason what they must not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from conftest import Run
from small_nets import through_file
from tersor import registry
from tersor.ir.check import check_graph
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op
from tersor.recipe import load_recipe
from tersor.stages.calibrate import calibrate
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from test_passes import Net, kinds

SHAPE = (1, 6, 5, 4)


@dataclass(frozen=True)
class Case:
    """What a pass makes of an operator: the operators of the result in order."""

    module: str
    build: Callable[[Net], str]
    becomes: str
    shape: tuple[int, ...] = SHAPE


def leaky(net: Net) -> str:
    return net.builder.op("LEAKY_RELU", [net.x], net.shape(net.x), {"alpha": 0.3})


def gelu(*, approximate: bool) -> Callable[[Net], str]:
    return lambda net: net.builder.op("GELU", [net.x], net.shape(net.x), {"approximate": approximate})


def prelu(*shape: int) -> Callable[[Net], str]:
    return lambda net: net.binary("PRELU", net.x, net.values(*shape))


def broadcast(net: Net) -> str:
    return net.binary("PRELU", net.x, np.broadcast_to(net.values(4), (6, 5, 4)))


def activated(kind: str, code: int) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        options = {"filter_width": 2, "filter_height": 2, "stride_w": 1, "stride_h": 1, "padding": 0}
        return net.builder.op(kind, [net.x], (1, 5, 4, 4), options | {"fused_activation_function": code})

    return build


def squeezed(net: Net) -> str:
    return net.builder.op("SQUEEZE", [net.x], (1, 6, 4), {"squeeze_dims": (2,)})


def split(net: Net) -> str:
    operands = [net.x, net.builder.constant("sizes", [1, 3]), net.builder.constant("axis", np.int32(3))]
    results = [((1, 6, 5, 1), DType.FLOAT32), ((1, 6, 5, 3), DType.FLOAT32)]
    return net.builder.op("ADD", net.builder.op_with("SPLIT_V", operands, results, {"num_splits": 2}), (1, 6, 5, 3))


def strided(
    begin: list[int], end: list[int], strides: list[int], shape: tuple[int, ...], **masks: int
) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        bounds = [net.builder.constant("bound", given) for given in (begin, end, strides)]
        return net.builder.op("STRIDED_SLICE", [net.x, *bounds], shape, masks)

    return build


def reduced(kind: str, axes: list[int], shape: tuple[int, ...], *, keep: bool = False) -> Callable[[Net], str]:
    return lambda net: net.builder.op(kind, [net.x, net.builder.constant("axes", axes)], shape, {"keep_dims": keep})


def full(value: float) -> Array:
    return np.full(SHAPE, value, np.float32)


def joined(*parts: Any, axis: int = 3) -> Callable[[Net], str]:
    """`None` stands for a computed operand, a number for a constant of that value, "?" for one of random values."""

    def build(net: Net) -> str:
        operands = [
            net.x if part is None else net.builder.constant("c", net.values(*SHAPE) if part == "?" else full(part))
            for part in parts
        ]
        shape = [size * len(parts) if place == axis else size for place, size in enumerate(SHAPE)]
        return net.builder.op("CONCATENATION", operands, shape, {"axis": axis})

    return build


def to_space(net: Net) -> str:
    return net.builder.op("DEPTH_TO_SPACE", [net.x], (1, 12, 10, 2), {"block_size": 2})


def mirrored(mode: int, amounts: list[list[int]]) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        shape = [size + sum(pair) for size, pair in zip(SHAPE, amounts, strict=True)]
        return net.builder.op("MIRROR_PAD", [net.x, net.builder.constant("p", amounts)], shape, {"mode": mode})

    return build


def padded(value: float) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        operands = [
            net.x,
            net.builder.constant("p", [[0, 0], [1, 0], [2, 1], [0, 0]]),
            net.builder.constant("v", value),
        ]
        return net.builder.op("PADV2", operands, (1, 7, 8, 4))

    return build


def transposed(*order: int) -> Callable[[Net], str]:
    return lambda net: net.transpose(net.x, *order)


def dilated(down: int, across: int) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        options = {"padding": 0, "stride_w": 1, "stride_h": 1, "dilation_w_factor": across, "dilation_h_factor": down}
        operands = [net.x, net.builder.constant("w", net.values(4, 2, 3, 4)), net.builder.constant("b", net.values(4))]
        return net.builder.op("CONV_2D", operands, (1, 6 - down, 5 - 2 * across, 4), options)

    return build


def nearest(factor: int, kind: str = "RESIZE_NEAREST_NEIGHBOR", **options: bool) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        shape = (1, 6 * factor, 5 * factor, 4)
        return net.builder.op(kind, [net.x, net.builder.constant("s", list(shape[1:3]))], shape, options)

    return build


CASES = [
    Case("split_hard_swish", lambda net: net.unary("HARD_SWISH", net.x), "ADD MUL MUL"),
    Case("split_gelu", gelu(approximate=False), "MUL MUL ADD MUL MUL LOGISTIC MUL"),
    Case("split_gelu", gelu(approximate=True), "MUL MUL ADD MUL MUL LOGISTIC MUL"),
    Case("form_prelu", leaky, "PRELU"),
    Case("form_prelu", leaky, "PRELU", (1, 7)),
    Case("form_prelu", broadcast, "PRELU"),
    Case("form_prelu", prelu(6, 5, 4), "RELU SUB MUL ADD"),
    Case("split_abs", lambda net: net.unary("ABS", net.x), "MUL MAXIMUM"),
    Case("split_activation", activated("MAX_POOL_2D", 1), "MAX_POOL_2D RELU"),
    Case("split_activation", activated("AVERAGE_POOL_2D", 3), "AVERAGE_POOL_2D RELU6"),
    Case("split_activation", lambda net: net.unary("RELU_0_TO_1", net.x), "RELU RELU_N1_TO_1"),
    Case("form_reshape", squeezed, "RESHAPE", (1, 6, 1, 4)),
    Case("form_slices", split, "SLICE SLICE ADD"),
    Case("form_slices", strided([0, 1, 0], [0, 4, 0], [1, 1, 1], (1, 3, 5, 4), begin_mask=1, end_mask=1,
                                ellipsis_mask=4), "SLICE RESHAPE"),
    Case("form_slices", strided([0, 0, -2, 0, 1], [1, 0, 0, 0, 4], [1, 1, 1, 1, 2], (1, 1, 5, 2), new_axis_mask=2,
                                shrink_axis_mask=4, end_mask=8), "STRIDED_SLICE RESHAPE"),
    Case("form_pointwise_convolution", lambda net: net.dense(net.x), "RESHAPE CONV_2D RESHAPE"),
    Case("form_pointwise_convolution", lambda net: net.dense(net.x), "RESHAPE CONV_2D RESHAPE", (5, 4)),
    Case("form_pointwise_convolution", reduced("MEAN", [-1], (1, 6, 5)), "RESHAPE CONV_2D RESHAPE"),
    Case("split_mean", reduced("MEAN", [1, 2], (1, 4)), "MEAN MEAN RESHAPE"),
    Case("split_mean", reduced("SUM", [0, 2], (6, 4)), "SUM RESHAPE"),
    Case("split_mean", reduced("REDUCE_MAX", [0], (6, 5, 4)), "RESHAPE"),
    Case("split_concatenation", joined(None, 0.0, None), "CONCATENATION CONCATENATION"),
    Case("split_concatenation", joined("?", 2.5, None), "CONCATENATION CONCATENATION ADD"),
    Case("split_concatenation", joined(1.5, None, "?", axis=1), "CONCATENATION CONCATENATION ADD"),
    Case("split_concatenation", joined(None, 1.5), "CONCATENATION ADD"),
    Case("form_transpose_conv", to_space, "TRANSPOSE_CONV", (1, 6, 5, 8)),
    Case("split_mirror_pad", mirrored(0, [[0, 0], [2, 1], [0, 3], [0, 0]]), "SLICE " * 3 + "CONCATENATION "
         + "SLICE " * 3 + "CONCATENATION"),
    Case("split_mirror_pad", mirrored(1, [[0, 0], [2, 0], [0, 0], [0, 0]]), "SLICE SLICE CONCATENATION"),
    Case("split_mirror_pad", padded(0.0), "PAD"),
    Case("merge_axes", transposed(0, 1, 2, 4, 3), "RESHAPE TRANSPOSE RESHAPE", (1, 3, 2, 4, 5)),
    Case("merge_axes", transposed(2, 3, 0, 4, 1), "RESHAPE TRANSPOSE RESHAPE", (2, 1, 3, 4, 5)),
    Case("fill_dilation", dilated(2, 1), "CONV_2D"),
    Case("split_resize", nearest(12), "RESIZE_NEAREST_NEIGHBOR RESIZE_NEAREST_NEIGHBOR"),
    Case("split_resize", nearest(64, half_pixel_centers=True), "RESIZE_NEAREST_NEIGHBOR RESIZE_NEAREST_NEIGHBOR"),
]  # fmt: skip

REFUSED = [
    Case("split_hard_swish", lambda net: net.unary("RELU6", net.x), "no HARD_SWISH"),
    Case("split_gelu", lambda net: net.unary("TANH", net.x), "no GELU"),
    Case("form_prelu", prelu(4), "per channel already"),
    Case("split_abs", lambda net: net.unary("RELU", net.x), "no ABS"),
    Case("split_activation", activated("MAX_POOL_2D", 0), "no activation"),
    Case("form_reshape", lambda net: net.reshape(net.x, 30, 4), "no SQUEEZE"),
    Case("form_slices", strided([0, -1, 0, 0], [1, -7, 5, 4], [1, -1, 1, 1], SHAPE), "backwards"),
    Case("form_pointwise_convolution", reduced("MEAN", [1, 3], (1, 5)), "channels alone"),
    Case("split_mean", reduced("MEAN", [1], (1, 5, 4)), "several axes"),
    Case("split_mean", reduced("SUM", [1, 2], (1, 4)), "no mean"),
    Case("split_concatenation", joined(None, None), "all computed"),
    Case("form_transpose_conv", lambda net: net.builder.op("DEPTH_TO_SPACE", [net.x], (1, 2, 2, 512),
                                                           {"block_size": 2}), "4,194,304", (1, 1, 1, 2048)),
    Case("split_mirror_pad", mirrored(0, [[0, 0], [1, 1], [1, 1], [1, 1]]), "other axes"),
    Case("split_mirror_pad", padded(1.0), "another value"),
    Case("merge_axes", transposed(0, 4, 3, 2, 1), "4 groups", (1, 3, 2, 4, 5)),
    Case("merge_axes", transposed(0, 2, 1, 3), "no axes to merge"),
    Case("fill_dilation", dilated(2, 2), "alike"),
    Case("split_resize", nearest(11), "cannot be split"),
    Case("split_resize", nearest(16, align_corners=True), "aligned"),
    Case("split_resize", nearest(16, "RESIZE_BILINEAR"), "no RESIZE_NEAREST"),
]  # fmt: skip


def named(case: Case) -> str:
    return f"{case.module}-{case.becomes}"


def first(graph: Graph, refusal: Callable[[Graph, Op], str | None]) -> Op:
    return next(op for op in graph.ops if refusal(graph, op) is None)


def made(case: Case) -> tuple[Model, Array]:
    net = Net(3, case.shape)
    model = net.model(case.build(net))
    return model, 4 * net.values(*case.shape)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_rewrite_leaves_outputs_unchanged(case: Case, run: Run) -> None:
    model, x = made(case)
    module = registry.plugin("passes", case.module)
    changed = module.apply(model.graph)
    check_graph(changed)
    assert kinds(changed) == case.becomes.split()
    assert changed.outputs == model.graph.outputs
    assert kinds(module.apply(model.graph, [first(model.graph, module.refusal).name])) == kinds(changed)
    assert module.apply(model.graph, []) is model.graph, "only those that are named"
    (wanted,), (found,) = (run(model, [x], "builtin"), run(model.with_graph(changed), [x], "builtin"))
    assert wanted.shape == found.shape
    if case.module == "split_gelu":  # see its docstring
        assert np.all(np.abs(found - wanted) <= 0.0005 + 0.0004 * np.abs(x))
    else:
        assert np.abs(found - wanted).max() < 1e-5 * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_rewrite_is_refused(case: Case) -> None:
    model, _ = made(case)
    module = registry.plugin("passes", case.module)
    assert module.apply(model.graph) is model.graph
    assert any(case.becomes in (module.refusal(model.graph, op) or "") for op in model.graph.ops)


@pytest.mark.parametrize(
    ("module", "build"),
    [
        ("split_hard_swish", lambda net: net.unary("HARD_SWISH", net.conv(net.x))),
        ("split_gelu", lambda net: net.builder.op("GELU", [net.conv(net.x)], SHAPE, {"approximate": False})),
        ("form_prelu", lambda net: net.builder.op("LEAKY_RELU", [net.conv(net.x)], SHAPE, {"alpha": 0.2})),
        ("form_prelu", lambda net: net.binary("PRELU", net.conv(net.x), np.abs(net.values(6, 5, 4)) / 2)),
        ("split_abs", lambda net: net.unary("ABS", net.conv(net.x))),
        ("split_concatenation", lambda net: net.unary("LOGISTIC", joined(None, "?", 0.3)(net))),
        ("split_mirror_pad", lambda net: net.unary("TANH", mirrored(0, [[0, 0], [2, 1], [0, 3], [0, 0]])(net))),
        ("split_mean", reduced("MEAN", [1, 2], (1, 4))),
    ],
    ids=["hard_swish", "gelu", "leaky_relu", "prelu", "abs", "concatenation", "mirror_pad", "mean"],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_integers_lose_little_by_a_rewrite(module: str, build: Callable[[Net], str], seed: int, run: Run) -> None:
    net = Net(seed)
    model = through_file(net.model(build(net)))
    changed = model.with_graph(registry.plugin("passes", module).apply(model.graph))
    samples = [np.random.default_rng(number).normal(0, 2, SHAPE).astype(np.float32) for number in range(64)]
    recipe = replace(load_recipe("int8_float_io"), algorithms=())
    noise = []
    for own in (model, changed):
        quantized = quantize(own, plan(own, recipe, calibrate(own, [[item] for item in samples[:32]])))
        assert not any(
            tensor.dtype.is_float
            for name, tensor in quantized.graph.tensors.items()
            if name not in (*quantized.graph.inputs, *quantized.graph.outputs)
        ), "all of it in integers"
        errors = [run(quantized, [item], "builtin")[0] - run(model, [item], "builtin")[0] for item in samples[32:40]]
        noise.append(float(np.mean(np.square(errors))))
    assert 10 * np.log10(noise[1] / noise[0]) < 2.5, "dB"
