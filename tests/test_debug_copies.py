"""Networks with channels that are computed several times are debugged as all others are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import Cli, Run
from small_nets import random
from tersor.algorithms import staggered_copies
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.numerics.metrics import sqnr_db
from tersor.recipe import Recipe, adjusted, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import correct, rewrite
from tersor.stages.debug import debug
from tersor.stages.debug.copies import with_copies
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from test_algorithms import DEEP, FULLY, inputs_of, lopsided
from test_staggered_copies import SAMPLES, narrow

INT8 = load_recipe("int8_float_io")
COARSE = adjusted(INT8, per_tensor=True)
CASES = {
    "values": (lopsided("values", FULLY), INT8, "outlier_splitting"),
    "values, one scale": (lopsided("values", FULLY), COARSE, "outlier_splitting"),
    "values, depthwise": (lopsided("values", DEEP), INT8, "outlier_splitting"),
    "weights": (lopsided("weights", FULLY), load_recipe("int16x8"), "outlier_splitting"),
    "weights, 4 bits": (lopsided("weights", DEEP), load_recipe("int8_w4"), "outlier_splitting"),
    "staggered": (narrow(tail=40), INT8, "staggered_copies"),
    "staggered, one scale": (narrow(tail=40, clamp=1), COARSE, "staggered_copies"),
}


def made(case: str, engine: Engine) -> tuple[Model, Model, Model, list[Array]]:
    """The float network, the one that is rewritten, the quantized one, and samples."""
    model, recipe, name = CASES[case]
    samples = SAMPLES if name == "staggered_copies" else inputs_of(model, 40)
    rewritten = rewrite(model, samples, [name], scheme=recipe.scheme, engine=engine)
    assert rewritten is not model
    return model, rewritten, quantized(rewritten, recipe, samples, engine), samples


def quantized(model: Model, recipe: Recipe, samples: list[Array], engine: Engine) -> Model:
    decided = plan(model, recipe, calibrate(model, samples, engine=engine))
    found = correct(model, decided, samples, ["bias_correction"], engine=engine)
    return quantize(found.model, found.plan)


@pytest.mark.parametrize("case", CASES)
def test_float_network_gets_the_same_copies(case: str, engine: Engine, run: Run) -> None:
    model, rewritten, integers, samples = made(case, engine)
    found = with_copies(model.graph, integers.graph)
    values = [op.outputs[0] for op in model.graph.ops]
    assert {name: found.tensors[name].shape for name in values} == {
        name: rewritten.graph.tensors[name].shape for name in values
    }
    shown = [item.with_graph(item.graph.edit(outputs=values)) for item in (model.with_graph(found), rewritten, model)]
    ours, theirs, plain = (run(item, [samples[0]]) for item in shown)
    least = 30 if CASES[case][2] == "staggered_copies" else 45  # biases were corrected, each copy's for itself
    for name, own, other in zip(values, ours, theirs, strict=True):
        assert sqnr_db(other, own) > least, name
    assert sqnr_db(plain[-1], ours[-1]) > least


@pytest.mark.parametrize("case", CASES)
def test_every_operator_is_compared(case: str, engine: Engine) -> None:
    model, _, integers, samples = made(case, engine)
    diagnosis = debug(model, integers, samples[:8], engine=engine)
    assert diagnosis.unmatched == ()
    rows = {row.layer: row for row in diagnosis.rows}
    assert rows.keys() == {op.outputs[0] for op in model.graph.ops}
    assert all(row.own is not None for row in diagnosis.rows)
    recipe = CASES[case][1]
    plain = debug(model, quantized(model, recipe, samples, engine), samples[:8], engine=engine)
    before, after = (
        max(row.total.ac_sqnr_db for row in item.rows if row.layer == model.graph.outputs[0])
        for item in (plain, diagnosis)
    )
    assert after > before, "that is what copies are for"


def test_channels_that_copy_none_are_left_out(engine: Engine) -> None:
    model, _, integers, samples = made("values, depthwise", engine)
    assert with_copies(model.graph, quantized(model, INT8, samples, engine).graph) is model.graph
    weights = model.graph.tensors["w"]
    other = model.graph.edit(tensors=[weights.with_data(random(weights.shape, 99))])
    copies = with_copies(other, integers.graph)
    assert copies.tensors["hidden"].shape == integers.graph.tensors["hidden"].shape, "by the quantized weights alone"
    own = integers.graph.operand(integers.graph.producers["hidden"], 1)
    assert own is not None
    assert own.data is not None
    changed = own.data.copy()
    changed[128:] = np.flip(changed[128:], -1)
    strange = integers.graph.edit(tensors=[own.with_data(changed)])
    assert with_copies(model.graph, strange) is model.graph
    diagnosis = debug(model, integers.with_graph(strange), samples[:4], engine=engine)
    assert diagnosis.unmatched == ("hidden", "depthwise")


def test_command_on_a_file_with_copies(cli: Cli, place: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staggered_copies, "_SHARE", 9.0)
    model = narrow()
    tflite.write(model, place / "narrow.tflite")
    rewritten = rewrite(model, SAMPLES, ["staggered_copies"], engine=engine)
    tflite.write(quantized(rewritten, INT8, SAMPLES, engine), place / "copies.tflite")
    np.save(place / "given.npy", np.concatenate(SAMPLES))
    answer = cli("debug", "narrow.tflite", "copies.tflite", "--data", "given.npy")
    assert answer.code == 0
    assert "no counterpart" not in answer.err + answer.out
    assert "depthwise" in answer.out
