"""First channels computed twice, half a step apart, round twice as finely; what would cost much stays as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Run
from small_nets import random, through_file
from tersor.algorithms import staggered_copies
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.numerics.metrics import sqnr_db
from tersor.recipe import load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import correct, rewrite
from tersor.stages.plan import plan
from tersor.stages.produce import produce
from tersor.stages.quantize import quantize

NAMES = ["staggered_copies"]
SAMPLES = [random([1, 16, 16, 3], seed) for seed in range(40)]
UNSEEN = [random([1, 16, 16, 3], seed) for seed in range(100, 130)]


def narrow(clamp: int = 3, *, tail: int = 0, residual: bool = False) -> Model:
    """x [1,16,16,3] -> 4 channels -> depthwise -> 24 channels `y`; with a tail, a 5x5 convolution to so many `z`.

    The 4 channels are nearly alike and `y` reads their differences, so that what they are rounded by is most of its
    noise.
    """
    builder = Builder()
    x = builder.input("x", [1, 16, 16, 3])

    def layer(kind: str, x: str, name: str, weights: Array, clamp: int = 0) -> str:
        channels = weights.shape[3 if kind == "DEPTHWISE_CONV_2D" else 0]
        inputs = [x, builder.constant(f"{name}/w", weights), builder.constant(f"{name}/b", np.full(channels, 0.3, "f"))]
        options = {"stride_w": 1, "stride_h": 1, "fused_activation_function": clamp}
        more = {"depth_multiplier": 1} if kind == "DEPTHWISE_CONV_2D" else {}
        return builder.op(kind, inputs, [1, 16, 16, channels], options | more, name=name)

    alike = random([1, 3, 3, 3], 1) + random([4, 3, 3, 3], 2) / 10
    first = layer("CONV_2D", x, "first", alike, clamp)
    second = layer("DEPTHWISE_CONV_2D", first, "depthwise", 0.1 + random([1, 3, 3, 4], 3) / 50, clamp)
    if residual:
        second = builder.op("ADD", [first, second], [1, 16, 16, 4], name="sum")
    differences = random([24, 1, 1, 4], 4)
    y = layer("CONV_2D", second, "y", differences - differences.mean(3, keepdims=True))
    if tail:
        y = layer("CONV_2D", y, "z", random([tail, 5, 5, 24], 5))
    return through_file(builder.model([y]))


def quantized(model: Model, engine: Engine, run: Run) -> Array:
    decided = plan(model, load_recipe("int8_float_io"), calibrate(model, SAMPLES, engine=engine))
    made = correct(model, decided, SAMPLES, ["coordinate_descent", "bias_correction"], engine=engine)
    integers = quantize(made.model, made.plan)
    return np.stack([run(integers, [x])[0] for x in UNSEEN])


@pytest.mark.parametrize("clamp", [0, 1, 3])
def test_noise_of_doubled_channels_falls(clamp: int, engine: Engine, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is the rounding of input, weights and result, which are not doubled."""
    monkeypatch.setattr(staggered_copies, "_SHARE", 9.0)
    model = narrow(clamp)
    found = rewrite(model, SAMPLES, NAMES, engine=engine)
    channels = {name: found.graph.tensors[name].shape[-1] for name in ("first", "depthwise", "y")}
    assert channels == {"first": 8, "depthwise": 8, "y": 24}
    wanted, again = (np.stack([run(item, [x])[0] for x in UNSEEN]) for item in (model, found))
    before, after = (sqnr_db(wanted, quantized(item, engine, run)) for item in (model, found))
    assert sqnr_db(wanted, again) > before + 6, "the float network stays within parts of a step"
    assert after > before + 1.5


@pytest.mark.parametrize("observer", ["min_max", "percentile"])
def test_biases_are_half_a_step_apart(observer: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the steps that the plan has, with that observer."""
    monkeypatch.setattr(staggered_copies, "_SHARE", 9.0)
    model = narrow(clamp=0)
    found = rewrite(model, SAMPLES, NAMES, observer=observer, engine=engine)
    decided = plan(model, load_recipe("int8"), calibrate(model, SAMPLES, observer, engine=engine))
    params = decided.tensors["first"].params
    assert params is not None
    bias = found.graph.tensors["first/b"].data
    assert bias is not None
    assert np.allclose(bias[:4] - bias[4:], params.scales[0] / 2, rtol=1e-3)


def test_only_what_adds_little_work_is_doubled(engine: Engine) -> None:
    """The head is 6 % of the work with a tail of 40 channels, and all without one."""
    for tail, doubled in ((0, False), (40, True)):
        model = narrow(tail=tail)
        found = rewrite(model, SAMPLES[:5], NAMES, engine=engine)
        assert (found is not model) == doubled
        assert found.graph.tensors["y"].shape[-1] == 24


def test_branches_and_other_numbers_stay(engine: Engine) -> None:
    model = narrow(tail=40, residual=True)
    assert rewrite(model, SAMPLES[:5], NAMES, engine=engine) is model
    model, scheme = narrow(tail=40), load_recipe("int16x8").scheme
    assert rewrite(model, SAMPLES[:5], NAMES, scheme=scheme, engine=engine) is model


def test_whole_spine_makes_and_verifies_it(engine: Engine, tmp_path: Path) -> None:
    plain = load_recipe("int8")
    more = replace(plain, name="copies", algorithms=(*NAMES, *plain.algorithms))
    model = narrow(tail=40)
    files = {plain: tmp_path / "plain.tflite", more: tmp_path / "more.tflite"}
    outcome = produce(model, files, [*SAMPLES, *UNSEEN], engine=engine)
    first, second = outcome.products
    assert first.sqnr_db is not None
    assert second.sqnr_db is not None
    assert second.sqnr_db > first.sqnr_db + 0.5
    assert first.size_bytes < second.size_bytes < 1.1 * first.size_bytes
    assert tflite.read(tmp_path / "more.tflite").graph.tensors["first"].shape == (1, 16, 16, 8)
