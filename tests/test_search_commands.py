"""`tersor optimize`, `compare` and `benchmark`: what they print, write and end with."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Cli
from small_nets import DEMO, classifier, dense, images, random, through_file
from tersor import registry
from tersor.errors import RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.numerics.metrics import median_interval
from tersor.recipe import load_recipe
from tersor.report.sides import pair_headline
from tersor.runtimes.engine import Engine
from tersor.runtimes.profile import Profile, _Profiled, profile
from tersor.stages.benchmark import Timing, benchmark
from tersor.stages.evaluate import Change
from tersor.stages.produce import produce
from tersor.stages.repair.figures import Figures
from tersor.stages.repair.goal import Goal
from tersor.stages.search import Standing
from tersor.stages.search.gauge import peak_memory
from tersor.stages.search.targets import targets
from tersor.stages.side_by_side import Pair, Side


def labelled(place: Path, count: int = 200, classes: int = 5) -> None:
    """`xy.npz`: samples for `net.tflite`, each with the answer that most samples get, now and then another."""
    labels = np.random.default_rng(0).integers(0, classes, count)
    np.savez(place / "xy.npz", x=images(count), y=labels)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are not what is tested here."""
    monkeypatch.setattr("tersor.stages.search.gauge._ROUNDS", 5)


def optimize_net(*more: str) -> tuple[str, ...]:
    return ("optimize", "net.tflite", "--data", "xy.npz", "--target", "edge_tpu", "--samples", "60", *more)


def test_optimize_says_what_to_ship_and_why(cli: Cli, place: Path) -> None:
    labelled(place)
    answer = cli(*optimize_net("--max-drop", "20%"))
    assert answer.code == 0, answer.err
    titles, reference, *rows = answer.out.splitlines()
    assert titles.split()[:3] == ["candidate", "size", "top1"]
    assert reference.split()[0] == "float"
    assert [row.lstrip("*+ ").split()[0] for row in rows][:2] == ["int8", "uint8"]
    assert sum(row.startswith("*") for row in rows) == 1
    assert "is the pick: " in answer.err
    assert re.search(r"^edge_tpu: .*operators? .* on the Edge TPU", answer.err, re.MULTILINE)
    placements = json.loads((place / "out" / "report.json").read_text())["placements"]
    assert set(placements) >= {"int8", "uint8"}
    assert "## Placement on edge" in (place / "out" / "report.md").read_text()
    assert "is out: " in answer.err
    assert {path.name for path in (place / "out").iterdir()} >= {
        "net.int8.tflite", "net.int8.recipe.toml", "net.uint8.tflite", "net.uint8.recipe.toml", "pick.tflite",
        "recipe.toml", "report.json",
    }  # fmt: skip
    assert json.loads((place / "out" / "report.json").read_text())["pick"] in answer.err
    again = cli(
        "quantize", "net.tflite", "--data", "xy.npz", "--samples", "60", "--as", "out/recipe.toml", "-o", "a.tflite"
    )
    assert again.code == 0, again.err
    assert (place / "a.tflite").read_bytes() == (place / "out" / "pick.tflite").read_bytes()
    for item in json.loads((place / "out" / "report.json").read_text())["candidates"]:
        recipe = f"out/{item['recipe_file']}"
        again = cli("quantize", "net.tflite", "--data", "xy.npz", "--samples", "60", "--as", recipe, "-o", "a.tflite")
        assert again.code == 0, again.err
        assert (place / "a.tflite").read_bytes() == (place / "out" / item["file"]).read_bytes(), item["name"]


def test_same_command_goes_on_and_prints_json(cli: Cli, place: Path) -> None:
    labelled(place)
    first = json.loads(cli(*optimize_net("--time-budget", "1ms", "--json")).out)
    assert [item["name"] for item in first["candidates"]] == ["int8"]
    assert first["not_tried"][0] == {"name": "uint8", "why": "the time was up"}
    answer = cli(*optimize_net("--json"))
    second = json.loads(answer.out)
    assert second == json.loads((place / "out" / "report.json").read_text())
    assert [item["name"] for item in second["candidates"]][:2] == ["int8", "uint8"]
    assert second["candidates"][0] | {"out": None} == first["candidates"][0], "`out` depends on what else there is"
    assert "1 candidates are" not in answer.err, "with --json there is no table and no talk"
    assert any("from an earlier run" in note for note in second["notes"])


