"""Passes leave outputs unchanged, do what they are for, and refuse with a reason what they must not do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from conftest import Run
from tersor.ir.build import Builder
from tersor.ir.check import check_graph
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Tensor
from tersor.passes import (
    deduplicate_constants,
    fold_batch_norm,
    fold_constants,
    fold_pad,
    form_fully_connected,
    form_hard_swish,
    form_products,
    form_spatial_mean,
    fuse_activation,
    merge_reshapes,
    move_affine_behind_pad,
    remove_identity,
    remove_unused,
    sink_transposes,
)
from tersor.stages.optimize import PASSES, optimize

SAME, VALID = 0, 1
PLAIN = [
    deduplicate_constants,
    fold_batch_norm,
    fold_constants,
    fold_pad,
    form_fully_connected,
    form_hard_swish,
    form_products,
    form_spatial_mean,
    fuse_activation,
    merge_reshapes,
    move_affine_behind_pad,
    remove_identity,
    remove_unused,
    sink_transposes,
]


class Net:
    """Adds layers with random values to a graph."""

    def __init__(self, seed: int, shape: tuple[int, ...] = (1, 6, 5, 4)) -> None:
        self.numbers = np.random.default_rng(seed)
        self.builder = Builder("net")
        self.x = self.builder.input("x", shape)

    def values(self, *shape: int) -> Array:
        return self.numbers.uniform(-1, 1, shape).astype(np.float32)

    def shape(self, x: str) -> tuple[int, ...]:
        return self.builder.shape_of(x)

    def unary(self, kind: str, x: str) -> str:
        return self.builder.op(kind, [x], self.shape(x))

    def binary(self, kind: str, x: str, values: object) -> str:
        return self.builder.op(kind, [x, self.builder.constant("c", values)], self.shape(x))

    def conv(self, x: str, kernel: int = 3, stride: int = 1, padding: int = SAME, groups: int = 1) -> str:
        _, height, width, channels = self.shape(x)
        weights = self.builder.constant("w", self.values(4, kernel, kernel, channels // groups))
        sizes = [-(-n // stride) if padding == SAME else (n - kernel) // stride + 1 for n in (height, width)]
        options = {"padding": padding, "stride_w": stride, "stride_h": stride, "dilation_w_factor": 1,
                   "dilation_h_factor": 1}  # fmt: skip
        return self.builder.op("CONV_2D", [x, weights, self.builder.constant("b", self.values(4))],
                               (1, *sizes, 4), options)  # fmt: skip

    def depthwise(self, x: str, padding: int = SAME) -> str:
        _, height, width, channels = self.shape(x)
        weights = self.builder.constant("w", self.values(1, 3, 3, channels * 2))
        sizes = (height, width) if padding == SAME else (height - 2, width - 2)
        options = {"padding": padding, "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1,
                   "dilation_h_factor": 1, "depth_multiplier": 2}  # fmt: skip
        bias = self.builder.constant("b", self.values(channels * 2))
        return self.builder.op("DEPTHWISE_CONV_2D", [x, weights, bias], (1, *sizes, channels * 2), options)

    def dense(self, x: str) -> str:
        weights = self.builder.constant("w", self.values(4, self.shape(x)[-1]))
        return self.builder.op("FULLY_CONNECTED", [x, weights, self.builder.constant("b", self.values(4))],
                               (*self.shape(x)[:-1], 4), {"keep_num_dims": True})  # fmt: skip

    def transposed(self, x: str) -> str:
        """A transposed convolution to twice the size, without a bias."""
        _, height, width, channels = self.shape(x)
        shape = (1, 2 * height, 2 * width, 4)
        operands = [self.builder.constant("s", list(shape)), self.builder.constant("w", self.values(4, 3, 3, channels))]
        return self.builder.op("TRANSPOSE_CONV", [*operands, x], shape, {"stride_w": 2, "stride_h": 2})

    def matmul(self, x: str, *shape: int, adjoint: bool = False) -> str:
        depth = self.shape(x)[-1]
        matrix = self.builder.constant("m", self.values(*shape) if shape else self.values(1, 1, depth, 4))
        result = (*self.shape(x)[:-1], 4)
        return self.builder.op("BATCH_MATMUL", [x, matrix], result, {"adj_y": adjoint})

    def pad(self, x: str, before: int, after: int) -> str:
        paddings = [[0, 0], [before, after], [before, after], [0, 0]]
        shape = tuple(n + sum(pair) for n, pair in zip(self.shape(x), paddings, strict=True))
        return self.builder.op("PAD", [x, self.builder.constant("p", paddings)], shape)

    def reshape(self, x: str, *shape: int) -> str:
        return self.builder.op("RESHAPE", [x, self.builder.constant("s", list(shape))], shape, {"new_shape": shape})

    def transpose(self, x: str, *order: int) -> str:
        shape = [self.shape(x)[axis] for axis in order]
        return self.builder.op("TRANSPOSE", [x, self.builder.constant("o", list(order))], shape)

    def mean(self, x: str, *, keep: bool = False) -> str:
        shape = (self.shape(x)[0], *([1, 1] if keep else []), self.shape(x)[-1])
        return self.builder.op("MEAN", [x, self.builder.constant("a", [1, 2])], shape, {"keep_dims": keep})

    def batch_norm(self, x: str) -> str:
        channels = self.shape(x)[-1]
        return self.binary("ADD", self.binary("MUL", x, self.values(channels)), self.values(channels))

    def row_sum(self, x: str) -> str:
        shape = (*self.shape(x)[:2], 1, self.shape(x)[3])
        return self.builder.op("SUM", [x, self.builder.constant("a", [2])], shape, {"keep_dims": True})

    def channels_first(self, x: str) -> str:
        """A layer, a batch norm and an activation as networks in channels_first order have them."""
        y = self.transpose(self.conv(self.transpose(self.transpose(x, 0, 3, 1, 2), 0, 2, 3, 1)), 0, 3, 1, 2)
        y = self.binary("ADD", self.binary("MUL", y, self.values(self.shape(y)[1], 1, 1)), self.values(1, 4, 1, 1))
        return self.transpose(self.unary("RELU", y), 0, 2, 3, 1)

    def hard_swish(self, x: str) -> str:
        clipped = self.unary("RELU6", self.binary("ADD", x, 3.0))
        if self.numbers.integers(2):
            return self.binary("MUL", self.builder.op("MUL", [x, clipped], self.shape(x)), 1 / 6)
        return self.builder.op("MUL", [x, self.binary("MUL", clipped, 1 / 6)], self.shape(x))

    def model(self, *outputs: str) -> Model:
        return self.builder.model(outputs)


STEPS: dict[str, Callable[[Net, str], str]] = {
    "add": lambda net, x: net.binary("ADD", x, net.values(net.shape(x)[-1])),
    "batch_norm": lambda net, x: net.batch_norm(x),
    "constant": lambda net, x: net.builder.op(
        "ADD", [x, net.binary("MUL", net.builder.constant("k", net.values(net.shape(x)[-1])), 2.0)], net.shape(x)
    ),
    "conv": lambda net, x: net.conv(x),
    "depthwise": lambda net, x: net.depthwise(x),
    "div": lambda net, x: net.binary("DIV", x, net.values(net.shape(x)[-1]) + np.float32(2)),
    "grouped": lambda net, x: net.conv(x, groups=2),
    "hard_swish": lambda net, x: net.hard_swish(x),
    "transposed": lambda net, x: net.transposed(x),
    "matmul": lambda net, x: net.matmul(x),
    "nothing": lambda net, x: net.binary("MUL", net.binary("ADD", x, 0.0), 1.0),
    "pad": lambda net, x: net.conv(net.pad(x, 1, 1), padding=VALID),
    "offset_pad": lambda net, x: net.conv(net.pad(net.binary("ADD", x, -0.75), 1, 1), stride=2, padding=VALID),
    "product_pad": lambda net, x: net.conv(net.pad(net.binary("MUL", x, net.values(net.shape(x)[-1])), 2, 2)),
    "rescaled_pad": lambda net, x: net.conv(
        net.pad(net.binary("SUB", net.binary("MUL", x, 0.5), 1.0), 1, 0), padding=VALID
    ),
    "pad_strided": lambda net, x: net.conv(net.pad(x, 0, 1), stride=2, padding=VALID),
    "pointwise": lambda net, x: net.conv(x, kernel=1),
    "relu": lambda net, x: net.unary("RELU", x),
    "relu6": lambda net, x: net.unary("RELU6", x),
    "residual": lambda net, x: net.builder.op("ADD", [x, net.batch_norm(x)], net.shape(x)),
    "reshapes": lambda net, x: net.reshape(net.reshape(x, int(np.prod(net.shape(x)))), *net.shape(x)),
    "scalar": lambda net, x: net.binary("MUL", x, 0.5),
    "sub": lambda net, x: net.binary("SUB", x, net.values(net.shape(x)[-1])),
    "channels_first": lambda net, x: net.channels_first(x),
    "transposed_reduction": lambda net, x: net.transpose(net.row_sum(net.transpose(x, 0, 3, 1, 2)), 0, 2, 3, 1),
    "transposed_join": lambda net, x: net.builder.op(
        "CONCATENATION",
        [net.transpose(net.unary("TANH", x), 0, 2, 1, 3), net.transpose(x, 0, 2, 1, 3)],
        (1, net.shape(x)[2], 2 * net.shape(x)[1], net.shape(x)[3]),
        {"axis": 2},
    ),
    "transposes": lambda net, x: net.transpose(net.transpose(x, 0, 2, 3, 1), 0, 3, 1, 2),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
def test_outputs_do_not_change(run: Run, seed: int, steps: list[str]) -> None:
    net = Net(seed)
    x = net.x
    for step in steps:
        x = STEPS[step](net, x)
        assume(min(net.shape(x)) > 0)  # strides can leave nothing of it, which pads would hide
    model = net.model(net.unary("TANH", x))
    inputs = [net.values(1, 6, 5, 4)]
    (wanted,) = run(model, inputs, "builtin")
    graph = model.graph
    for apply in PASSES:
        changed = apply(graph)
        check_graph(changed)
        assert changed.outputs == graph.outputs
        assert changed is graph or (list(changed.tensors) != [] and apply(changed) is changed), "not at a fixed point"
        graph = changed
    (found,) = run(model.with_graph(graph), inputs, "builtin")
    assert np.abs(found - wanted).max() < 1e-4


@pytest.mark.parametrize(
    ("shape", "adjoint", "formed"),
    [((4, 4), False, True), ((4, 4), True, True), ((1, 1, 4, 4), False, True), ((1, 6, 4, 4), False, False)],
)
def test_products_with_one_constant_matrix_are_dense_layers(
    shape: tuple[int, ...], adjoint: bool, formed: bool, run: Run
) -> None:
    net = Net(0)
    y = net.batch_norm(net.matmul(net.x, *shape, adjoint=adjoint))
    model = net.model(y)
    found = optimize(model)
    assert kinds(found.graph) == (["FULLY_CONNECTED"] if formed else ["BATCH_MATMUL", "MUL", "ADD"])
    inputs = [net.values(1, 6, 5, 4)]
    assert np.allclose(run(found, inputs)[0], run(model, inputs)[0], atol=1e-5)


def test_products_of_two_values_and_shared_matrices(run: Run) -> None:
    net = Net(0)
    matrix = net.builder.constant("m", net.values(4, 4))
    both = [
        net.builder.op("BATCH_MATMUL", [item, matrix], net.shape(item)) for item in (net.x, net.unary("TANH", net.x))
    ]
    y = net.builder.op("BATCH_MATMUL", both, (1, 6, 5, 5), {"adj_y": True})
    model = net.model(y)
    found = optimize(model)
    assert kinds(found.graph) == ["TANH", "FULLY_CONNECTED", "FULLY_CONNECTED", "BATCH_MATMUL"]
    assert found.graph.ops[1].inputs[1] == found.graph.ops[2].inputs[1], "weights that are shared stay so"
    assert "a constant" in (form_fully_connected.refusal(model.graph, model.graph.ops[-1]) or "")
    inputs = [net.values(1, 6, 5, 4)]
    assert np.allclose(run(found, inputs)[0], run(model, inputs)[0], atol=1e-4)


def test_constants_that_nothing_reads_are_dropped() -> None:
    net = Net(0)
    y = net.conv(net.x)
    model = net.model(y)
    left = Tensor("left", (7,), DType.FLOAT32).with_data(net.values(7))
    found = optimize(model.with_graph(model.graph.edit(tensors=[left])))
    assert set(found.graph.tensors) == set(model.graph.tensors)
    shown = model.graph.edit(tensors=[left], outputs=[y, "left"])
    assert "left" in remove_unused.apply(shown).tensors, "a constant may be an output"


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


@pytest.mark.parametrize("module", PLAIN, ids=lambda module: module.__name__.rpartition(".")[2])
def test_nothing_to_do_is_the_same_graph(module: object) -> None:
    net = Net(0)
    graph = net.model(net.unary("TANH", net.x)).graph
    assert module.apply(graph) is graph  # type: ignore[attr-defined]


def test_batch_norms_around_a_transposed_convolution(run: Run) -> None:
    """Behind it they are folded, activation functions apart; in front of it only their products are."""
    net = Net(0)
    y = net.transposed(net.binary("MUL", net.x, net.values(4)))
    y = net.unary("RELU", net.batch_norm(y))
    model = net.model(net.batch_norm(net.transposed(net.binary("ADD", y, net.values(4)))))
    found = optimize(model)
    assert kinds(found.graph) == ["TRANSPOSE_CONV", "RELU", "ADD", "TRANSPOSE_CONV"]
    assert {op.version for op in found.graph.ops if op.kind == "TRANSPOSE_CONV"} == {3}
    inputs = [net.values(1, 6, 5, 4)]
    assert np.allclose(run(found, inputs)[0], run(model, inputs)[0], atol=1e-4)


@pytest.mark.parametrize("layer", ["conv", "depthwise", "dense", "grouped"])
def test_batch_norm_behind_a_layer_is_folded(layer: str) -> None:
    net = Net(0)
    x = STEPS[layer](net, net.x) if layer != "dense" else net.dense(net.x)
    model = net.model(net.unary("RELU6", net.batch_norm(x)))
    graph = optimize(model).graph
    assert len(graph.ops) == 1
    assert graph.ops[0].name == model.graph.outputs[0]
    assert graph.ops[0].option("fused_activation_function") == 3


@pytest.mark.parametrize("layer", ["depthwise", "dense", "conv"])
def test_batch_norm_before_a_layer_that_does_not_pad_is_folded(layer: str, run: Run) -> None:
    net = Net(1)
    x = net.batch_norm(net.x)
    y = {"conv": lambda: net.conv(x, padding=VALID), "depthwise": lambda: net.depthwise(x, VALID),
         "dense": lambda: net.dense(x)}[layer]()  # fmt: skip
    model = net.model(y)
    changed = model.with_graph(fold_batch_norm.apply(model.graph))
    assert len(changed.graph.ops) == 1
    inputs = [net.values(1, 6, 5, 4)]
    assert np.abs(run(changed, inputs)[0] - run(model, inputs)[0]).max() < 1e-5


def test_offset_before_a_padding_convolution_stays() -> None:
    net = Net(0)
    graph = net.model(net.conv(net.batch_norm(net.x))).graph
    assert fold_batch_norm.apply(graph) is graph
    add, layer = graph.ops[1], graph.ops[2]
    assert "pads with zeros" in (fold_batch_norm.refusal_before(graph, add, layer) or "")


def test_shared_result_is_not_folded() -> None:
    net = Net(0)
    y = net.conv(net.x)
    graph = net.model(net.batch_norm(y), net.unary("RELU", y)).graph
    assert fold_batch_norm.apply(graph) is graph
    assert fuse_activation.apply(graph) is graph
    assert "used elsewhere" in (fold_batch_norm.refusal(graph, graph.ops[1]) or "")
    assert "used elsewhere" in (fuse_activation.refusal(graph, graph.ops[3]) or "")


def test_shared_weights_are_copied_and_not_changed(run: Run) -> None:
    net = Net(0)
    weights, bias = net.builder.constant("w", net.values(4, 1, 1, 4)), net.builder.constant("b", net.values(4))
    options = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    shape = (1, 6, 5, 4)
    first = net.batch_norm(net.builder.op("CONV_2D", [net.x, weights, bias], shape, options))
    second = net.batch_norm(net.builder.op("CONV_2D", [net.x, weights, bias], shape, options))
    model = net.model(first, second)
    changed = model.with_graph(fold_batch_norm.apply(model.graph))
    assert kinds(changed.graph) == ["CONV_2D", "CONV_2D"]
    inputs = [net.values(*shape)]
    for a, b in zip(run(changed, inputs), run(model, inputs), strict=True):
        assert np.abs(a - b).max() < 1e-5


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "folds"),
    [
        (6, 3, 1, (1, 1), True),
        (6, 3, 2, (0, 1), True),
        (6, 3, 2, (1, 1), False),
        (7, 3, 2, (1, 1), True),
        (8, 5, 2, (1, 2), True),
        (8, 7, 2, (3, 3), False),
        (6, 1, 1, (0, 0), True),
    ],
)
def test_pad_is_folded_where_same_pads_as_much(
    size: int, kernel: int, stride: int, pads: tuple[int, int], folds: bool
) -> None:
    net = Net(0, (1, size, size, 4))
    graph = net.model(net.conv(net.pad(net.x, *pads), kernel, stride, VALID)).graph
    changed = fold_pad.apply(graph)
    assert kinds(changed) == (["CONV_2D"] if folds else ["PAD", "CONV_2D"])
    assert (fold_pad.refusal(graph, graph.ops[0]) is None) == folds
    assert changed.ops[-1].option("padding") == (SAME if folds else VALID)


def test_reduction_keeps_the_axes_that_a_reshape_brings_back() -> None:
    net = Net(0)
    graph = merge_reshapes.apply(net.model(net.reshape(net.mean(net.x), 1, 1, 1, 4)).graph)
    assert kinds(graph) == ["MEAN"]
    assert graph.ops[0].option("keep_dims") is True


def test_identity_that_is_an_output_stays() -> None:
    net = Net(0)
    graph = net.model(net.binary("ADD", net.x, 0.0)).graph
    assert remove_identity.apply(graph) is graph
    assert "is an output" in (remove_identity.refusal(graph, graph.ops[0]) or "")


def test_equal_constants_share_their_values_and_keep_their_names() -> None:
    net = Net(0)
    y = net.binary("ADD", net.binary("ADD", net.x, np.ones(64, np.float32)[:4].repeat(1)), 1.0)
    a = net.builder.constant("a", np.arange(64, dtype=np.float32))
    b = net.builder.constant("b", np.arange(64, dtype=np.float32))
    z = net.builder.op("ADD", [a, b], (64,))
    graph = net.model(y, z).graph
    changed = deduplicate_constants.apply(graph)
    assert changed.tensors[a].data is changed.tensors[b].data
    assert list(changed.tensors) == list(graph.tensors)
    assert deduplicate_constants.apply(changed) is changed


@pytest.mark.parametrize("seed", range(6))
def test_hard_swish_is_formed(seed: int) -> None:
    net = Net(seed)
    graph = form_hard_swish.apply(net.model(net.hard_swish(net.x)).graph)
    assert kinds(graph) == ["HARD_SWISH"]


def test_almost_a_hard_swish_is_left_alone() -> None:
    net = Net(0)
    clipped = net.unary("RELU6", net.binary("ADD", net.x, 2.0))
    graph = net.model(net.binary("MUL", net.builder.op("MUL", [net.x, clipped], (1, 6, 5, 4)), 1 / 6)).graph
    assert form_hard_swish.apply(graph) is graph


@pytest.mark.parametrize("keep", [True, False])
def test_mean_over_positions_keeps_its_axes(keep: bool, run: Run) -> None:
    net = Net(0)
    model = net.model(net.mean(net.x, keep=keep))
    changed = model.with_graph(form_spatial_mean.apply(model.graph))
    assert kinds(changed.graph) == (["MEAN"] if keep else ["MEAN", "RESHAPE"])
    assert changed.graph.ops[0].option("keep_dims") is True
    inputs = [net.values(1, 6, 5, 4)]
    assert np.array_equal(run(changed, inputs)[0], run(model, inputs)[0])


def test_mean_over_a_sequence_is_one_over_an_image(run: Run) -> None:
    net = Net(0, (1, 7, 4))
    y = net.builder.op("MEAN", [net.x, net.builder.constant("a", [1])], (1, 4), {"keep_dims": False})
    model = net.model(y)
    changed = model.with_graph(form_spatial_mean.apply(model.graph))
    assert kinds(changed.graph) == ["RESHAPE", "MEAN", "RESHAPE"]
    assert form_spatial_mean.apply(changed.graph) is changed.graph
    inputs = [net.values(1, 7, 4)]
    assert np.abs(run(changed, inputs)[0] - run(model, inputs)[0]).max() < 1e-6


def test_mean_over_channels_is_left_alone() -> None:
    net = Net(0)
    y = net.builder.op("MEAN", [net.x, net.builder.constant("a", [3])], (1, 6, 5), {"keep_dims": False})
    graph = net.model(y).graph
    assert form_spatial_mean.apply(graph) is graph
    assert "axes [3] of 4" in (form_spatial_mean.refusal(graph, graph.ops[0]) or "")


def test_rescaled_input_is_folded_across_a_pad(run: Run) -> None:
    net = Net(0)
    model = net.model(STEPS["rescaled_pad"](net, net.x))
    changed = optimize(model)
    assert kinds(changed.graph) == ["PADV2", "CONV_2D"]
    inputs = [net.values(1, 6, 5, 4)]
    assert np.abs(run(changed, inputs)[0] - run(model, inputs)[0]).max() < 1e-5


def test_offsets_that_differ_stay_before_the_pad() -> None:
    net = Net(0)
    graph = net.model(net.conv(net.pad(net.binary("ADD", net.x, net.values(4)), 1, 1), padding=VALID)).graph
    assert move_affine_behind_pad.apply(graph) is graph
    assert "several offsets" in (move_affine_behind_pad.refusal(graph, graph.ops[1]) or "")


def test_channels_first_becomes_channels_last() -> None:
    net = Net(0)
    graph = optimize(net.model(net.channels_first(net.channels_first(net.x)))).graph
    assert kinds(graph) == ["CONV_2D", "CONV_2D"]
    assert [op.option("fused_activation_function") for op in graph.ops] == [1, 1]


def test_operands_transposed_differently_stay() -> None:
    net = Net(0, (1, 4, 4, 4))
    y = net.builder.op("ADD", [net.transpose(net.x, 0, 3, 1, 2), net.transpose(net.x, 0, 2, 1, 3)], (1, 4, 4, 4))
    graph = net.model(y).graph
    assert sink_transposes.apply(graph) is graph
    assert "transposed differently" in (sink_transposes.refusal(graph, graph.ops[2]) or "")


@pytest.mark.parametrize(
    ("build", "becomes"),
    [
        (lambda net: net.binary("DIV", net.x, net.values(4) + np.float32(2)), ["MUL"]),
        (lambda net: net.builder.op("DIV", [net.x, row(net)], net.shape(net.x), {"fused_activation_function": 3}),
         ["REDUCE_MAX", "DIV", "MUL"]),
        (lambda net: net.unary("NEG", net.x), ["MUL"]),
        (lambda net: net.unary("SQUARE", net.x), ["MUL"]),
        (lambda net: net.binary("POW", net.x, np.float32(2)), ["MUL"]),
        (lambda net: net.binary("POW", net.x, np.float32(3)), ["MUL", "MUL"]),
    ],
    ids=["constant", "row", "neg", "square", "second", "third"],
)  # fmt: skip
def test_quotients_and_powers_become_products(build: Callable[[Net], str], becomes: list[str], run: Run) -> None:
    net = Net(3)
    model = net.model(build(net))
    changed = model.with_graph(form_products.apply(model.graph))
    check_graph(changed.graph)
    assert [op.kind for op in changed.graph.ops] == becomes
    sample = [net.values(1, 6, 5, 4) + np.float32(1.5)]
    np.testing.assert_allclose(run(changed, sample)[0], run(model, sample)[0], rtol=3e-7)
    assert form_products.apply(changed.graph) is changed.graph


def row(net: Net) -> str:
    """The largest value of each row: one for many."""
    axis = net.builder.constant("axis", np.array([-1], np.int32))
    return net.builder.op("REDUCE_MAX", [net.x, axis], (1, 6, 5, 1), {"keep_dims": True})


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda net: net.binary("DIV", net.x, np.array([1, 2, 0, 3], np.float32)), "no reciprocal"),
        (lambda net: net.builder.op("DIV", [net.x, net.unary("EXP", net.x)], net.shape(net.x)), "save too little"),
        (lambda net: net.builder.op("DIV", [net.builder.constant("one", 1.0), net.x], net.shape(net.x)), "too little"),
        (lambda net: net.binary("POW", net.x, np.float32(0.5)), "neither 2 nor 3"),
        (lambda net: net.unary("ABS", net.x), "no DIV"),
    ],
)
def test_other_quotients_and_powers_stay(build: Callable[[Net], str], why: str) -> None:
    net = Net(3)
    graph = net.model(build(net)).graph
    assert form_products.apply(graph) is graph
    assert why in (form_products.refusal(graph, graph.ops[-1]) or "")
