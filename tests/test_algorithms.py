"""What single algorithms are for: they do it where its effect is known, and nothing where their conditions fail."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Cli, Run
from small_nets import random, through_file
from tersor import registry
from tersor.algorithms import (
    activation_correction,
    cross_layer_equalization,
    fit_scales,
    gptq,
    least_squares_refit,
    zero_dead_channels,
)
from tersor.algorithms._channels import channels_of, copied, weight_steps
from tersor.algorithms._contract import Layer, nearest
from tersor.errors import RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model, Op, Record, Tensor
from tersor.numerics.metrics import sqnr_db
from tersor.recipe import adjusted, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import correct, rewrite, split_kinds
from tersor.stages.correct.rewriting import channel_ranges
from tersor.stages.plan import plan
from tersor.stages.produce import produce
from tersor.stages.quantize import quantize
from tersor.stages.repair import repair
from test_correct import layer_of, quality, samples


def output_error(layer: Layer, weights: Array) -> Array:
    """The variance of ``W x - V x'`` for weights V, [G, O]."""
    own, floats = layer.moments.rows() or (np.zeros(0), np.zeros(0))
    difference = layer.weights @ floats.transpose(0, 2, 1) - weights @ own.transpose(0, 2, 1)
    return np.asarray(difference.var(-1))