def test_size_that_nothing_keeps_has_its_own_code(cli: Cli, place: Path) -> None:
    labelled(place)
    answer = cli(*optimize_net("--max-size", "1kB"))
    assert answer.code == 9
    assert "warning: nothing that keeps the goal is within --max-size 1 kB; int8 comes nearest" in answer.err
    assert (place / "out" / "pick.tflite").exists()


@pytest.mark.parametrize(("asked", "code"), [(("--max-drop", "1%"), 9), ((), 0)])
def test_drop_that_is_missed_is_a_gate_only_where_it_was_asked_for(
    asked: tuple[str, ...], code: int, cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled(place)
    monkeypatch.setattr("tersor.stages.search.front.Judge.loses_too_much", lambda *_: True)
    answer = cli(*optimize_net("--time-budget", "1ms", *asked))
    assert answer.code == code
    assert "warning: no candidate keeps the goal (top1 at most 1 point below float)" in answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--target", "tensorrt"), 2, "tensorrt: is not built yet; there are cpu, edge_tpu, ethos_u, micro"),
        (("--max-size", "two"), 2, "give it as 500kB, 2MB or 1.5MiB"),
        (("--max-latency", "10"), 2, "give it as 10ms, 90s or 10min"),
        (("--max-drop", "half"), 2, "is not a share"),
        (("--time-budget", "soon"), 2, "--time-budget 'soon': give it as"),
        (("--max-latency", "1ms", "--target", "micro"), 2, "says nothing about micro"),
        (("--metric", "best"), 2, "unknown metric"),
        (("--data", "x.npy", "--samples", "20"), 4, "samples are left to tune on"),
        (("--data", "wrong.npz"), 4, "label 9 is not one of the output's 5 classes"),
        (("-o", "net.tflite"), 8, "is a file; --output is the folder"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: tuple[str, ...], code: int, message: str, cli: Cli, place: Path) -> None:
    labelled(place)
    np.savez(place / "wrong.npz", x=images(200), y=np.full(200, 9))
    answer = cli(*optimize_net(*arguments))
    assert answer.code == code
    assert message in answer.err
    (line,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in answer.err
    assert line
    assert answer.out == ""
    assert not (place / "out").exists()


def test_interrupted_command_keeps_what_is_done(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(place)
    limit = 1

    class Impatient:
        """A terminal at which somebody presses Ctrl-C."""

        def __enter__(self) -> tuple[object, object]:
            return (lambda *_: None), self.announce

        def __exit__(self, *_: object) -> None: ...

        def announce(self, standing: Standing) -> None:
            if standing.done >= limit:
                raise KeyboardInterrupt

    monkeypatch.setattr("tersor.cli.live.live", lambda _: Impatient())
    answer = cli(*optimize_net())
    assert answer.code == 130
    assert "interrupted: what is done is kept" in answer.err
    assert "nothing was written" not in answer.err
    assert (place / "out" / "net.int8.tflite").exists()
    limit = 0
    answer = cli(*optimize_net("-o", "other"))
    assert answer.code == 130
    assert "interrupted before there was a result" in answer.err


def test_live_view_says_what_runs_and_what_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from tersor.cli.live import _View, live
    from test_search import candidate

    view, console = _View(10), Console(width=100, record=True, file=io.StringIO())
    console.print(view)
    view.standing = Standing("int8", 2, 9, candidate("float16", 500_000, 0.9))
    view.step = ("int8: measuring", 40, 200)
    console.print(view)
    text = console.export_text()
    assert "best so far: -" in text
    assert "3 of 9: int8" in text
    assert "int8: measuring 40 of 200" in text
    assert "best so far: float16 (500 kB, 0.90x float's time, 100.0% same answers)" in text
    with live(1) as (progress, announce):  # no terminal: nothing is shown
        progress("x", 1, None)
        announce(view.standing)


# -- compare


@pytest.fixture
def pair(place: Path, engine: Engine) -> Path:
    """A folder with `net.tflite`, `int8.tflite` and labelled data."""
    labelled(place)
    produce(classifier(), {load_recipe("int8"): place / "int8.tflite"}, list(images(30, 1)), engine=engine)
    return place


def test_compare_tells_differences_with_their_intervals(cli: Cli, pair: Path) -> None:
    answer = cli("compare", "net.tflite", "int8.tflite", "--data", "xy.npz", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["samples"] == 200
    assert 0.9 < found["agreement"] <= 1
    assert found["sqnr_db"] > 15
    low, high = found["accuracy_change"]["interval"]
    assert low <= found["accuracy_change"]["value"] <= high
    first, second = found["first"], found["second"]
    assert first["accuracy"]["value"] + found["accuracy_change"]["value"] == pytest.approx(second["accuracy"]["value"])
    assert first["latency_ratio"] == 1
    assert second["latency_ratio"] > 0
    assert second["size_bytes"] == (pair / "int8.tflite").stat().st_size


def test_compare_in_words_and_as_a_gate(cli: Cli, pair: Path) -> None:
    answer = cli("compare", "net.tflite", "int8.tflite", "--data", "xy.npz", "--max-drop", "20%")
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.out.splitlines()] == ["model", "A", "B"]
    assert "B beside A: as good in top1 (as far as 200 samples tell), " in answer.err
    assert "points of top1" in answer.err
    assert "same answer on" in answer.err
    assert "goal kept, with the whole 95 % interval: top1 at most 20 points below A" in answer.err
    weights = random([5, 8], 3)
    weights.setflags(write=False)
    tflite.write(_with(classifier(), "dense/weights", weights), pair / "bad.tflite")
    missed = cli("compare", "net.tflite", "bad.tflite", "--data", "x.npy", "--max-drop", "1%")
    assert missed.code == 9
    assert "goal MISSED: at most 1 % of the answers changed (no labels); B changes" in missed.err
    assert "float" not in missed.err


LIKELY = (
    "likely WORSE: 5.0 points of top1 are to be expected from the answers that change (measured: -3.1, which may be "
    "chance)"
)


@pytest.mark.parametrize(
    ("metric", "change", "interval", "lost", "said"),
    [
        ("top1", -0.031, (-0.05, -0.01), None, "WORSE by 3.1 points of top1"),
        ("top1", 0.031, (0.01, 0.05), 0.05, "BETTER by 3.1 points of top1"),
        ("top1", -0.031, (-0.07, 0.01), None, "as good in top1 (as far as 4 samples tell)"),
        ("top1", -0.031, (-0.07, 0.01), 0.001, "as good in top1 (as far as 4 samples tell)"),
        (
            "top1",
            -0.031,
            (-0.07, 0.01),
            0.05,
            LIKELY,
        ),
        ("mse", 0.5, (0.2, 0.8), None, "WORSE by 0.5 of mse"),
        ("mine:metric", 0.5, (0.2, 0.8), None, "mine:metric is 0.5 higher"),
        (None, None, None, None, "the same answer on 75.0 % of 4 samples"),
    ],
)
def test_headline_of_a_comparison(
    metric: str | None, change: float | None, interval: tuple[float, float] | None, lost: float | None, said: str
) -> None:
    moved = None if change is None or interval is None else Change(change, interval)
    shares = None if lost is None else np.full(4, lost)
    figures = Figures(np.ones((4, 1)), np.full((4, 1), 0.1), np.array([0, 0, 0, 1.0]), shares, moved, 0.9)
    times = Timing(2.0, 2.0, 2.0, 0.5, (0.48, 0.52), 2.0, 100)
    one, other = (Side(name, size, size, times, None) for name, size in (("a", 400), ("b", 100)))
    kind = "points" if metric == "top1" else "relative" if metric else "answers"
    found = pair_headline(Pair(one, other, figures, metric, True), Goal(0.01, kind, metric))
    assert found == f"B beside A: {said}, 4 times smaller, 2 times faster"


def test_without_data_dynamic_says_what_data_would_buy(cli: Cli, place: Path) -> None:
    labelled(place)
    told = "without --data losses are not measured"
    without = cli("quantize", "net.tflite", "--as", "dynamic,float16", "-o", "out")
    assert without.code == 0, without.err
    assert told in without.err
    assert told not in cli("quantize", "net.tflite", "--as", "dynamic", "-d", "xy.npz", "-o", "d.tflite").err
    assert "not corrected" not in cli("quantize", "net.tflite", "--as", "float16", "-o", "f.tflite").err
    searched = cli("optimize", "net.tflite", "-o", "nothing", "--time-budget", "20s")
    assert "With --data (a few hundred samples" in searched.err
    assert "dynamic and weight_only are corrected" in " ".join(searched.err.split())


def test_what_one_of_the_compared_models_states_counts_for_both(cli: Cli, pair: Path) -> None:
    """As with what optimize makes of a Keras file, which states nothing itself."""
    assert cli("params", "int8.tflite", "attach", "--rescale", "1/255").code == 0
    answer = cli("compare", "net.tflite", "int8.tflite", "--data", "xy.npz", "--samples", "50")
    assert answer.code == 0, answer.err
    assert "samples are normalized as the model states: x * 0.00392157" in answer.err
    asked = cli("compare", "net.tflite", "int8.tflite", "--data", "xy.npz", "--samples", "50", "--rescale", "1/255")
    said, wanted = ([line for line in found.err.splitlines() if "SQNR" in line] for found in (answer, asked))
    assert said == wanted
    assert cli("params", "net.tflite", "attach", "--mean", "1", "--std", "2").code == 0
    answer = cli("compare", "net.tflite", "int8.tflite", "--data", "xy.npz")
    assert answer.code == 2
    assert "net.tflite states (x - 1) / 2, int8.tflite x * 0.00392157: they take different samples" in answer.err
    assert cli("compare", "net.tflite", "int8.tflite", "--data", "xy.npz", "--samples", "50", "--as-is").code == 0


def test_labels_of_either_compared_model_give_classes_their_indices(cli: Cli, pair: Path) -> None:
    """Folders in another order than the labels: without them hardly any class would have its index."""
    names = "edcba"
    (pair / "labels.txt").write_text("\n".join(names))
    for place, image in enumerate(images(25)):
        folder = pair / "photos" / "abcde"[place % 5]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(image * 40 + 128, 0, 255).astype(np.uint8)
        Image.fromarray(pixels[0] if pixels.ndim == 4 else pixels).save(folder / f"{place}.png")
    assert cli("params", "int8.tflite", "attach", "--labels", "labels.txt").code == 0
    alone = cli("evaluate", "int8.tflite", "--data", "photos", "--json")
    both = cli("compare", "net.tflite", "int8.tflite", "--data", "photos", "--json")
    assert both.code == 0, both.err
    assert "classes have the indices that the model's labels give their names" in both.err
    assert json.loads(both.out)["second"]["accuracy"]["value"] == json.loads(alone.out)["value"]


def test_optimize_doubts_its_figures_before_it_makes_anything(cli: Cli, place: Path) -> None:
    np.save(place / "x.npy", images(200))
    answers = json.loads(cli("run", "net.tflite", "x.npy", "--json").out)
    wrong = [(int(np.argmax(next(iter(found.values())))) + 1) % 5 for found in answers]
    np.savez(place / "wrong.npz", x=images(200), y=wrong)
    answer = cli("optimize", "net.tflite", "--data", "wrong.npz", "--target", "edge_tpu", "-o", "doubted")
    doubt = "warning: the float model itself: top1 is 0 % on"
    assert answer.err.count(doubt) == 1, answer.err
    assert answer.err.index(doubt) < answer.err.index("is the pick")
    assert "Before you believe the figures" in (place / "doubted" / "report.md").read_text()


def test_compare_doubts_a_first_model_that_is_right_by_chance_only(cli: Cli, pair: Path) -> None:
    answers = json.loads(cli("run", "net.tflite", "xy.npz", "--json").out)
    wrong = [(int(np.argmax(next(iter(found.values())))) + 1) % 5 for found in answers]
    np.savez(pair / "wrong.npz", x=images(200), y=wrong)
    answer = cli("compare", "net.tflite", "int8.tflite", "--data", "wrong.npz")
    assert answer.code == 0
    assert "warning: net.tflite: top1 is 0 % on 200 samples, and guessing gets 20 %" in answer.err


def _with(model: Model, name: str, values: Array) -> Model:
    from dataclasses import replace

    graph = model.graph
    tensors = {**graph.tensors, name: replace(graph.tensors[name], data=values)}
    return replace(model, graphs=(replace(graph, tensors=tensors),))


def test_models_that_do_not_answer_alike_are_not_compared(cli: Cli, place: Path) -> None:
    builder = Builder("other")
    x = builder.input("x", [1, 6, 6, 3])
    y = dense(
        builder, builder.op("RESHAPE", [x, builder.constant("shape", [1, 108])], [1, 108], {"new_shape": [1, 108]}), 3
    )
    tflite.write(through_file(builder.model([y])), place / "other.tflite")
    answer = cli("compare", "net.tflite", "other.tflite", "--data", "x.npy")
    assert answer.code == 3
    assert "net.tflite answers 1x5, other.tflite 1x3: nothing to compare" in answer.err


# -- benchmark


def test_benchmark_times_models_in_turn(cli: Cli, pair: Path) -> None:
    answer = cli("benchmark", "net.tflite", "int8.tflite", "--rounds", "5")
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.out.splitlines()] == ["model", "net.tflite", "int8.tflite"]
    assert "1 thread, xnnpack kernels" in answer.err
    found = json.loads(cli("benchmark", "net.tflite", "int8.tflite", "--threads", "2", "--json").out)
    assert found["conditions"]["threads"] == 2
    assert [item["file"] for item in found["models"]] == ["net.tflite", "int8.tflite"]
    for item in found["models"]:
        low, high = item["latency_ratio_interval"]
        assert low <= item["latency_ratio"] <= high
        assert 0 < item["latency_ms"] < 1000
        assert item["latency_runs"] >= 5


def test_benchmark_of_what_is_no_model_is_one_line(cli: Cli, place: Path) -> None:
    (place / "bad.tflite").write_bytes(b"no model at all")
    answer = cli("benchmark", "net.tflite", "bad.tflite")
    assert answer.code == 3
    assert "bad.tflite" in answer.err


def profile_or_skip(path: Path, inputs: list[Array]) -> Profile:
    try:
        return profile(path, inputs, seconds=0.2)
    except RuntimeFailure as error:
        if "understood" in str(error) or "cannot be had" in str(error):
            pytest.skip(str(error))
        raise


def test_profiler_tells_operators_that_are_in_the_graph(engine: Engine, tmp_path: Path) -> None:
    recipe = load_recipe("int16x8")
    produce(classifier(), {recipe: tmp_path / "net.tflite"}, list(images(30)), engine=engine)
    found = profile_or_skip(tmp_path / "net.tflite", [images(1)])
    graph = tflite.read(tmp_path / "net.tflite").graph
    assert found.runs >= 5
    nodes = [item for item in found.operators if item.node is not None]
    assert {"CONV_2D", "FULLY_CONNECTED"} <= {item.kind for item in nodes}
    for item in nodes:
        assert item.node is not None
        assert graph.ops[item.node].kind == item.kind
    assert [item.node for item in nodes] == sorted(item.node for item in nodes if item.node is not None)
    assert sum(item.us for item in found.operators) <= 1.2 * found.total_us + len(found.operators)
    assert found.total_us > 0


def test_profiler_ranks_operators_by_their_work(tmp_path: Path) -> None:
    builder = Builder("uneven")
    y = dense(builder, builder.input("x", [1, 64]), 16, "small")
    y = dense(builder, y, 60_000, "large")
    y = builder.op("SOFTMAX", [y], [1, 60_000], {"beta": 1.0})
    tflite.write(through_file(builder.model([y])), tmp_path / "net.tflite")
    found = profile_or_skip(tmp_path / "net.tflite", [random([1, 64])])
    small, large = (item.us for item in found.operators if item.kind.startswith("Fully Connected"))
    assert large > 10 * max(small, 1)
    assert large < found.total_us


def test_profiler_that_is_not_understood_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tflite.write(classifier(), tmp_path / "net.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    with pytest.raises(RuntimeFailure, match=r"cannot be had for this model|crashed"):
        profile(tmp_path / "bad.tflite", [images(1)])
    monkeypatch.setattr("tersor.runtimes.profile._library", lambda: object())
    with pytest.raises(RuntimeFailure, match="no profiler that is understood here"):
        _Profiled(str(tmp_path / "net.tflite"), 1)


def test_benchmark_of_operators(cli: Cli, pair: Path) -> None:
    profile_or_skip(pair / "net.tflite", [images(1)])
    answer = cli("benchmark", "net.tflite", "int8.tflite", "--operators", "--rounds", "2")
    assert answer.code == 0, answer.err
    assert "net.tflite: operators" in answer.out
    assert "int8.tflite: operators" in answer.out
    assert "(the rest)" in answer.out
    assert "LiteRT's profiler" in answer.err
    (found,) = json.loads(cli("benchmark", "net.tflite", "--operators", "--json").out)["models"]
    operators = found["profile"]["operators"]
    assert len(operators) >= 3
    assert all(item["us"] >= 0 for item in operators)
    refused = cli("benchmark", "net.tflite", "--operators", "--kernels", "builtin")
    assert refused.code == 2
    assert "with --kernels xnnpack only" in refused.err


# -- what they rest on


class Slow:
    """Stands for a loaded model that takes the given seconds a run."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def times(self, inputs: object, seconds: float) -> list[float]:
        self.calls += 1
        own = self.seconds[self.calls % len(self.seconds)]
        time.sleep(min(own, 0.001))
        return [own] * 10


def test_timing_is_paired_and_robust() -> None:
    first, second, spiky = Slow(0.001, 0.002), Slow(0.002, 0.004), Slow(*[0.001] * 9, 0.5)
    _, timing, other = benchmark([first, second, spiky], [[], [], []])  # type: ignore[list-item]
    assert timing.ratio == pytest.approx(2)
    assert timing.ratio_interval == pytest.approx((2, 2)), "the machine's drift cancels"
    assert timing.runs == 150
    assert other.median_ms == pytest.approx(1)
    assert other.p95_ms == pytest.approx(500)
    assert timing.low_ms <= timing.median_ms <= timing.p95_ms <= timing.high_ms


def test_interval_of_a_median_holds_it_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.exponential(size=(2000, 15))
    held = [low <= np.log(2) <= high for low, high in map(median_interval, drawn.tolist())]
    assert 0.93 < statistics.fmean(held) < 0.99
    assert median_interval([1.0]) == (1.0, 1.0)


def test_memory_grows_with_the_model(tmp_path: Path) -> None:
    sizes = []
    for name, units in (("small", 8), ("large", 2_000_000)):
        builder = Builder(name)
        tflite.write(builder.model([dense(builder, builder.input("x", [1, 4]), units)]), tmp_path / name)
        sizes.append(peak_memory(tmp_path / name))
    if sizes[0] is None:
        pytest.skip("this system does not tell the memory of a process")
    small, large = sizes
    assert small is not None
    assert large is not None
    assert small < 4e6
    assert large > 32e6, "the weights alone take that much"
    (tmp_path / "bad").write_bytes(b"no model")
    assert peak_memory(tmp_path / "bad") is None


def test_engine_whose_child_crashed_goes_on_with_another(tmp_path: Path) -> None:
    tflite.write(classifier(), tmp_path / "net.tflite")
    with Engine() as engine:
        handle = engine.open(str(tmp_path / "net.tflite"))
        engine._worker._process.kill()
        with pytest.raises(RuntimeFailure, match="SIGKILL"):
            handle.run([images(1)])
        again = engine.open(str(tmp_path / "net.tflite"))
        assert again.run([images(1)])[0].shape == (1, 5)


# -- the how-to says what works

HOW_TO = DEMO.parents[1] / "docs" / "how-to" / "optimize.md"


def test_commands_and_program_of_the_how_to(place: Path, cli: Cli) -> None:
    for name in ("fashion_mnist.keras", "fashion_mnist.npz"):
        shutil.copy(DEMO.with_name(name), place)
    text = HOW_TO.read_text("utf-8")
    commands = re.findall(r"^\$ tersor (.*)$", text, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["optimize", "optimize", "quantize", "compare", "benchmark"]
    for command in commands:
        answer = cli(*shlex.split(command))
        assert answer.code == 0, answer.err
        assert "fashion_mnist" in answer.out or "candidate" in answer.out or "flavour" in answer.out
    report = json.loads((place / "out" / "report.json").read_text())
    assert all(item["size_bytes"] <= 100_000 or item["out"] for item in report["candidates"])
    assert (place / "again.tflite").read_bytes() == (place / "out" / "pick.tflite").read_bytes()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {"__name__": "how_to"}
    exec(compile(code, HOW_TO.name, "exec"), names)
    assert any("from an earlier run" in note for note in names["found"].notes)  # type: ignore[attr-defined]


def test_every_target_that_is_placed_on_is_searched_for() -> None:
    assert set(registry.names("targets")) == set(targets())


def test_how_to_names_every_target_and_candidate() -> None:
    text = HOW_TO.read_text("utf-8")
    for target in targets().values():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{target.name}` |")]
        assert all(
            name in row for name in (*target.flavours, *(k for k, islands in target.repaired.items() if islands))
        )
        assert all(name in row.split("|")[4] for name, islands in target.repaired.items() if islands)
