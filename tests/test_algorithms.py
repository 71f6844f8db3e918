"""What single algorithms are for: they do it where its effect is known, and nothing where their conditions fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

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
from tersor.algorithms._contract import Layer, nearest
from tersor.errors import RuntimeFailure
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.numerics.metrics import sqnr_db
from tersor.recipe import adjusted, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import correct, rewrite, split_kinds
from tersor.stages.correct.rewriting import channel_ranges
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
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
    found = least_squares_refit.apply(replace(layer, moments=type(layer.moments)(own, floats)))  # type: ignore[call-arg]
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
    moments = type(layer.moments)(floats + noise, floats)  # type: ignore[call-arg]
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
    found = registry.plugin("algorithms", name).apply(replace(layer, moments=type(layer.moments)(x, x)))  # type: ignore[call-arg]
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
        moments=type(layer.moments)(own, floats),  # type: ignore[call-arg]
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
