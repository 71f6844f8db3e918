"""Algorithms make layers better and nothing worse, on what really reaches them, and always to the same bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from conftest import Cli, Run
from small_nets import classifier, images, random, shared_file, through_file
from tersor import registry
from tersor.algorithms._contract import Layer, nearest
from tersor.data.dataset import from_iterable
from tersor.errors import RecipeError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.ir.plan import Plan
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import asymmetric_params, dequantize
from tersor.numerics.affine import quantize as to_integers
from tersor.numerics.covariances import covariance, covariances
from tersor.numerics.metrics import sqnr_db
from tersor.numerics.patch_sums import mean_patch
from tersor.numerics.patches import Window, patches, rows, same_padding
from tersor.recipe import Recipe, adjusted, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import Corrected, correct
from tersor.stages.correct.float_means import averaged, float_means
from tersor.stages.correct.layers import correctable, with_biases
from tersor.stages.correct.moments import InputMoments
from tersor.stages.correct.walk import Walk
from tersor.stages.correct.windows import averaging_of
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.prepare import Preparation
from tersor.stages.quantize import quantize

NAMES = [name for name in registry.names("algorithms") if hasattr(registry.plugin("algorithms", name), "apply")]
KINDS = ["plain", "grouped", "multiplied", "bare", "shared", "transposed"]
BOTH = ("coordinate_descent", "bias_correction")


class Known:
    """Moments of made-up inputs x [G, n, K] of weights [G, O, K] in the quantized and the float network."""

    def __init__(self, weights: Array, quantized: Array, floats: Array) -> None:
        self._weights = weights
        self._quantized = quantized
        self._floats = floats

    def mean(self) -> Array:
        return np.asarray(self._quantized.mean(1))

    def float_response(self) -> Array:
        return np.asarray(np.einsum("gok,gk->go", self._weights, self._floats.mean(1)))

    def covariance(self) -> Array | None:
        return np.asarray(self.folds()[0].mean(0))

    def folds(self) -> tuple[Array, Array, Array]:
        parts = [(self._quantized[:, n::2], self._floats[:, n::2]) for n in range(2)]
        pairs = [(own, own) for own, _ in parts], [(other, own) for own, other in parts], [(x, x) for _, x in parts]
        first, second, third = (np.stack([crossed(a, b) for a, b in each]) for each in pairs)
        return first, second, third

    def rows(self) -> tuple[Array, Array] | None:
        return self._quantized, self._floats

    def expected(self, weights: Array) -> tuple[Array, Array] | None:
        found = np.einsum("gok,gk->go", weights, self._floats.mean(1))
        return found, 0.01 * np.abs(found)


def crossed(a: Array, b: Array) -> Array:
    """E[a b^T] less the product of the means, of [G, n, K]."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return np.asarray(a.transpose(0, 2, 1) @ b / a.shape[1])


def layer_of(
    seed: int, groups: int = 2, outputs: int = 3, inputs: int = 4, limit: int = 7, *, one_scale: bool = False
) -> tuple[Layer, Array]:
    """A layer with random weights, and its inputs: correlated, positive, and shifted and noisy in the quantized one."""
    numbers = np.random.default_rng(seed)
    weights = numbers.normal(size=(groups, outputs, inputs))
    scales = np.abs(weights).max(2) / limit
    if one_scale:
        scales = np.full_like(scales, scales.max())
    floats = np.abs(numbers.normal(size=(groups, 500, 1)) + 0.2 * numbers.normal(size=(groups, 500, inputs)))
    quantized = floats + 0.05 + 0.02 * numbers.normal(size=floats.shape) * np.arange(1, inputs + 1)
    bias = numbers.normal(size=(groups, outputs))
    layer = Layer(
        name="layer",
        weights=weights,
        bias=bias,
        scales=scales,
        limit=limit,
        target=weights,
        rounded=nearest(weights, scales, limit),
        shifted=bias,
        moments=Known(weights, quantized, floats),
        smallest_scales=0.3 * scales,
        clamp=(0.0, 6.0),
        one_scale=one_scale,
    )
    return layer, quantized


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("one_scale", [False, True])
def test_every_algorithm_keeps_the_contract(name: str, seed: int, one_scale: bool) -> None:
    layer, _ = layer_of(seed, one_scale=one_scale)
    given_weights, given_rounded, given_bias = (item.copy() for item in (layer.weights, layer.rounded, layer.bias))
    found = registry.plugin("algorithms", name).apply(layer)
    integers = found.rounded / found.scales[..., None]
    assert np.allclose(integers, np.rint(integers), atol=1e-9)
    assert np.abs(np.rint(integers)).max() <= found.limit
    assert found.rounded.shape == layer.rounded.shape
    assert found.shifted.shape == layer.bias.shape
    assert (found.scales >= layer.smallest_scales).all()
    assert not one_scale or np.ptp(found.scales) == 0
    assert (found is layer) == (not found.notes), "what was done is said"
    for before, after in zip(
        (given_weights, given_rounded, given_bias), (layer.weights, layer.rounded, layer.bias), strict=True
    ):
        assert np.array_equal(before, after), "an algorithm changed what it was given"


