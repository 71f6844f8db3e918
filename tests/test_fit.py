"""What a target does not take is rewritten, where that helps; the cost is measured, and both are said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tersor
from conftest import Cli, Run
from small_nets import DEMO, DEMO_DATA, conv, dense, random, through_file
from tersor import registry
from tersor.errors import PlanError, RecipeError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Graph, Model
from tersor.ir.quant import PerTensor
from tersor.ops import OPS
from tersor.recipe import Recipe, load_recipe, parse_recipe, to_toml
from tersor.runtimes.engine import Engine
from tersor.stages import fit as fitting
from tersor.stages.evaluate import Change
from tersor.stages.fit import fit, promise
from tersor.stages.fitted import Cost
from tersor.stages.optimize import PASSES, optimize
from tersor.stages.outcome import Options
from tersor.stages.place import place as forecast
from tersor.stages.produce import produce
from tersor.stages.repair import repair
from tersor.stages.repair.widening import widenings
from tersor.stages.rough_quantize import rough_quantize
from tersor.stages.search.targets import target_of
from tersor.stages.split import split
from tersor.targets import edge_tpu


def activated(*functions: str) -> Model:
    """x [1,6,6,3] -> CONV_2D and a function, as often as there are functions -> MEAN -> FULLY_CONNECTED -> SOFTMAX."""
    builder = Builder("activated")
    y = builder.input("x", [1, 6, 6, 3])
    for number, kind in enumerate(functions):
        y = conv(builder, y, 8, f"conv{number}")
        y = builder.op(kind, [y], [1, 6, 6, 8], name=f"act{number}")
    y = builder.op("MEAN", [y, builder.constant("axes", [1, 2])], [1, 1, 1, 8], {"keep_dims": True}, name="mean")
    y = builder.op("RESHAPE", [y, builder.constant("flat", [1, 8])], [1, 8], name="reshape")
    return through_file(builder.model([builder.op("SOFTMAX", [dense(builder, y, 5)], [1, 5], {"beta": 1.0}, name="p")]))


FEW = Options(calibration_samples=70)
SPLIT = "1 HARD_SWISH as ADD, 2 MUL, since the Edge TPU has no HARD_SWISH (split_hard_swish); it "


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def for_edge_tpu(name: str = "int8") -> Recipe:
    return target_of("edge_tpu").fitted(load_recipe(name))


def write(model: Model, folder: Path) -> str:
    tflite.write(model, folder / "act.tflite")
    np.save(folder / "x.npy", random([60, 6, 6, 3], seed=9))
    return "act.tflite"


def test_demo_network_runs_on_the_edge_tpu_as_a_whole(run: Run) -> None:
    model = tflite.read(DEMO)
    fitted = fit(model, "edge_tpu")
    assert fitted.before is not None
    assert fitted.after is not None
    assert (len(fitted.before.mapped), len(fitted.before.operators)) == (1, 31)
    assert fitted.after.left == ()
    assert [str(item) for item in fitted.rewrites] == ["12 HARD_SWISH as ADD, 2 MUL"]
    assert fitted.rewrites[0].reason == "the Edge TPU has no HARD_SWISH"
    known = {name for op in model.graph.ops for name in op.outputs}
    assert known & set(fitted.model.graph.tensors) == known & set(fitted.models[0].graph.tensors), "names stay"
    x = np.load(DEMO_DATA)["x"][:1].astype(np.float32).reshape(1, 28, 28, 1) / 255
    assert np.abs(run(fitted.model, [x])[0] - run(model, [x])[0]).max() < 1e-5


@pytest.mark.parametrize("name", edge_tpu.REWRITES)
def test_rewrites_are_passes_of_this_target_only(name: str) -> None:
    module = registry.plugin("passes", name)
    assert module.apply not in PASSES
    assert module.__doc__ is not None
    assert "Refused" in module.__doc__ or name in ("split_hard_swish", "form_reshape")
    builder = Builder("plain")
    x = builder.input("x", [1, 4, 4, 4])
    graph = builder.model([builder.op("RELU", [x], [1, 4, 4, 4])]).graph
    assert module.apply(graph) is graph
    assert module.refusal(graph, graph.ops[0])


def test_nothing_is_done_where_all_maps() -> None:
    model = activated("RELU", "RELU6")
    fitted = fit(model, "edge_tpu")
    assert fitted.rewrites == ()
    assert len(fitted.models) == 1
    assert fitted.before is fitted.after or fitted.after == fitted.before
    simple = optimize(model)
    assert promise(simple, "edge_tpu", forecast(model, "edge_tpu"), rough_quantize(simple, "int8").graph) == ()


def test_nothing_is_done_behind_what_does_not_map() -> None:
    fitted = fit(activated("HARD_SWISH", "ELU", "HARD_SWISH", "GELU"), "edge_tpu")
    assert [item.operators for item in fitted.rewrites] == [("act0",)]
    assert kinds(fitted.model.graph)[:4] == ["CONV_2D", "ADD", "MUL", "MUL"]
    assert kinds(fitted.model.graph).count("HARD_SWISH") == 1
    assert kinds(fitted.model.graph).count("GELU") == 1
    assert fit(activated("ELU", "HARD_SWISH"), "edge_tpu").rewrites == ()


def test_behind_what_does_not_map_all_is_rewritten_that_runs_there_once_the_network_is_split() -> None:
    model = activated("ELU", "HARD_SWISH", "GELU")
    fitted = fit(model, "edge_tpu", is_split=True)
    assert [item.operators for item in fitted.rewrites] == [("act1",), ("act2",)]
    taken = split(rough_quantize(fitted.model, "int8"), "edge_tpu").on_device.model.graph
    assert {"act1", "act2"} <= {op.name for op in taken.ops}
    simple = optimize(model)
    quantized = rough_quantize(simple, "int8")
    (said,) = promise(simple, "edge_tpu", edge_tpu.place(quantized), quantized.graph)
    least = re.search(r"--split, at least (\d+) of ", said)
    assert least is not None
    assert int(least[1]) <= len(taken.ops)


def test_nor_is_anything_rewritten_that_the_cpu_gets_when_the_network_is_split() -> None:
    fitted = fit(activated("HARD_SWISH", "ELU", "RELU", "RELU"), "edge_tpu", is_split=True)
    assert fitted.rewrites == ()


def test_a_rewrite_that_does_not_help_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = activated("HARD_SWISH")
    monkeypatch.setattr(edge_tpu, "REWRITES", ("form_prelu", "split_hard_swish"))
    assert [item.name for item in fit(model, "edge_tpu").rewrites] == ["split_hard_swish"]
    worse = SimpleNamespace(refusal=lambda _graph, op: None if op.kind == "HARD_SWISH" else "another", apply=_elu)
    monkeypatch.setattr(fitting, "_passes", lambda _target: {"worse": worse})
    assert fit(model, "edge_tpu").rewrites == ()


def _elu(graph: Graph, only: set[str]) -> Graph:
    return graph.edit(replace_ops={op.name: (replace(op, kind="ELU"),) for op in graph.ops if op.name in only})


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(RecipeError, match="unknown target 'coral'"):
        fit(activated("RELU"), "coral")
    with pytest.raises(RecipeError, match="there is no such target"):
        target_of("coral")


def test_place_of_a_float_model_tells_what_rewriting_would_bring() -> None:
    notes = forecast(activated("HARD_SWISH"), "edge_tpu").notes
    assert any("(1 HARD_SWISH as ADD, 2 MUL): 8 of 8 operators run there then" in note for note in notes)
    assert not any("rewrites" in note for note in forecast(activated("RELU"), "edge_tpu").notes)


def test_recipe_of_the_target() -> None:
    recipe = for_edge_tpu()
    assert recipe.target == "edge_tpu"
    assert parse_recipe(to_toml(recipe), "again") == recipe
    assert target_of("edge_tpu").fitted(recipe) == recipe, "a second time nothing is added"
    assert widenings(recipe, None) == (), "neither 16 bits nor float"
    assert widenings(load_recipe("int8"), None) != ()
    assert target_of("micro").fitted(load_recipe("int8")) == load_recipe("int8")
    with pytest.raises(RecipeError, match="8-bit integers only, and not float16: there are int8, uint8"):
        for_edge_tpu("float16")


def test_product_says_what_was_done_and_what_it_costs(tmp_path: Path, engine: Engine) -> None:
    x = random([90, 6, 6, 3], seed=3)
    outcome = produce(
        activated("HARD_SWISH", "LEAKY_RELU"), {for_edge_tpu(): tmp_path / "a.tflite"}, x, options=FEW, engine=engine
    )
    (product,) = outcome.products
    own = product.fitting
    assert own is not None
    assert own.placement.left == ()
    assert [item.name for item in own.fitted.rewrites] == ["split_hard_swish", "form_prelu"]
    assert [cost.rewrite for cost in own.costs] == ["split_hard_swish", "form_prelu"]
    assert len(own.fitted.models) == 3
    for before, after in zip(own.costs, own.costs[1:], strict=False):
        assert before.sqnr_db[1] == after.sqnr_db[0], "each is measured on top of the one before"
    for cost in own.costs:
        assert cost.samples == 20
        assert cost.change is not None
        assert cost.change.value == pytest.approx(cost.sqnr_db[1] - cost.sqnr_db[0])
    assert own.costs[-1].sqnr_db[1] == pytest.approx(product.sqnr_db, abs=3)
    weights = tflite.read(tmp_path / "a.tflite").graph
    op = next(op for op in weights.ops if op.kind == "FULLY_CONNECTED")
    quant = weights.tensors[op.present_inputs[1]].quant
    assert quant is not None
    assert isinstance(quant.granularity, PerTensor), "the compiler knows no other dense layers"
    assert product.plan is not None
    assert product.plan.warnings == ()


def test_cost_in_words() -> None:
    known = Cost("p", 50, (30.0, 28.8), Change(-1.2, (-1.5, -0.9)), (0.99, 0.98), 1)
    assert str(known) == (
        "it costs 1.2 dB (95 %: 0.9..1.5; 50 samples), beside a file with 1 operator in float: "
        "SQNR 30.0 dB without it, 28.8 with it; agreement 99.0 % and 98.0 %"
    )
    better = replace(known, change=Change(1.2, (0.9, 1.5)), agreement=None, left=0)
    assert str(better).startswith("it gains 1.2 dB (95 %: 0.9..1.5; 50 samples): SQNR")
    assert "costs nothing that 50 samples show" in str(replace(known, change=Change(-0.1, (-0.5, 0.4))))
    assert str(Cost("p")).startswith("what it costs is not known")


def test_cost_where_there_is_no_integer_file_without(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = random([90, 6, 6, 3], seed=3)
    without = {kind: spec for kind, spec in OPS.items() if kind != "HARD_SWISH"}
    monkeypatch.setattr("tersor.stages.plan.modes.OPS", without)
    model = activated("HARD_SWISH")
    with pytest.raises(PlanError, match="HARD_SWISH"):
        produce(model, {load_recipe("int8"): tmp_path / "no.tflite"}, x, options=FEW, engine=engine)
    outcome = produce(model, {for_edge_tpu(): tmp_path / "a.tflite"}, x, options=FEW, engine=engine)
    own = outcome.products[0].fitting
    assert own is not None
    assert own.placement.left == ()
    assert [cost.left for cost in own.costs] == [1], "beside a file with this operator in float"


def test_command(place: Path, cli: Cli) -> None:
    name = write(activated("HARD_SWISH", "LEAKY_RELU"), place)
    run = cli("quantize", name, "--data", "x.npy", "--as-is", "--samples", "30", "--target", "edge_tpu")
    assert run.code == 0, run.err
    assert "forecast: 10 of 10 operators run on the Edge TPU, without rewriting 1 of 8" in run.err
    assert (
        "rewritten: 1 HARD_SWISH as ADD, 2 MUL, since the Edge TPU has no HARD_SWISH (split_hard_swish); it " in run.err
    )
    assert "rewritten: 1 LEAKY_RELU as PRELU" in run.err
    assert "all 10 operators are on the Edge TPU" in cli("place", "act.int8.tflite", "--target", "edge_tpu").out
    again = place / "recipe.toml"
    again.write_text(to_toml(for_edge_tpu()), "utf-8")
    cli("quantize", name, "--data", "x.npy", "--as-is", "--samples", "30", "--as", again, "-o", "again.tflite")
    assert (place / "again.tflite").read_bytes() == (place / "act.int8.tflite").read_bytes(), "the recipe says it all"


def test_command_in_json(place: Path, cli: Cli) -> None:
    name = write(activated("HARD_SWISH"), place)
    run = cli("quantize", name, "--data", "x.npy", "--as-is", "--samples", "30", "--target", "edge_tpu", "--json")
    found = json.loads(run.out)["fitting"]["int8"]
    assert (found["mapped_before"], found["operators_before"]) == (1, 6)
    assert found["mapped"] == found["operators"] == 8
    (rewrite,) = found["rewrites"]
    assert rewrite["operators"] == ["act0"]
    assert rewrite["into"] == ["ADD", "MUL", "MUL"]
    assert rewrite["samples"] == 30
    assert rewrite["sqnr_db_change"]["value"] == pytest.approx(rewrite["sqnr_db_with"] - rewrite["sqnr_db_without"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--target", "coral"), "there is no such target; there are cpu, edge_tpu, ethos_u, micro"),
        (("--target", "edge_tpu", "--as", "int8,float16"), "8-bit integers only, and not float16"),
        (("--target", "edge_tpu", "--as", "int16x8"), "8-bit integers only, and not int16x8"),
    ],
)
def test_command_refuses(more: tuple[str, ...], said: str, place: Path, cli: Cli) -> None:
    run = cli("quantize", "net.tflite", "--data", "x.npy", "--as-is", *more)
    assert run.code == 2
    assert said in " ".join(run.err.split())
    assert not list(place.glob("*.int8.tflite"))


def test_command_takes_all_that_the_target_runs(place: Path, cli: Cli) -> None:
    run = cli(
        "quantize", "net.tflite", "--data", "x.npy", "--as-is", "--as", "all", "--target", "edge_tpu", "-o", "out"
    )
    assert run.code == 0, run.err
    assert {path.name for path in (place / "out").iterdir()} == {"net.int8.tflite", "net.uint8.tflite"}
    assert "int8: forecast: 4 of 4 operators" in run.err or "int8: forecast: 5 of 5 operators" in run.err
    assert "rewritten" not in run.err


def test_a_recipe_with_a_target_says_as_much_as_the_option(place: Path, cli: Cli) -> None:
    name = write(activated("HARD_SWISH"), place)
    (place / "mine.toml").write_text(to_toml(for_edge_tpu()), "utf-8")
    run = cli("quantize", name, "--data", "x.npy", "--as-is", "--as", "mine.toml")
    assert run.code == 0, run.err
    assert "forecast: 8 of 8 operators run on the Edge TPU" in run.err


def test_misspelt_target_in_a_recipe(place: Path, cli: Cli) -> None:
    (place / "mine.toml").write_text(to_toml(replace(for_edge_tpu(), target="coral")), "utf-8")
    run = cli("quantize", "net.tflite", "--data", "x.npy", "--as-is", "--as", "mine.toml")
    assert run.code == 2
    assert "unknown target 'coral'" in run.err


def test_repair_stays_with_eight_bits(place: Path, cli: Cli) -> None:
    name = write(activated("HARD_SWISH"), place)
    np.save(place / "x.npy", random([120, 6, 6, 3], seed=9))
    run = cli(
        "quantize", name, "--data", "x.npy", "--as-is", "--samples", "40", "--target", "edge_tpu", "--max-drop", "0.01%"
    )
    assert "forecast: 8 of 8 operators run on the Edge TPU" in run.err
    assert "rewritten: 1 HARD_SWISH" in run.err
    recipe = load_recipe(place / "act.int8.recipe.toml")
    assert recipe.target == "edge_tpu"
    assert all("activations" not in dict(rule.scheme) for rule in recipe.rules), "no islands"


def test_search_reports_what_was_rewritten(place: Path, cli: Cli) -> None:
    name = write(activated("HARD_SWISH"), place)
    np.save(place / "x.npy", random([120, 6, 6, 3], seed=9))
    asked = ("optimize", name, "--data", "x.npy", "--as-is", "--target", "edge_tpu", "-o", "out")
    run = cli(*asked)
    assert run.code == 0, run.err
    note = next(line for line in run.err.splitlines() if line.startswith("rewritten"))
    assert "1 HARD_SWISH as ADD, 2 MUL" in note
    assert "forecast: 8 of 8 operators run on the Edge TPU, without rewriting 1 of 6" in run.err
    assert note in json.loads((place / "out" / "report.json").read_text("utf-8"))["notes"]
    assert note in cli(*asked).err, "nothing is measured a second time"
    assert "HARD_SWISH" not in kinds(tflite.read(place / "out" / "pick.tflite").graph)


def test_one_sample_at_a_time(tmp_path: Path, engine: Engine) -> None:
    model, outputs, x = activated("RELU"), {for_edge_tpu(): tmp_path / "a.tflite"}, random([90, 6, 6, 3])
    with pytest.raises(RecipeError, match="edge_tpu runs one sample at a time"):
        produce(model, outputs, x, engine=engine, batched=model)
    with pytest.raises(RecipeError, match="edge_tpu runs one sample at a time"):
        repair(model, for_edge_tpu(), tmp_path / "a.tflite", x, max_drop=0.01, engine=engine, batched=model)


def test_library() -> None:
    assert kinds(tersor.fit(activated("HARD_SWISH"), "edge_tpu").model.graph)[:4] == ["CONV_2D", "ADD", "MUL", "MUL"]