@pytest.mark.parametrize("seed", range(5))
def test_refit_is_nearly_the_best_there_is(seed: int) -> None:
    layer, _ = layer_of(seed)
    found = least_squares_refit.apply(layer)
    own, floats = layer.moments.rows() or (np.zeros(0), np.zeros(0))
    for group in range(2):
        x, y = own[group] - own[group].mean(0), (floats[group] - floats[group].mean(0)) @ layer.weights[group].T
        best = ((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).mean(0)
        after, before = (output_error(layer, item)[group] for item in (found.target, layer.weights))
        assert after.sum() <= 1.05 * best.sum()
        assert after.sum() < 0.97 * before.sum()


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_refit_keeps_the_size_of_outputs_under_noise(noise: float) -> None:
    """Least squares alone would shrink them by the share of the noise; without it the fit is of use all the same."""
    layer, _ = layer_of(0, groups=1, outputs=3, inputs=4)
    floats = (layer.moments.rows() or (np.zeros(0), np.zeros(0)))[1]
    own = floats + noise * floats.std() * np.random.default_rng(1).normal(size=floats.shape) * np.arange(4)
    found = least_squares_refit.apply(replace(layer, moments=type(layer.moments)(layer.weights, own, floats)))  # type: ignore[call-arg]
    assert found.target is not layer.target

    def outputs(weights: Array, values: Array) -> Array:
        return np.asarray(values[0] @ weights[0].T)

    wanted, given, before = outputs(layer.weights, floats), outputs(found.target, own), outputs(layer.weights, own)
    assert given.std(0) == pytest.approx(wanted.std(0), rel=1e-3)
    error, former = ((item - wanted).var(0).sum() for item in (given, before))
    assert error < 0.9 * former


def test_refit_leaves_alone_what_it_would_only_learn_by_heart() -> None:
    """Noise that does not go with the input cannot be undone; a fit to few positions finds something to undo in it."""
    layer, _ = layer_of(0, groups=1, outputs=3, inputs=60)
    own, floats = (rows[:, :80] for rows in layer.moments.rows() or ())
    noise = np.random.default_rng(1).normal(size=floats.shape) * 0.01
    moments = type(layer.moments)(layer.weights, floats + noise, floats)  # type: ignore[call-arg]
    alone = replace(layer, moments=moments)
    assert least_squares_refit.apply(alone) is alone
    assert own.shape == floats.shape


@pytest.mark.parametrize("name", [name for name in registry.names("algorithms") if split_kinds([name])[1]])
@pytest.mark.parametrize("limit", [1, 127, 2**20])
@pytest.mark.parametrize("size", [0.0, 1e-12, 1.0])
def test_nothing_is_wrong_with_inputs_that_stay_as_they_are(name: str, limit: int, size: float) -> None:
    """Exact, constant and nearly constant inputs: no warnings of NumPy, no NaN."""
    layer, _ = layer_of(0, limit=limit)
    x = 1 + size * (layer.moments.rows() or (np.zeros(0),))[0]
    found = registry.plugin("algorithms", name).apply(replace(layer, moments=type(layer.moments)(layer.weights, x, x)))  # type: ignore[call-arg]
    assert np.isfinite(found.rounded).all()
    assert np.isfinite(found.shifted).all()
    assert np.abs(found.rounded - layer.weights).max() <= 2 * found.scales.max()


@pytest.mark.parametrize("seed", range(5))
def test_gptq_is_between_nearest_and_the_best_there_is(seed: int) -> None:
    layer, _ = layer_of(seed, groups=1, outputs=2, inputs=3, limit=3)
    covariance = layer.moments.covariance()
    assert covariance is not None

    def error(weights: Array) -> Array:
        difference = weights - layer.weights[0]
        return np.asarray(((difference @ covariance[0]) * difference).sum(-1))

    found = gptq.apply(layer)
    grids = np.array(list(product(range(-3, 4), repeat=3)))
    best = [min(error(np.broadcast_to(grid * scale, (2, 3)))[place] for grid in grids)
            for place, scale in enumerate(layer.scales[0])]  # fmt: skip
    assert (error(found.rounded[0]) <= error(layer.rounded[0]) * 1.02).all()
    assert (error(found.rounded[0]) >= np.array(best) * (1 - 1e-9)).all()


def test_gptq_without_correlation_is_rounding_to_nearest() -> None:
    layer, _ = layer_of(0)
    alike = np.broadcast_to(np.eye(4), (2, 4, 4))
    assert np.array_equal(gptq.rounded(layer.weights, layer.scales, layer.limit, alike), layer.rounded)


def test_gptq_takes_covariances_that_rounding_made_negative() -> None:
    """Of inputs around 1000 that hardly vary, as raw pixels make them: E[x x] - E[x] E[x] has lost its digits."""
    weights = random([3, 2, 9], 1)
    scales = np.full((3, 2), 0.01)
    variances = np.linspace(-0.004, 0.2, 9)
    turned, _ = np.linalg.qr(random([9, 9], 2).astype(np.float64))
    broken = turned @ np.diag(variances) @ turned.T
    covariance = np.stack([broken, np.eye(9), -np.eye(9) / 1000])
    found = gptq.rounded(weights, scales, 127, covariance)
    assert np.isfinite(found).all()
    assert np.allclose(found / scales[..., None], np.rint(found / scales[..., None]))
    assert np.allclose(found[1], nearest(weights, scales, 127)[1]), "a group that is well stays as it was"
    assert np.abs(found - weights).max() < 0.1


@pytest.mark.parametrize("one_scale", [False, True])
def test_scales_pass_over_a_large_weight_that_does_not_matter(one_scale: bool) -> None:
    layer, _ = layer_of(3, groups=1, outputs=2, inputs=4)
    own, floats = (rows.copy() for rows in layer.moments.rows() or ())
    own[..., 0] *= 1e-6
    floats[..., 0] *= 1e-6
    weights = layer.weights.copy()
    weights[..., 0] = 2 * np.abs(weights).max()
    scales = np.abs(weights).max(2) / layer.limit
    scales = np.full_like(scales, scales.max()) if one_scale else scales
    fields = {"weights": weights, "target": weights, "scales": scales, "smallest_scales": 0.1 * scales}
    large = replace(
        layer,
        **fields,
        rounded=nearest(weights, scales, layer.limit),
        moments=type(layer.moments)(layer.weights, own, floats),  # type: ignore[call-arg]
        one_scale=one_scale,
    )
    found = fit_scales.apply(large)
    assert (found.scales < 0.95 * scales).all()
    assert output_error(large, found.rounded).sum() < 0.8 * output_error(large, large.rounded).sum()


def test_means_behind_the_activation_are_the_float_ones() -> None:
    layer, _ = layer_of(1)
    found = activation_correction.apply(layer)
    own, floats = layer.moments.rows() or (np.zeros(0), np.zeros(0))

    def means(weights: Array, x: Array, bias: Array) -> Array:
        return np.asarray(np.clip(weights @ x.transpose(0, 2, 1) + bias[..., None], 0, 6).mean(-1))

    wanted = means(layer.weights, floats, layer.bias)
    before, after = (np.abs(means(layer.rounded, own, bias) - wanted) for bias in (layer.shifted, found.shifted))
    assert after.sum() < 0.1 * before.sum()


CLAMPS = {"none": 0, "relu": 1, "relu6": 3}


def unbalanced(clamp: str, *, branch: bool = False, dead: bool = False) -> Model:
    """x -> pointwise -> depthwise -> pointwise -> mean -> dense, with channels of very different sizes in between.

    The float network computes what a balanced one does: what a channel is made larger by, its reader makes smaller.
    """
    builder = Builder()
    x = builder.input("x", [1, 8, 8, 4])
    sizes = np.array([1, 8, 0.2, 2, 1, 0.1, 4, 0.5], np.float32)
    code = {"fused_activation_function": CLAMPS[clamp], "stride_w": 1, "stride_h": 1}
    step = {**code, "dilation_w_factor": 1, "dilation_h_factor": 1}
    bias = random([8], 9, 0, 0.2) * sizes
    if dead:
        bias[3] = -1000
    first = random([8, 1, 1, 4], 1) * sizes[:, None, None, None]
    kernel = random([1, 3, 3, 8], 2) / sizes
    if dead:
        kernel[..., 3] *= 300
    y = builder.op("CONV_2D", [x, builder.constant("w1", first), builder.constant("b1", bias)], [1, 8, 8, 8], step,
                   name="first")  # fmt: skip
    z = builder.op("DEPTHWISE_CONV_2D", [y, builder.constant("w2", kernel), builder.constant("b2", random([8], 3))],
                   [1, 8, 8, 8], {**step, "depth_multiplier": 1}, name="depthwise")  # fmt: skip
    if branch:
        z = builder.op("ADD", [y, z], [1, 8, 8, 8], name="sum")
    z = builder.op("CONV_2D", [z, builder.constant("w3", random([6, 1, 1, 8], 4)),
                               builder.constant("b3", random([6], 5))], [1, 8, 8, 6], step, name="second")  # fmt: skip
    return builder.model([builder.op("MEAN", [z, builder.constant("axes", [1, 2])], [1, 6], name="y")])


def distance(run: Run, a: Model, b: Model) -> float:
    """SQNR of the outputs on the samples that were calibrated on."""
    return sqnr_db(*(np.stack([run(item, [x])[0] for x in samples(30)]) for item in (a, b)))


@pytest.mark.parametrize("clamp", CLAMPS)
@pytest.mark.parametrize("branch", [False, True])
@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("name", ["cross_layer_equalization", "zero_dead_channels"])
def test_rewriting_keeps_the_float_outputs(
    name: str, clamp: str, branch: bool, dead: bool, engine: Engine, run: Run
) -> None:
    model = unbalanced(clamp, branch=branch, dead=dead)
    found = rewrite(model, samples(30), [name], engine=engine)
    assert distance(run, model, found) > 100
    assert [(op.name, op.kind, op.inputs) for op in found.graph.ops] == [
        (op.name, op.kind, op.inputs) for op in model.graph.ops
    ]
    if name == "zero_dead_channels":
        assert (found is model) == (not dead or clamp == "none")


def test_equalization_leaves_branches_and_clamped_channels_alone(engine: Engine) -> None:
    branched = unbalanced("relu", branch=True)
    found = rewrite(branched, samples(30), ["cross_layer_equalization"], engine=engine)
    assert found.graph.tensors["w1"] == branched.graph.tensors["w1"]
    capped = unbalanced("relu6")
    seen = channel_ranges(capped, samples(30), engine)["first"][1]
    assert (seen == 6).any()
    found = rewrite(capped, samples(30), ["cross_layer_equalization"], engine=engine)
    factors = capped.graph.tensors["w1"].data / found.graph.tensors["w1"].data  # type: ignore[operator]
    assert np.allclose(factors[seen == 6], 1)
    assert np.abs(np.log2(factors)).max() <= 1 + 1e-5
    assert np.abs(np.log2(factors)).max() > 0.9


def test_one_scale_recovers_from_unequal_channels(engine: Engine, run: Run) -> None:
    """The known effect of equalization: per-tensor weights of a depthwise network whose channels are not alike."""
    model = unbalanced("relu", dead=True)
    recipe = adjusted(load_recipe("int8_float_io"), per_tensor=True)
    qualities = []
    for names in ((), ("zero_dead_channels",), ("zero_dead_channels", "cross_layer_equalization"), recipe.algorithms):
        made = rewrite(model, samples(30), names, engine=engine)
        decided = plan(made, recipe, calibrate(made, samples(30), engine=engine))
        found = correct(made, decided, samples(30), split_kinds(names)[1], fan_in_limit=recipe.fan_in_limit,
                        engine=engine)  # fmt: skip
        qualities.append(quality(run, model, quantize(found.model, found.plan)))
    plain, zeroed, equalized, everything = qualities
    assert zeroed > plain + 10
    assert equalized > zeroed + 2
    assert everything > zeroed + 5


def outlying(kind: str = "plain") -> Model:
    """x [1,6,8] -> times g -> plus c `v` -> two dense layers -> their sum `y`; one channel of v is 100 times as large.

    Its weights are as much smaller, so that all channels count alike, as in transformers.
    """
    builder = Builder()
    x = builder.input("x", [1, 6, 8])
    sizes = np.ones(8, np.float32)
    sizes[5] = 100
    v = builder.op("MUL", [x, builder.constant("g", random([1, 1, 8], 1, 0.5, 1) * sizes)], [1, 6, 8], name="u")
    if kind != "scaled":
        code = {"rectified": 1, "clamped": 3}.get(kind, 0)
        shift = builder.constant("c", random([8], 2) * sizes)
        v = builder.op("ADD", [shift, v], [1, 6, 8], {"fused_activation_function": code}, name="v")
    parts = []
    for name in ("a", "b"):
        weights = builder.constant(f"{name}/w", random([4, 8], ord(name)) / sizes)
        operands = [v, weights, builder.constant(f"{name}/b", random([4], 3))]
        parts.append(builder.op("FULLY_CONNECTED", operands, [1, 6, 4], {"keep_num_dims": True}, name=name))
    outputs = [builder.op("ADD", parts, [1, 6, 4], name="y")]
    if kind == "read":
        outputs.append(builder.op("ABS", [v], [1, 6, 8], name="also"))
    return through_file(builder.model(outputs))


def rows_of(count: int, seed: int = 0) -> list[Array]:
    return [random([1, 6, 8], seed + n) for n in range(count)]


@pytest.mark.parametrize("kind", ["plain", "scaled", "rectified"])
def test_outlying_channels_move_into_the_weights(kind: str, engine: Engine, run: Run) -> None:
    model = outlying(kind)
    found = rewrite(model, rows_of(20), ["activation_equalization"], engine=engine)
    unseen = rows_of(20, 100)

    def outputs(item: Model) -> Array:
        return np.stack([run(item, [x])[0] for x in unseen])

    assert sqnr_db(outputs(model), outputs(found)) > 100
    recipe = load_recipe("int8_float_io")
    plain, better = (
        sqnr_db(
            outputs(model), outputs(quantize(item, plan(item, recipe, calibrate(item, rows_of(20), engine=engine))))
        )
        for item in (model, found)
    )
    assert better > plain + 10


@pytest.mark.parametrize("kind", ["clamped", "read"])
def test_values_that_others_read_or_that_are_clamped_stay(kind: str, engine: Engine) -> None:
    model = outlying(kind)
    assert rewrite(model, rows_of(4), ["activation_equalization"], engine=engine) is model


FULLY, POOLED, DEEP = "fully", "pooled", "deep"


def lopsided(side: str, kind: str = FULLY, code: int = 1, times: float = 10.0, hidden: int = 128) -> Model:
    """x -> a layer -> what the kind says -> a layer `y`; one of the hidden channels is far larger than the others.

    With side "values" it takes far larger values, and is read with as much smaller weights, so that all channels count
    alike; with "weights" it is the other way round; with "none" they are alike.
    """
    numbers = np.random.default_rng(0)
    builder = Builder()
    sizes = np.ones(hidden, np.float32)
    sizes[7] = {"values": times, "weights": 1 / times, "none": 1}[side]
    w = numbers.normal(size=(hidden, 24)).astype(np.float32) / 5 * sizes[:, None]
    b = numbers.normal(size=hidden).astype(np.float32) / 10 * sizes
    v = numbers.normal(size=(16, hidden)).astype(np.float32) / 6 / sizes
    c = builder.constant("c", random([16], 3))
    options = {"fused_activation_function": code}
    if kind == FULLY:
        x = builder.input("x", [1, 24])
        y = builder.op("FULLY_CONNECTED", [x, builder.constant("w", w), builder.constant("b", b)], [1, hidden], options,
                       name="hidden")  # fmt: skip
        return through_file(
            builder.model([builder.op("FULLY_CONNECTED", [y, builder.constant("v", v), c], [1, 16], name="y")])
        )
    x = builder.input("x", [1, 4, 4, 24])
    step = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    shape = [1, 4, 4, hidden]
    first = [x, builder.constant("w", w[:, None, None]), builder.constant("b", b)]
    y = builder.op("CONV_2D", first, shape, {**step, **options}, name="hidden")
    if kind == POOLED:
        y = builder.op("MAX_POOL_2D", [y], [1, 2, 2, hidden],
                       {"stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2})  # fmt: skip
        y = builder.op("MEAN", [y, builder.constant("axes", [1, 2])], [1, hidden])
        return through_file(
            builder.model([builder.op("FULLY_CONNECTED", [y, builder.constant("v", v), c], [1, 16], name="y")])
        )
    kernel = builder.constant("k", random([1, 3, 3, hidden], 4, 0, 0.3))
    second = [y, kernel, builder.constant("d", random([hidden], 5, 0, 0.1) * sizes)]
    y = builder.op("DEPTHWISE_CONV_2D", second, shape, {**step, **options, "depth_multiplier": 1}, name="depthwise")
    readers = [
        builder.op("CONV_2D", [y, builder.constant(f"{name}/v", own[:, None, None]), builder.constant(name, c_values)],
                   [1, 4, 4, 16], step, name=f"{name}/y")
        for name, own, c_values in (("a", v, random([16], 3)), ("e", v[::-1].copy(), random([16], 6)))
    ]  # fmt: skip
    return through_file(builder.model([builder.op("ADD", readers, [1, 4, 4, 16], name="y")]))


def inputs_of(model: Model, count: int, seed: int = 0) -> list[Array]:
    return [random(model.graph.tensors["x"].shape, seed + n) for n in range(count)]


def split_and_quantized(model: Model, wish: str, engine: Engine, run: Run) -> tuple[Model, list[float]]:
    """The network with split channels, and the SQNR without and with it, on other samples."""
    recipe = adjusted(load_recipe("int8_float_io"), per_tensor=True) if wish == "per_tensor" else load_recipe(wish)
    seen, unseen = inputs_of(model, 40), inputs_of(model, 60, 1000)
    found = rewrite(model, seen, ["outlier_splitting"], scheme=recipe.scheme, engine=engine)
    wanted, again = (np.stack([run(item, [x])[0] for x in unseen]) for item in (model, found))
    assert sqnr_db(wanted, again) > 110
    qualities = []
    for item in (model, found):
        decided = plan(item, recipe, calibrate(item, seen, engine=engine))
        made = correct(item, decided, seen, ["bias_correction"], engine=engine)
        answers = np.stack([run(quantize(made.model, made.plan), [x])[0] for x in unseen])
        qualities.append(sqnr_db(wanted, answers))
    return found, qualities


@pytest.mark.parametrize(
    ("side", "kind", "wish", "gain"),
    [
        ("values", FULLY, "int8_float_io", 5),
        ("values", FULLY, "per_tensor", 6),
        ("values", POOLED, "int8_float_io", 3),
        ("values", DEEP, "int8_float_io", 4),
        ("weights", FULLY, "int8_float_io", 2),
        ("weights", FULLY, "per_tensor", 5),
        ("weights", FULLY, "int8_w4", 4),
        ("weights", FULLY, "int16x8", 5),
        ("weights", DEEP, "int8_w4", 2),
    ],
)
def test_outlying_channels_are_split(side: str, kind: str, wish: str, gain: float, engine: Engine, run: Run) -> None:
    model = lopsided(side, kind)
    found, (before, after) = split_and_quantized(model, wish, engine, run)
    assert after > before + gain
    added = found.graph.tensors["hidden"].shape[-1] - 128
    assert 1 <= added <= 0.05 * 128
    assert [(op.name, op.kind, op.inputs, op.outputs) for op in found.graph.ops] == [
        (op.name, op.kind, op.inputs, op.outputs) for op in model.graph.ops
    ]


@pytest.mark.parametrize(("side", "code", "kind"), [("none", 1, FULLY), ("none", 0, DEEP), ("values", 3, DEEP)])
def test_networks_without_outliers_and_clamped_values_stay(side: str, code: int, kind: str, engine: Engine) -> None:
    """Values behind a ReLU6 cannot be divided; they have no outliers either."""
    model = lopsided(side, kind, code)
    for scheme in (load_recipe("int8").scheme, adjusted(load_recipe("int8"), per_tensor=True).scheme):
        assert rewrite(model, inputs_of(model, 20), ["outlier_splitting"], scheme=scheme, engine=engine) is model


def test_weights_behind_a_clamp_are_divided_by_equal_copies(engine: Engine, run: Run) -> None:
    found, (before, after) = split_and_quantized(lopsided("weights", DEEP, code=3), "int8_w4", engine, run)
    assert after > before + 2
    ((_, high),) = channel_ranges(found, inputs_of(found, 10), engine, ["hidden"]).values()
    extra = high.size - 128
    assert np.array_equal(high[128:], np.repeat(high[7], extra))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.booleans())
def test_copies_of_weights_round_as_one(seed: int, count: int, one_scale: bool) -> None:
    """The sum of what the copies round to is the sum of the copies, within half a step."""
    model = lopsided("weights", hidden=8)
    channels = channels_of(model.graph, model.graph.ops[0])
    assert channels is not None
    ones = np.ones(8, np.int64)
    lighter = np.where(np.arange(8) == seed % 8, count, 1)

    scheme = adjusted(load_recipe("int8_w4"), per_tensor=one_scale).scheme
    found = copied(model.graph, channels, ones, lighter, scheme).tensors["v"].data
    assert found is not None
    step = weight_steps(channels.readers[0].weights / lighter, scheme)[:, 0]
    copies = [seed % 8, *range(8, 7 + count)]
    wanted, rounded = found[:, copies].sum(1), (np.rint(found[:, copies] / step) * step).sum(1)
    assert np.allclose(wanted, channels.readers[0].weights[:, 0, seed % 8], rtol=1e-5, atol=1e-6)
    assert (np.abs(rounded - wanted) <= step[:, 0] * (0.5 + 1e-4)).all()


@pytest.mark.parametrize("how", ["output", "residual", "concatenated", "summed"])
def test_channels_that_others_read_are_not_split(how: str, engine: Engine) -> None:
    model = lopsided("values", DEEP)
    graph = model.graph
    if how == "output":
        changed = model.with_graph(graph.edit(outputs=["y", "hidden"]))
    else:
        builder_op = {
            "residual": Op("also", "ADD", ("hidden", "depthwise"), ("also",), Record("AddOptions")),
            "concatenated": Op("also", "CONCATENATION", ("hidden", "hidden"), ("also",),
                               Record("ConcatenationOptions", (("axis", 3),))),
            "summed": Op("also", "SUM", ("depthwise", "last"), ("also",),
                         Record("ReducerOptions", (("keep_dims", False),))),
        }[how]  # fmt: skip
        shape = {"residual": (1, 4, 4, 128), "concatenated": (1, 4, 4, 256), "summed": (1, 4, 4)}[how]
        tensors = [Tensor("also", shape, DType.FLOAT32)]
        tensors += [Tensor("last", (1,), DType.INT32).with_data(np.array([3], np.int32))] if how == "summed" else []
        changed = model.with_graph(graph.edit(append=[builder_op], tensors=tensors, outputs=["y", "also"]))
    assert rewrite(changed, inputs_of(model, 5), ["outlier_splitting"], engine=engine) is changed


def test_splitting_goes_with_everything_else(engine: Engine, tmp_path: Path) -> None:
    """A recipe names it; a file for a batch has the same channels; others of the same call stay as they are."""
    model = lopsided("values")
    data = [x[0] for x in inputs_of(model, 60)]
    plain = load_recipe("int8")
    split = replace(plain, name="split", algorithms=("outlier_splitting", *plain.algorithms))
    outcome = produce(model, {plain: tmp_path / "plain.tflite", split: tmp_path / "split.tflite"}, data, engine=engine)
    first, second = outcome.products
    assert first.sqnr_db is not None
    assert second.sqnr_db is not None
    assert second.sqnr_db > first.sqnr_db + 4
    assert first.size_bytes < second.size_bytes < 1.1 * first.size_bytes
    assert second.plan is not None
    assert re.search(r"; [1-6] of its 1[23]\d channels are copies of others", second.plan.explain())
    wide = with_batch(model, 4)
    produce(model, {split: tmp_path / "wide.tflite"}, data, engine=engine, batched=wide)
    made = tflite.read(tmp_path / "wide.tflite").graph.tensors["hidden"].shape
    assert made == (4, tflite.read(tmp_path / "split.tflite").graph.tensors["hidden"].shape[1])


def with_batch(model: Model, size: int) -> Model:
    """A dense network for several samples at once."""
    graph = model.graph
    wider = [replace(item, shape=(size, *item.shape[1:])) for item in graph.tensors.values() if not item.is_constant]
    return model.with_graph(graph.edit(tensors=wider))


def test_repair_splits_channels_where_what_is_free_does_not_reach(engine: Engine, tmp_path: Path) -> None:
    model = lopsided("values", times=30)
    data = [x[0] for x in inputs_of(model, 400)]
    found = repair(model, load_recipe("int8"), tmp_path / "out.tflite", data, max_drop=0.0003, islands="none",
                   engine=engine)  # fmt: skip
    (step,) = (step for step in found.steps if step.rung == "outliers")
    assert step.kept
    assert step.cost == "bytes and latency"
    assert step.gain is not None
    assert step.gain.value > 3
    assert "outlier_splitting" in found.recipe.algorithms
    assert found.slowdown is not None


def test_dead_channels_that_cost_nothing_stay(engine: Engine) -> None:
    """They might come to life with other data."""
    model = unbalanced("relu")
    tensors = model.graph.tensors
    bias = tensors["b1"].data
    assert bias is not None
    changed = bias.copy()
    changed[5] = -1000  # channel 5 has the smallest weights before and the largest behind
    dead = model.with_graph(model.graph.edit(tensors=[tensors["b1"].with_data(changed)]))
    found = rewrite(dead, samples(10), ["zero_dead_channels"], engine=engine)
    first, depthwise = (found.graph.tensors[name].data for name in ("w1", "w2"))
    assert np.array_equal(first, tensors["w1"].data)  # type: ignore[arg-type]
    assert depthwise is not None


def test_kinds_are_told_apart() -> None:
    names = ["bias_correction", "zero_dead_channels", "gptq", "cross_layer_equalization"]
    assert split_kinds(names) == (["zero_dead_channels", "cross_layer_equalization"], ["bias_correction", "gptq"])
    assert not hasattr(zero_dead_channels, "apply")
    assert not hasattr(cross_layer_equalization, "apply")


@pytest.mark.parametrize("name", registry.names("algorithms"))
def test_every_algorithm_says_what_it_costs_when_it_hurts_and_where_it_is_from(name: str) -> None:
    text = registry.plugin("algorithms", name).__doc__ or ""
    assert re.search(r"\b[Cc]osts?\b", text), "what it costs"
    assert re.search(r"\b[Hh]urts?\b", text), "when it hurts"
    assert re.search(r"\b(19|20)\d\d\b", text), "a reference with its year"
    assert len(text.partition("\n")[0]) <= 120, "a first line that says what it does"


def test_whole_command_with_one_scale(cli: Cli) -> None:
    """Rewriting, calibration of what was rewritten, and correction."""
    answer = cli("quantize", "net.tflite", "--data", "x.npy", "--per-tensor", "--explain")
    assert answer.code == 0, answer.err
    assert "one scale" in answer.out
    assert "bias corrected" in answer.out


def test_a_runtime_that_refuses_the_extremes_leaves_the_network_as_it_is(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeFailure("the xnnpack kernels refuse the model")

    monkeypatch.setattr("tersor.stages.correct.rewriting.channel_ranges", refuse)
    answer = cli("quantize", "net.tflite", "--data", "x.npy", "--per-tensor")
    assert answer.code == 0
    assert "warning: int8: not rewritten by zero_dead_channels, cross_layer_equalization: the xnnpack" in answer.err


@pytest.mark.parametrize("inputs", [9, 70])
def test_rounding_in_blocks_with_several_scales_is_that_of_column_by_column(inputs: int) -> None:
    generator = np.random.default_rng(inputs)
    weights = generator.normal(size=(2, 5, inputs))
    x = generator.normal(size=(2, 4 * inputs, inputs)) * generator.uniform(0.1, 2, inputs)
    covariance = x.transpose(0, 2, 1) @ x / x.shape[1]
    scales = np.abs(weights).max(-1) / 7 * np.array([1.0, 0.8, 0.6])[:, None, None]
    found = gptq.rounded_with_each(weights, scales, 7, covariance)
    for own, steps in zip(found, scales, strict=True):
        assert np.allclose(own, column_by_column(weights, steps, 7, covariance))


def column_by_column(weights: Array, scales: Array, limit: int, covariance: Array) -> Array:
    """GPTQ as it is written: each column's error goes to all columns that are not rounded yet."""
    found = np.empty_like(weights)
    for group, own in enumerate(weights):
        order = np.argsort(-np.diagonal(covariance[group]), kind="stable")
        factor = np.linalg.cholesky(np.linalg.inv(covariance[group][np.ix_(order, order)])).T
        left = own[:, order]
        for place, column in enumerate(order):
            steps = scales[group]
            found[group][:, column] = np.clip(np.rint(left[:, place] / steps), -limit, limit) * steps
            error = (left[:, place] - found[group][:, column]) / factor[place, place]
            left[:, place + 1 :] -= error[:, None] * factor[place, place + 1 :]
    return found
