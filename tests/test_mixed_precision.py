"""Mixtures widen the operators that a network was made to suffer from, cost what they say, and run everywhere."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tersor.presets
from conftest import Cli
from small_nets import DEMO, DEMO_DATA, RELU, conv, dense, random, shared_file, through_file
from tersor.errors import DataError, PlanError, RecipeError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.recipe import load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.analyze import analyze
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import correct
from tersor.stages.load import load
from tersor.stages.mixed_precision import Mixture, mixtures
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from tersor.stages.verify import verify

PRESETS = Path(tersor.presets.__file__).parent
SAMPLES: list[Array] = [random([1, 8, 8, 3], seed) for seed in range(24)]


def network() -> Model:
    """Convolutions, an addition, values that are moved, a softmax. A channel of `wide` is ten times the others."""
    builder = Builder()
    x = builder.input("x", [1, 8, 8, 3])
    x = conv(builder, x, 8, "first", fused_activation_function=RELU)
    weights, bias = random([8, 3, 3, 8], seed=1), random([8], seed=2)
    weights[0] *= 10
    given = [x, builder.constant("wide/weights", weights), builder.constant("wide/bias", bias)]
    wide = builder.op("CONV_2D", given, [1, 8, 8, 8], {"stride_w": 1, "stride_h": 1}, name="wide")
    after = random([8, 3, 3, 8], seed=3)
    after[..., 0] /= 10
    given = [wide, builder.constant("reader/weights", after), builder.constant("reader/bias", random([8], seed=4))]
    y = builder.op("CONV_2D", given, [1, 8, 8, 8], {"stride_w": 1, "stride_h": 1}, name="reader")
    y = builder.op("ADD", [x, y], [1, 8, 8, 8], name="sum")
    y = builder.op("RESHAPE", [y, builder.constant("s", [1, 512])], [1, 512], {"new_shape": (1, 512)}, name="flat")
    y = dense(builder, y, 6)
    return through_file(builder.model([builder.op("SOFTMAX", [y], [1, 6], {"beta": 0.01}, name="scores")]))


def uneven() -> Model:
    """Three convolutions; in each channel of `uneven` one weight is 15 times the others."""
    builder = Builder()
    x = builder.input("x", [1, 8, 8, 3])
    for name in ("first", "uneven", "last"):
        depth = builder.shape_of(x)[-1]
        weights = random([8, 3, 3, depth], seed=depth)
        if name == "uneven":
            weights[:, 0, 0, 0] = 15
        given = [
            x,
            builder.constant(f"{name}/weights", weights),
            builder.constant(f"{name}/bias", np.ones(8, np.float32)),
        ]
        x = builder.op("CONV_2D", given, [1, 8, 8, 8], {"stride_w": 1, "stride_h": 1}, name=name)
    return through_file(builder.model([x]))


def mixed(model: Model, flavour: str, widen: str, engine: Engine) -> tuple[Mixture, ...]:
    statistics = calibrate(model, SAMPLES[:16], engine=engine)
    return mixtures(model, load_recipe(flavour), statistics, SAMPLES[:16], widen=widen, engine=engine)


@pytest.mark.parametrize(
    ("flavour", "widen"),
    [("int8", "int16"), ("uint8", "int16"), ("int8_float_io", "float"), ("int8_w4", "int8_weights")],
)
def test_mixtures_grow_and_leave_less_noise(flavour: str, widen: str, engine: Engine) -> None:
    found = mixed(network(), flavour, widen, engine)
    assert len(found) > 2
    for less, more in itertools.pairwise(found):
        assert set(less.operators) < set(more.operators)
        assert less.noise_share >= more.noise_share
        assert less.extra_bytes <= more.extra_bytes
        assert less.macs_share <= more.macs_share
    assert found[-1].macs_share <= 1
    rounded = {"first", "wide", "reader", "dense"} - set(found[-1].operators)
    if widen == "float":  # a network all in float would be no mixture: the layer that hurts least for its bytes stays
        assert len(rounded) == 1
        assert found[-1].noise_share < 0.05
    else:
        assert rounded <= {"first"}
        assert found[-1].noise_share == 0


@pytest.mark.parametrize("widen", ["int16", "float"])
def test_the_value_that_rounds_worst_comes_first(widen: str, engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:16], engine=engine)
    recipe = replace(load_recipe("int8_float_io"), algorithms=())
    seen: list[tuple[int, int]] = []
    found = mixtures(
        model, recipe, statistics, SAMPLES, widen=widen, engine=engine, progress=lambda *now: seen.append(now)
    )
    assert found[0].operators == ("wide", "reader")
    assert found[0].noise_share < 0.3
    assert found[0].recipe.rules[-1].names == ("wide", "reader")
    assert seen == [(number, len(seen)) for number in range(1, len(seen) + 1)]


def test_the_layer_that_four_bits_hurt_comes_first(engine: Engine) -> None:
    found = mixed(uneven(), "int8_w4", "int8_weights", engine)
    assert found[0].operators == ("uneven",)
    assert found[0].extra_bytes == 8 * 3 * 3 * 8 // 2


def sqnr(model: Model, mixture: Mixture, path: Path, engine: Engine) -> list[float]:
    """On both kernel sets, with corrections."""
    statistics = calibrate(model, SAMPLES[:16], engine=engine)
    decided = plan(model, mixture.recipe, statistics)
    corrected = correct(model, decided, SAMPLES[:16], mixture.recipe.algorithms, engine=engine)
    tflite.write(quantize(corrected.model, corrected.plan), path)
    return [item.sqnr_db for item in verify(path, model, SAMPLES[16:], engine=engine)]


@pytest.mark.parametrize(
    ("flavour", "widen"),
    [(a, b) for a in ("int8", "uint8", "int8_float_io", "int8_w4") for b in ("int16", "float", "int8_weights")],
)
def test_every_mixture_runs_on_both_kernel_sets(flavour: str, widen: str, tmp_path: Path, engine: Engine) -> None:
    model, recipe = network(), load_recipe(flavour)
    if (widen == "float" and not recipe.float_fallback) or (widen == "int8_weights" and flavour != "int8_w4"):
        with pytest.raises(PlanError, match=f"{flavour} cannot be widened to {widen}: "):
            mixed(model, flavour, widen, engine)
        return
    found = mixed(model, flavour, widen, engine)
    nothing = Mixture(recipe, (), 0, 0.0, 1.0)
    before = sqnr(model, nothing, tmp_path / "base.tflite", engine)
    for mixture in found:
        after = sqnr(model, mixture, tmp_path / "mixed.tflite", engine)
        assert min(after) > min(before) - 3, mixture.operators
        written = tflite.read(tmp_path / "mixed.tflite")
        if not recipe.float_fallback:
            doors = (*written.graph.inputs, *written.graph.outputs)
            assert {written.graph.tensors[name].dtype for name in doors} == {recipe.interface}
            assert not any(tensor.dtype.is_float for tensor in written.graph.tensors.values())
    assert min(after) > min(before) + (6 if widen != "int8_weights" else 0)


@pytest.mark.parametrize(
    ("flavour", "widen"),
    [("int8", "int16"), ("int8_float_io", "float"), ("int8_w4", "int8_weights"), ("int8_w4", "int16")],
)
def test_bytes_are_those_of_the_constants(flavour: str, widen: str, engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:16], engine=engine)
    recipe = load_recipe(flavour)
    before = analyze(quantize(model, plan(model, recipe, statistics))).constant_bytes
    for mixture in mixtures(model, recipe, statistics, SAMPLES[:8], widen=widen, engine=engine):
        after = analyze(quantize(model, plan(model, mixture.recipe, statistics))).constant_bytes
        assert after - before == mixture.extra_bytes


def test_value_stays_rounded_between_operators_without_a_kernel(engine: Engine) -> None:
    builder = Builder()
    x = conv(builder, builder.input("x", [1, 8, 8, 3]), 4, "before")
    x = builder.op("HARD_SWISH", [x], [1, 8, 8, 4], name="swish")
    x = conv(builder, conv(builder, x, 4, "behind"), 4, "last")
    model = through_file(builder.model([x]))
    found = mixed(model, "int8", "int16", engine)
    assert found[-1].operators == ("behind", "last"), "what the hard swish reads and gives has 8 bits"


def test_values_that_are_only_moved_are_one(engine: Engine) -> None:
    found = mixed(network(), "int8", "int16", engine)
    for mixture in found:
        assert len({"sum", "flat", "dense"} & set(mixture.operators)) in (0, 1, 3) or "flat" not in mixture.operators
    first = next(mixture for mixture in found if "flat" in mixture.operators)
    assert {"sum", "dense"} <= set(first.operators)


def test_refusals(engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:4], engine=engine)
    for flavour, widen, kind, words in (
        ("int8", "int32", RecipeError, "there are int16, float, int8_weights"),
        ("int8", "float", PlanError, "integer only; allow float"),
        ("int8", "int8_weights", PlanError, "no layer has weights of 4 bits"),
        ("int16x8", "int16", PlanError, "between operators that have such kernels"),
        ("float32", "int16", PlanError, "between operators that have such kernels"),
    ):
        with pytest.raises(kind, match=words):
            mixtures(model, load_recipe(flavour), statistics, SAMPLES, widen=widen, engine=engine)
    with pytest.raises(DataError, match="no samples"):
        mixtures(model, load_recipe("int8"), statistics, [], widen="int16", engine=engine)


def test_given_rules_stay(engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:16], engine=engine)
    own = mixed(model, "int8_float_io", "float", engine)[0].recipe.rules[-1]
    recipe = replace(load_recipe("int8_float_io"), rules=(own,))
    found = mixtures(model, recipe, statistics, SAMPLES[:8], widen="int16", engine=engine)
    assert all(mixture.recipe.rules[0] == own for mixture in found)
    made = plan(model, found[-1].recipe, statistics)
    assert "wide" not in made.tensors, "left in float by the rule that was there"


def test_command(cli: Cli, place: Path) -> None:
    arguments = ("sensitivity", "net.tflite", "--data", "x.npy", "--widen", "int16")
    answer = cli(*arguments)
    assert answer.code == 0
    assert answer.out.splitlines()[0].split() == ["operators", "bytes", "MACs", "noise", "added"]
    assert "none" in answer.out.splitlines()[-1]
    found = json.loads(cli(*arguments, "--json").out)
    assert len(found) == len(answer.out.splitlines()) - 1
    first = found[0]
    rule = f'names = {json.dumps(first["operators"])}\nactivations = "{first["rule"]["activations"]}"\n'
    (place / "mine.toml").write_text((PRESETS / "int8.toml").read_text() + f"[[rules]]\n{rule}")
    made = cli("quantize", "net.tflite", "--data", "x.npy", "--as", "mine.toml", "--output", "net.mine.tflite")
    assert made.code == 0, made.err
    written = tflite.read(place / "net.mine.tflite").graph
    assert DType.INT16 in {tensor.dtype for tensor in written.tensors.values()}
    refused = cli(*arguments[:-1], "float")
    assert refused.code == PlanError.exit_code
    assert "integer only" in refused.err


@pytest.mark.slow
@pytest.mark.parametrize("widen", ["int16", "float", "int8_weights"])
def test_demo(widen: str, tmp_path: Path, engine: Engine) -> None:
    model = optimize(load(DEMO))
    with np.load(DEMO_DATA) as data:
        samples = [values[None].astype(np.float32) for values in data[data.files[0]]]
    statistics = calibrate(model, samples[:100], engine=engine)
    recipe = load_recipe("int8_w4" if widen == "int8_weights" else "int8_float_io")
    found = mixtures(model, recipe, statistics, samples[:16], widen=widen, engine=engine)
    for mixture in (found[0], found[len(found) // 2], found[-1]):
        corrected = correct(
            model, plan(model, mixture.recipe, statistics), samples[:32], recipe.algorithms, engine=engine
        )
        tflite.write(quantize(corrected.model, corrected.plan), tmp_path / "q.tflite")
        assert len(verify(tmp_path / "q.tflite", model, samples[100:116], engine=engine)) == 2


@pytest.mark.slow
def test_mobilenet_v1_wins_most_from_its_first_layers(tmp_path: Path, engine: Engine) -> None:
    model = optimize(load(shared_file("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5")))
    rng = np.random.default_rng(0)
    blocks = [rng.uniform(-1, 1, (1, 7, 7, 3)).repeat(32, 1).repeat(32, 2).astype(np.float32) for _ in range(12)]
    statistics = calibrate(model, blocks, engine=engine)
    found = mixtures(model, load_recipe("int8_float_io"), statistics, blocks[:8], widen="int16", engine=engine)
    assert all(re.fullmatch(r"conv1_relu|conv_(dw|pw)_[123]_relu", name) for name in found[3].operators)
    assert len(found[-1].operators) == 29  # all but the softmax, whose 16-bit kernel is too coarse for 1000 classes
    assert DType.INT16 in {item.dtype for item in plan(model, found[0].recipe, statistics).tensors.values()}