def test_bias_correction_moves_the_means_to_where_they_were() -> None:
    layer, quantized = layer_of(0)
    found = registry.plugin("algorithms", "bias_correction").apply(layer)
    wanted = layer.moments.float_response() + layer.bias
    means = (np.einsum("gok,gnk->gno", found.rounded, quantized) + found.shifted[:, None]).mean(1)
    assert np.allclose(means, wanted)
    uncorrected = (np.einsum("gok,gnk->gno", layer.rounded, quantized) + layer.bias[:, None]).mean(1)
    assert np.abs(uncorrected - wanted).max() > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_coordinate_descent_is_between_nearest_and_the_best_there_is(seed: int) -> None:
    layer, quantized = layer_of(seed, groups=1, outputs=2, inputs=3, limit=3)
    found = registry.plugin("algorithms", "coordinate_descent").apply(layer)

    def error(weights: Array) -> Array:
        return np.asarray(np.var(np.einsum("ok,nk->no", weights - layer.weights[0], quantized[0]), axis=0))

    grids = np.array(list(product(range(-3, 4), repeat=3)))
    best = [min(float(error(np.broadcast_to(grid * scale, (2, 3)))[place]) for grid in grids)
            for place, scale in enumerate(layer.scales[0])]  # fmt: skip
    after, before = error(found.rounded[0]), error(layer.rounded[0])
    assert (after <= before * (1 + 1e-3)).all()
    assert (after >= np.array(best) * (1 - 1e-3)).all()
    assert after.sum() < before.sum() or np.array_equal(found.rounded, layer.rounded)


WINDOWS = st.builds(
    Window,
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    same=st.booleans(),
    groups=st.sampled_from([1, 2, 4]),
)


@settings(max_examples=40, deadline=None)
@given(WINDOWS, st.integers(0, 2**31))
def test_windows_are_those_of_a_convolution(window: Window, seed: int) -> None:
    samples = [random([1, 9, 8, 4], seed + n) for n in range(3)]
    rows = np.concatenate([unfolded(values, window) for values in samples], axis=1)
    assert np.allclose(mean_patch(samples, window), rows.mean(1), atol=1e-6)
    wanted = np.stack([np.cov(own.T, bias=True).reshape(own.shape[1], -1) for own in rows.astype(np.float64)])
    assert np.allclose(covariance(samples, window), wanted, atol=1e-5)
    for found in covariances(samples, samples, window, folds=1):
        assert np.allclose(found[0], wanted, atol=1e-5)
    params = asymmetric_params(-0.7, 1.0, DType.INT8)
    integers = [to_integers(values, params) for values in samples]
    floats = [dequantize(values, params) for values in integers]
    for function in (mean_patch, covariance):
        assert np.allclose(function(integers, window, params), function(floats, window), atol=1e-5)
    for a, b in zip(covariances(integers, samples, window, params), covariances(floats, samples, window), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_covariance_of_many_positions_is_exact_in_bytes() -> None:
    window = Window(kernel=(3, 3), same=True, groups=4)
    generator = np.random.default_rng(2)
    samples = [generator.integers(-128, 128, [1, 40, 30, 4], np.int8) for _ in range(3)]
    rows = np.concatenate([patches(values, window, 5, np.arange(1200)) for values in samples], axis=1).astype(np.int64)
    sums = rows.sum(1)
    means, products = sums / 3600, np.einsum("gnk,gnl->gkl", rows, rows) / 3600
    params = QuantParams((0.5,), (5,), DType.INT8)
    wanted = (products - means[:, :, None] * means[:, None]) * 0.25
    assert np.array_equal(covariance(samples, window, params, 3600), wanted)


@pytest.mark.parametrize("same", [True, False])
def test_sums_of_long_axes_and_of_several_samples(same: bool) -> None:
    """Axes longer than what is added up in float32 at a time; the same sums in parts."""
    window = Window(kernel=(3, 2), strides=(2, 1), same=same, groups=1)
    samples = [1e3 + random([2, 300, 7, 3], seed) for seed in range(3)]
    rows = [sliding_window_view(pad(values, window), (3, 2), axis=(1, 2))[:, ::2] for values in samples]
    wanted = np.mean([row.astype(np.float64).mean((0, 1, 2)) for row in rows], axis=0)
    found = mean_patch(samples, window)
    assert np.allclose(found.reshape(3, 2, 3), wanted.transpose(1, 2, 0), rtol=1e-6)


def pad(values: Array, window: Window) -> Array:
    pads = (
        [same_padding(values.shape[axis + 1], window.kernel[axis], window.strides[axis], 1) for axis in range(2)]
        if window.same and window.kernel
        else [(0, 0)] * 2
    )
    return np.pad(values, ((0, 0), *pads, (0, 0)))


def test_sums_of_many_samples_of_integers() -> None:
    """More samples than a sum of 16 bits holds, all at the ends of the range; and rows of a dense layer."""
    params = asymmetric_params(0.0, 1.0, DType.INT8)
    samples = [np.full((1, 2, 2, 1), -128 if number % 4 else 127, np.int8) for number in range(400)]
    assert np.allclose(mean_patch(samples, Window(kernel=(1, 1)), params), 0.25, atol=1e-6)
    assert np.allclose(mean_patch([values.reshape(1, 4) for values in samples], Window(inputs=2), params), 0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_float_means_of_one_run_and_of_calibration_are_those_of_the_walk(kind: str, engine: Engine) -> None:
    model = optimize(network(kind=kind))
    prepared, completed = with_biases(model, planned(model, load_recipe("int8"), engine))
    layers = correctable(prepared.graph, completed)
    given = samples(5)
    store = engine.store()
    walk = Walk(prepared.graph, store, "", {prepared.graph.inputs[0]: given}, threads=2)
    one_run = float_means(model, [[x] for x in given], engine)
    seen = calibrate(model, [*given, *samples(9)[5:]], engine=engine, keep_means=5)
    for found in (one_run, averaged(seen.means, 5)):
        assert found.keys() == {layer.op.name for layer in layers}
    for layer in layers:
        walk.up_to(layer.op.name)
        mean = store.reduce(mean_patch, layer.op.inputs[layer.operands.data] or "", layer.window)
        wanted = np.einsum("gok,gk->go", layer.matrices, mean) + layer.biases
        for found in (one_run, averaged(seen.means, 5)):
            assert np.allclose(found[layer.op.name].reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5)
    store.close()


def test_means_that_one_run_does_not_show_come_from_the_walk(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    model = optimize(network())
    decided = planned(model, load_recipe("int8"), engine)
    usual = correct(model, decided, samples(30), BOTH, engine=engine)
    monkeypatch.setattr("tersor.stages.correct.float_means", lambda *_: {})
    walked = correct(model, decided, samples(30), BOTH, engine=engine)
    for name, tensor in usual.model.graph.tensors.items():
        if tensor.data is not None:
            other = walked.model.graph.tensors[name].data
            assert other is not None
            assert np.allclose(tensor.data, other, rtol=1e-4, atol=1e-6)


def test_recipes_share_the_means_of_the_float_network(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those that calibration has seen are not measured again, others are measured once."""
    asked = []

    def noted(*given: Any) -> dict[str, Array]:
        asked.append(given)
        return float_means(*given)

    monkeypatch.setattr("tersor.stages.prepare.float_means", noted)
    model = optimize(network())
    tflite.write(model, tmp_path / "float.tflite")
    preparation = Preparation(model, tmp_path / "float.tflite", from_iterable(samples(40)), engine)
    recipe = load_recipe("int8")
    preparation.corrected(recipe)
    assert not asked
    for limit in (500, 600):  # which ask for more samples
        found = preparation.corrected(replace(recipe, fan_in_limit=limit))
    assert len(asked) == 1
    assert found.samples == 40


def unfolded(values: Array, window: Window) -> Array:
    """[G, positions, K], position by position."""
    assert window.kernel is not None
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.strides, window.dilation
    if window.same:
        pads = []
        for size, kernel, stride, step in ((9, kh, sh, dh), (8, kw, sw, dw)):
            total = max((-(-size // stride) - 1) * stride + (kernel - 1) * step + 1 - size, 0)
            pads.append((total // 2, total - total // 2))
        values = np.pad(values, ((0, 0), *pads, (0, 0)))
    height, width = values.shape[1:3]
    found = [
        values[0, y : y + (kh - 1) * dh + 1 : dh, x : x + (kw - 1) * dw + 1 : dw].reshape(kh * kw, window.groups, -1)
        for y in range(0, height - (kh - 1) * dh, sh)
        for x in range(0, width - (kw - 1) * dw, sw)
    ]
    return np.stack(found).transpose(2, 0, 1, 3).reshape(window.groups, len(found), -1)


def network(*, kind: str = "plain") -> Model:
    """x [1,8,8,4] -> a layer of the kind -> ReLU6 -> depthwise -> 1x1 -> mean -> dense `y` [1,6]."""
    builder = Builder()
    x = builder.input("x", [1, 8, 8, 4])
    groups = 2 if kind == "grouped" else 1
    y = _layer(builder, "CONV_2D", x, random([6, 3, 3, 4 // groups], 1), "conv", fused_activation_function=3)
    if kind == "shared":
        again = [y, "conv/w", "conv/b"]
        y = builder.op("PAD", [y, builder.constant("p", [[0, 0], [0, 0], [0, 0], [0, 0]])], [1, 8, 8, 6])
        y = builder.op(
            "SLICE", [y, builder.constant("b", [0, 0, 0, 0]), builder.constant("s", [1, 8, 8, 4])], [1, 8, 8, 4]
        )
        options = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
        y = builder.op("CONV_2D", [y, *again[1:]], [1, 8, 8, 6], options, name="again")
    multiplier = 2 if kind == "multiplied" else 1
    kernel = random([1, 3, 3, 6 * multiplier], 2, 0, 1)
    y = _layer(builder, "DEPTHWISE_CONV_2D", y, kernel, "depthwise", depth_multiplier=multiplier)
    y = _layer(builder, "CONV_2D", y, random([8, 1, 1, 6 * multiplier], 3), "pointwise", fused_activation_function=1)
    if kind == "transposed":
        larger = [1, 16, 15, 8]
        up = [builder.constant("up/shape", larger), builder.constant("up/w", random([8, 3, 2, 8], 6, -0.3, 1)), y]
        y = builder.op("TRANSPOSE_CONV", up, larger, {"stride_w": 2, "stride_h": 2}, name="up")
    y = builder.op("MEAN", [y, builder.constant("axes", [1, 2])], [1, 8], name="mean")
    weights = builder.constant("dense/w", random([6, 8], 4))
    inputs = [y, weights] if kind == "bare" else [y, weights, builder.constant("dense/b", random([6], 5))]
    return through_file(builder.model([builder.op("FULLY_CONNECTED", inputs, [1, 6], name="y")]))


def _layer(builder: Builder, kind: str, x: str, kernel: Array, name: str, **options: int) -> str:
    weights = builder.constant(f"{name}/w", kernel)
    channels = kernel.shape[0] if kind == "CONV_2D" else kernel.shape[3]
    bias = builder.constant(f"{name}/b", random([channels], channels))
    steps = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    return builder.op(kind, [x, weights, bias], [1, 8, 8, channels], {**steps, **options}, name=name)


def samples(count: int, seed: int = 0) -> list[Array]:
    return [random([1, 8, 8, 4], seed + n, -0.5, 1) for n in range(count)]


def planned(model: Model, recipe: Recipe, engine: Engine) -> Plan:
    return plan(model, recipe, calibrate(model, samples(30), engine=engine))


GAIN = {"int8": -0.3, "int16x8": 1, "int8_w4": 3, "per_tensor": 0.5, "weight_only": 2, "dynamic": 1}
"""Decibel at least; at int8 most of the error is the rounding of activations, which none of these touches."""


@pytest.mark.parametrize("recipe", GAIN)
@pytest.mark.parametrize("kind", KINDS)
def test_network_is_nearer_to_float(kind: str, recipe: str, engine: Engine, run: Run) -> None:
    model = optimize(network(kind=kind))
    wish = adjusted(load_recipe("int8"), per_tensor=True) if recipe == "per_tensor" else load_recipe(recipe)
    wish = replace(wish, minimum_elements=1)
    decided = planned(model, wish, engine)
    found = correct(model, decided, samples(30), BOTH, fan_in_limit=1000, engine=engine)
    before, after = (quality(run, model, quantize(m, p)) for m, p in ((model, decided), (found.model, found.plan)))
    assert after > before + GAIN[recipe]
    assert found.layers == (5 if kind in ("shared", "transposed") else 4)


def test_activations_in_float_keep_their_bias_in_float(engine: Engine) -> None:
    """Only weights are rounded: what corrects them goes into a bias that is not, and the plan says so."""
    model = optimize(network(kind="bare"))
    decided = plan(model, replace(load_recipe("weight_only"), minimum_elements=1), None)
    found = correct(model, decided, samples(30), BOTH, fan_in_limit=1000, engine=engine)
    made = quantize(found.model, found.plan).graph
    for layer in correctable(found.model.graph, found.plan):
        bias = made.tensors[made.ops[[op.name for op in made.ops].index(layer.op.name)].inputs[2] or ""]
        assert bias.dtype is DType.FLOAT32
        assert "bias corrected by up to" in found.plan.operands[layer.op.name, 1].why
    assert {dtype for tensor in made.tensors.values() if (dtype := tensor.dtype) is DType.INT8}


def test_flavours_without_calibration_are_corrected_where_there_is_data(engine: Engine, tmp_path: Path) -> None:
    from tersor.stages.produce import produce

    model, recipe = network(), replace(load_recipe("weight_only"), minimum_elements=1)
    plain = replace(recipe, name="plain", algorithms=())
    with_data = produce(model, {recipe: tmp_path / "a", plain: tmp_path / "b"}, samples(140), engine=engine)
    produce(model, {recipe: tmp_path / "c"}, engine=engine)
    qualities = [product.sqnr_db for product in with_data.products]
    assert qualities[0] is not None
    assert qualities[1] is not None
    assert qualities[0] > qualities[1] + 2
    assert with_data.calibration_samples == 32
    assert with_data.disjoint
    assert (tmp_path / "c").read_bytes() == (tmp_path / "b").read_bytes()


def quality(run: Run, model: Model, quantized: Model) -> float:
    others = samples(40, seed=1000)
    wanted = np.stack([run(model, [x])[0] for x in others[:20]])
    port = quantized.graph.tensors[quantized.graph.inputs[0]].quant
    out = quantized.graph.tensors[quantized.graph.outputs[0]].quant
    given = others[:20] if port is None else [to_integers(x, port) for x in others[:20]]
    answers = [run(quantized, [x])[0] for x in given]
    return sqnr_db(wanted, np.stack([item if out is None else dequantize(item, out) for item in answers]))


@pytest.mark.parametrize(
    ("sizes", "kernel", "strides", "padding"),
    [
        ((10, 7), (3, 3), (2, 1), 0),
        ((9, 8), (4, 3), (2, 2), 0),
        ((11, 9), (3, 2), (2, 3), 1),
        ((12, 8), (2, 1), (3, 2), 0),
        ((7, 9), (3, 5), (1, 1), 1),
    ],
)
def test_transposed_convolution_is_its_matrix_on_its_windows(
    sizes: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], padding: int, engine: Engine, run: Run
) -> None:
    """What algorithms see of it, at every position, is what the real kernels compute."""
    builder = Builder()
    back = [
        -(-size // step) if padding == 0 else -(-(size - taps + 1) // step)
        for size, taps, step in zip(sizes, kernel, strides, strict=True)
    ]
    x = builder.input("x", [1, *back, 2])
    options = {"stride_h": strides[0], "stride_w": strides[1], "padding": padding}
    weights, bias = builder.constant("w", random([3, *kernel, 2], 1)), builder.constant("b", random([3], 2))
    inputs = [builder.constant("shape", [1, *sizes, 3]), weights, x, bias]
    model = builder.model([builder.op("TRANSPOSE_CONV", inputs, [1, *sizes, 3], options, version=3, name="y")])
    given = [random([1, *back, 2], seed) for seed in range(4)]
    decided = plan(model, load_recipe("int8"), calibrate(model, given, engine=engine))
    (layer,) = correctable(model.graph, decided)
    seen = rows(given, layer.window, positions=10**6)
    described = layer.described(Known(layer.matrices, seen, seen))
    found = (seen @ described.weights.transpose(0, 2, 1) + described.bias[:, None]).reshape(4, *sizes, 3)
    wanted = np.concatenate([run(model, [item])[0] for item in given])
    assert np.allclose(found, wanted, atol=1e-5)
    assert np.allclose(mean_patch(given, layer.window), seen.mean(1), atol=1e-6)
    assert np.array_equal(layer.restored(described.weights).astype(np.float32), layer.weights.data)  # type: ignore[arg-type]
    params = asymmetric_params(-0.7, 1.0, DType.INT8)
    integers = [to_integers(item, params) for item in given]
    real = [dequantize(item, params) for item in integers]
    for function in (mean_patch, covariance):
        assert np.allclose(function(integers, layer.window, params), function(real, layer.window), atol=1e-5)


@pytest.mark.parametrize(("kind", "names"), [("plain", ["depthwise", "pointwise"]), ("transposed", ["up"])])
def test_means_of_all_layers_are_the_float_networks(kind: str, names: list[str], engine: Engine, run: Run) -> None:
    model = optimize(network(kind=kind))
    found = correct(model, planned(model, load_recipe("int8_w4"), engine), samples(30), ["bias_correction"],
                    engine=engine)  # fmt: skip
    integers = quantize(found.model, found.plan)
    own = {item.op.name: item for item in correctable(found.model.graph, found.plan)}
    for name in names:
        floats, fixed = (means(run, graph, own[name].op.outputs[0]) for graph in (model, integers))
        step = found.plan.tensors[own[name].op.outputs[0]].params
        assert step is not None
        assert np.abs(floats - fixed).max() < 0.5 * step.scale


def means(run: Run, model: Model, name: str) -> Array:
    shown = model.with_graph(model.graph.edit(outputs=[name]))
    port, own = model.graph.tensors[model.graph.inputs[0]].quant, model.graph.tensors[name].quant
    values = [run(shown, [x if port is None else to_integers(x, port)])[0] for x in samples(30)]
    real = np.stack(values if own is None else [dequantize(item, own) for item in values])
    return np.asarray(real.mean((0, 1, 2, 3)))


def test_products_with_a_constant_matrix_are_corrected_as_dense_layers(engine: Engine, run: Run) -> None:
    """As BATCH_MATMUL they would have one scale for columns of all sizes, and no bias."""
    builder = Builder()
    x = builder.input("x", [1, 8, 8, 4])
    sizes = np.array([10, 1, 0.3, 2, 0.1, 5], np.float32)
    y = builder.op("BATCH_MATMUL", [x, builder.constant("a", random([4, 6], 1) * sizes)], [1, 8, 8, 6], name="a")
    y = builder.op("MUL", [y, builder.constant("level", 1 / sizes)], [1, 8, 8, 6], name="level")
    other = builder.constant("b", random([1, 1, 6, 6], 2))
    model = through_file(builder.model([builder.op("BATCH_MATMUL", [y, other], [1, 8, 8, 6], name="b")]))
    qualities = []
    for item in (model, optimize(model)):
        recipe = load_recipe("int8")
        decided = planned(item, recipe, engine)
        found = correct(item, decided, samples(30), recipe.algorithms, engine=engine)
        qualities.append(quality(run, model, quantize(found.model, found.plan)))
    assert found.layers == 2
    assert qualities[1] > qualities[0] + 5


def test_walk_computes_what_the_whole_network_computes(engine: Engine, run: Run) -> None:
    model = optimize(network())
    integers = quantize(model, planned(model, load_recipe("int8_float_io"), engine))
    inputs = samples(5)
    for graph in (model.graph, integers.graph):
        store = engine.store()
        walk = Walk(graph, store, "", {graph.inputs[0]: inputs}, threads=2)
        last = graph.ops[-1]
        for op in graph.ops[1::2]:
            walk.up_to(op.name)
        walk.up_to(last.name)
        name = last.inputs[0]
        assert name is not None
        whole = model.with_graph(graph.edit(outputs=[name]))
        for number, x in enumerate(inputs):
            assert np.array_equal(store.reduce(_pick, name, number), run(whole, [x])[0])
        store.close()


@pytest.mark.parametrize(("count", "known"), [(31, False), (32, True)])
def test_folds_are_known_from_four_positions_for_each_input(count: int, known: bool, engine: Engine) -> None:
    """A dense layer sees one position per sample, here with 8 inputs; a convolution before it has plenty."""
    model = optimize(network())
    decided = planned(model, load_recipe("int8"), engine)
    integers = quantize(model, decided).graph
    store = engine.store()
    inputs = samples(count)
    params = integers.tensors["x"].quant
    assert params is not None
    floats = Walk(model.graph, store, "float/", {"x": inputs}, 1)
    fixed = Walk(integers, store, "integer/", {"x": [to_integers(x, params) for x in inputs]}, 1)
    for layer in correctable(model.graph, decided):
        fixed.up_to(layer.op.name)
        moments = InputMoments(store, lambda: floats, fixed, layer, count, 1000, dict)
        assert (moments.folds() is not None) == (known or layer.op.name != "y")
        assert moments.covariance() is not None
    store.close()


@pytest.mark.parametrize(
    ("averaged", "known"),
    [("mean", True), ("mean and reshape", True), ("pool", True), ("rows only", False), ("flattened", False)],
)
def test_averages_over_all_positions_are_known(averaged: str, known: bool) -> None:
    builder = Builder()
    x = y = builder.input("x", [1, 4, 4, 8])
    width = 8
    if averaged == "pool":
        whole = {"filter_height": 4, "filter_width": 4, "stride_h": 1, "stride_w": 1, "padding": 1}
        y = builder.op("AVERAGE_POOL_2D", [x], [1, 1, 1, 8], whole, name="average")
    elif averaged.startswith("mean"):
        y = builder.op("MEAN", [x, builder.constant("axes", [1, 2])], [1, 8], name="average")
    elif averaged == "rows only":
        y, width = builder.op("MEAN", [x, builder.constant("axes", [1])], [1, 4, 8], name="average"), 32
    else:
        width = 128
    if averaged != "mean":
        y = builder.op("RESHAPE", [y, builder.constant("shape", [1, width])], [1, width], name="flat")
    layer = builder.op("FULLY_CONNECTED", [y, builder.constant("w", random([3, width], 0))], [1, 3], name="y")
    graph = builder.model([layer]).graph
    found = averaging_of(graph, graph.producers["y"])
    assert (found is graph.producers.get("average")) if known else found is None


def test_few_averages_are_completed_by_what_they_are_of(engine: Engine) -> None:
    """With a position per sample, directions that no sample took are known from all positions."""
    model = optimize(classifier())
    many = [item[None] for item in images(400, seed=7)]
    decided = plan(model, load_recipe("int8"), calibrate(model, many, engine=engine))
    integers = quantize(model, decided).graph
    port = integers.tensors["x"].quant
    assert port is not None
    last = correctable(model.graph, decided)[-1]
    assert last.averaging is not None

    def known(samples: Sequence[Array], spread: Array | None, port: QuantParams = port) -> Array:
        store = engine.store()
        fixed = Walk(integers, store, "", {"x": [to_integers(x, port) for x in samples]}, 1)
        fixed.up_to(last.op.name)
        found = InputMoments(store, lambda: fixed, fixed, last, len(samples), 1000, dict, spread).covariance()
        store.close()
        assert found is not None
        return found

    store = engine.store()
    walk = Walk(integers, store, "", {"x": [to_integers(x, port) for x in many[::40]]}, 1)
    walk.up_to(last.averaging.name)
    name = integers.producers[last.averaging.outputs[0]].inputs[0]
    assert name is not None
    spread = store.reduce(covariance, walk.key(name), Window(inputs=8), walk.params(name), 10_000)
    store.close()
    wanted, few, better = known(many, None), known(many[::40], None), known(many[::40], spread)
    error = [float(np.linalg.norm(item / np.trace(item[0]) - wanted / np.trace(wanted[0]))) for item in (few, better)]
    assert np.trace(better[0]) == pytest.approx(np.trace(few[0]))
    assert error[1] < 0.8 * error[0]


def _pick(values: Sequence[Array], number: int) -> Array:
    return values[number]


def test_same_bytes_however_many_threads(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    model = optimize(network())
    recipe = load_recipe("int8_w4")
    decided = planned(model, recipe, engine)
    files = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("tersor.stages.correct.available_threads", lambda count=threads: count)
        found = correct(model, decided, samples(30), recipe.algorithms, fan_in_limit=1000, engine=engine)
        files.append(tflite.write_bytes(quantize(found.model, found.plan)))
    assert files[0] == files[1] == files[2]


def test_shared_weights_stay_shared_and_get_biases_of_their_own(engine: Engine) -> None:
    model = optimize(network(kind="shared"))
    found = correct(model, planned(model, load_recipe("int8"), engine), samples(8), BOTH, engine=engine)
    first, second = (op for op in found.model.graph.ops if op.name in ("conv", "again"))
    assert first.inputs[1] == second.inputs[1]
    assert first.inputs[2] != second.inputs[2]


def test_nothing_to_do_returns_what_was_given(engine: Engine) -> None:
    model = optimize(network())
    decided = planned(model, load_recipe("int8"), engine)
    for found in (correct(model, decided, samples(3), [], engine=engine), correct(model, decided, [], BOTH)):
        assert found == Corrected(model, decided)
    floats = plan(model, load_recipe("float16"))
    assert correct(model, floats, samples(3), BOTH, engine=engine).model is model
    with pytest.raises(RecipeError, match="unknown algorithm 'magic': there are activation_correction, "):
        correct(model, decided, samples(3), ["magic"], engine=engine)


def test_plan_tells_what_was_done(engine: Engine) -> None:
    model = optimize(classifier())
    decided = plan(model, load_recipe("int8"), calibrate(model, images(20), engine=engine))
    text = correct(model, decided, images(20), BOTH, engine=engine).plan.explain()
    assert "input scale x weight scale; " in text
    assert "bias corrected by up to " in text


def test_biases_are_made_where_there_are_none(engine: Engine) -> None:
    model = optimize(network(kind="bare"))
    decided = planned(model, load_recipe("int8"), engine)
    prepared, completed = with_biases(model, decided)
    dense = prepared.graph.ops[-1]
    bias = prepared.graph.operand(dense, 2)
    assert bias is not None
    assert bias.shape == (6,)
    assert (dense.name, 2) in completed.operands


def test_command_line_leaves_them_out(cli: Cli) -> None:
    base = ("quantize", "net.tflite", "--data", "x.npy", "--explain")
    assert "bias corrected" in cli(*base).out
    assert "bias corrected" not in cli(*base, "--algorithms", "none").out
    answer = cli(*base, "--algorithms", "magic")
    assert answer.code == 2
    assert "unknown algorithm 'magic'" in answer.err


def test_a_refusing_runtime_leaves_the_result_uncorrected_and_says_so(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tersor.errors import RuntimeFailure

    def refuse(*_: object) -> None:
        raise RuntimeFailure("the xnnpack kernels refuse the model")

    monkeypatch.setattr("tersor.runtimes.store.Store.advance", refuse)
    answer = cli("quantize", "net.tflite", "--data", "x.npy")
    assert answer.code == 0
    assert re.search("warning: int8: not corrected by .*bias_correction.*: the xnnpack", answer.err)


def test_mobilenet_on_photos(engine: Engine, run: Run) -> None:
    """A network that int8 hurts: without algorithms 73 % of the photos keep their class, at 10 dB."""
    import csv
    import io
    import zipfile

    from PIL import Image

    model = optimize(load(shared_file("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5")))
    rows = list(csv.DictReader(io.StringIO(shared_file("photos_500/photos.csv").read_text())))
    with zipfile.ZipFile(shared_file("photos_500/photos.zip")) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist()}
        pictures = [Image.open(archive.open(names[row["file"]])).convert("RGB") for row in rows[:160]]
    photos = [np.asarray(picture, np.float32)[None] / 127.5 - 1 for picture in pictures]
    recipe = load_recipe("int8_float_io")
    decided = plan(model, recipe, calibrate(model, photos[:60], engine=engine))
    found = correct(model, decided, photos[:60], recipe.algorithms, engine=engine)
    wanted, plain, better = (
        answers(engine, made, photos[60:])
        for made in (model, quantize(model, decided), quantize(found.model, found.plan))
    )
    assert sqnr_db(wanted, plain) < 12
    assert sqnr_db(wanted, better) > 17
    assert np.mean(wanted.argmax(1) == better.argmax(1)) >= 0.88


def answers(engine: Engine, model: Model, inputs: Sequence[Array]) -> Array:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        tflite.write(model, path)
        handle = engine.open(str(path), copies=2)
        found = np.concatenate([outputs[0] for outputs in handle.run_all([x] for x in inputs)])
        handle.close()
    return found
