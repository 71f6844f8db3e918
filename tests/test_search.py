"""The search makes what a target runs, measures it on samples of its own, picks by what was asked, and goes on."""

from __future__ import annotations

import errno
import io
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from small_nets import classifier, images, unknown_operator
from tersor.data.dataset import Dataset, from_iterable
from tersor.data.feed import Sample
from tersor.errors import DataError, OutputError, PlanError, RecipeError, RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.recipe import load_recipe, parse_recipe
from tersor.report.document import document_of
from tersor.report.search import search_to_dict, write_report_json
from tersor.report.search_table import in_short, search_notes, search_table, search_verdict, search_warnings
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.stages.annotate import annotate, labels_of
from tersor.stages.benchmark import Timing
from tersor.stages.evaluate import Change, Score, doubt
from tersor.stages.export import export_c
from tersor.stages.measure_arena import arena_bytes
from tersor.stages.outcome import Options
from tersor.stages.produce import produce
from tersor.stages.quantities import milliseconds, parse_bytes, parse_seconds, size
from tersor.stages.repair.figures import Figures, classes_of, compared
from tersor.stages.repair.goal import Goal
from tersor.stages.search import PICK, RECIPE, Limits, Search, Standing, Wish, search
from tersor.stages.search.evidence import fewer_to_calibrate
from tersor.stages.search.front import Judge, is_too_noisy
from tersor.stages.search.gauge import Gauge
from tersor.stages.search.held import Held
from tersor.stages.search.journal import NAME, Journal, candidate_from, candidate_to
from tersor.stages.search.reasons import looks_better, missed, speed, why_out
from tersor.stages.search.remarks import remarks
from tersor.stages.search.result import Candidate, Left, Tried
from tersor.stages.search.targets import target_of, targets
from tersor.targets import ethos_u
from test_repair import autoencoder, signals

CPU, EDGE_TPU = target_of("cpu"), target_of("edge_tpu")


def labelled(count: int, seed: int = 0) -> Dataset:
    """Samples for `classifier` with labels of which some are right."""
    labels = np.random.default_rng(seed).integers(0, 5, count)
    return from_iterable([Sample(x[None], int(label)) for x, label in zip(images(count, seed), labels, strict=True)])


def figures(noise: float, changed: float = 0.0, samples: int = 300) -> Figures:
    """Of one output with a signal of 1 in each sample."""
    marks = 1.0 * (np.arange(samples) < changed * samples)
    return Figures(np.ones((samples, 1)), np.full((samples, 1), noise), marks, marks)


def timing(ratio: float, spread: float = 0.02, ms: float | None = None) -> Timing:
    own = ratio if ms is None else ms
    return Timing(own, own, own, ratio, (ratio * (1 - spread), ratio * (1 + spread)), own, 100)


def candidate(name: str, size: int, ratio: float = 1.0, noise: float = 1e-4, changed: float = 0.0) -> Candidate:
    own = figures(noise, changed)
    recipe = load_recipe(name.partition(".")[0])
    return Candidate(name, Path(f"{name}.tflite"), recipe, size, size, own, own, None, timing(ratio), 1000, size)


def judge(limits: Limits | None = None, target: str = "cpu") -> Judge:
    return Judge(target_of(target), limits or Limits(), Goal(0.01, "answers"))


# -- sizes and times


@pytest.mark.parametrize(
    ("text", "value"), [("2MB", 2_000_000), ("500 kB", 500_000), ("1.5MiB", 1_572_864), ("100", 100), ("1gb", 10**9)]
)
def test_sizes_are_read_as_people_write_them(text: str, value: int) -> None:
    assert parse_bytes("--max-size", text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("10ms", 0.01), ("90s", 90), ("10min", 600), ("1 h", 3600), ("50us", 5e-5)]
)
def test_times_are_read_as_people_write_them(text: str, value: float) -> None:
    assert parse_seconds("--time-budget", text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "two", "-1MB", "0MB", "2 parsecs", "1e3MB", "10ms"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RecipeError, match=r"--max-size '.*': give it as 500kB"):
        parse_bytes("--max-size", text)


@pytest.mark.parametrize("text", ["10", "10MB", "0s", "-3min"])
def test_time_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"--max-latency '.*': give it as 10ms"):
        parse_seconds("--max-latency", text)


# -- targets


def test_target_that_is_not_there_yet_says_what_is() -> None:
    with pytest.raises(RecipeError, match="tensorrt: is not built yet; there are cpu, edge_tpu, ethos_u, micro"):
        target_of("tensorrt")
    with pytest.raises(RecipeError, match="no such target"):
        target_of("toaster")


@pytest.mark.parametrize("name", targets())
def test_recipes_of_a_target_keep_its_rule(name: str) -> None:
    target = target_of(name)
    recipes = target.recipes()
    assert set(target.repaired) <= set(recipes)
    if name == "cpu":
        return
    for recipe in recipes.values():
        if recipe.name == "float32":
            assert name == "micro"
            continue
        assert recipe.scheme.compute == "integer"
        assert not recipe.float_fallback
        assert recipe.interface is not DType.FLOAT32
    assert name != "edge_tpu" or {own.scheme.activations for own in recipes.values()} == {DType.INT8}


# -- the choice


def test_fastest_is_picked_and_among_equals_the_smallest() -> None:
    fast, small, slow = candidate("float16", 500), candidate("weight_only", 260, 1.04), candidate("int8", 250, 1.5)
    assert judge().best([fast, small, slow]) is small
    assert judge().best([fast, small, replace(slow, timing=timing(0.5))]).name == "int8"  # type: ignore[union-attr]


def test_time_that_is_not_surely_longer_is_the_same() -> None:
    fast, noisy = candidate("float16", 500), replace(candidate("int8", 250), timing=timing(1.3, spread=0.5))
    assert judge().best([fast, noisy]) is noisy


def test_among_equals_the_flavour_that_comes_first_unless_another_has_less_noise() -> None:
    one, same, better = (candidate(name, 250) for name in ("int8_float_io", "int8", "int16x8"))
    assert judge().best([one, same]) is one
    better = replace(better, tuning=figures(1e-6), reporting=figures(1e-6))
    assert judge().best([one, same, better]) is better


def test_what_loses_too_much_is_picked_only_if_all_do() -> None:
    bad, worse, good = (
        candidate("dynamic", 100, 0.5, changed=0.05),
        candidate("int8", 90, 0.4, changed=0.2),
        candidate("float16", 500),
    )
    assert judge().best([bad, worse, good]) is good
    assert judge().best([worse, bad]) is bad
    (text,) = missed(judge(), bad, [worse, bad])
    assert "no candidate keeps the goal" in text
    assert "dynamic comes nearest: it changes 5.0 % of the answers" in text


def test_what_was_fitted_to_the_samples_it_is_chosen_by_is_refused_by_the_others() -> None:
    fitted, good = candidate("int8_w4", 100), candidate("int8", 250)
    fitted = replace(fitted, reporting=figures(1e-4, 0.03))
    assert judge().best([fitted, good]) is good
    assert "on the samples that were held back (not on" in why_out(judge(), good, [fitted, good])["int8_w4"]


def test_limits_hold_before_speed_and_accuracy_before_limits() -> None:
    large, small, bad = candidate("float16", 500), candidate("int8", 250, 3.0), candidate("int8_w4", 100, changed=0.2)
    assert judge(Limits(max_size=300)).best([large, small, bad]) is small
    nearest = judge(Limits(max_size=200))
    assert nearest.best([large, small, bad]) is small
    (text,) = missed(nearest, small, [large, small, bad])
    assert "nothing that keeps the goal is within --max-size 200 bytes; int8 comes nearest (250 bytes)" in text
    assert "int8_w4 is within it, but it changes 20.0 % of the answers" in text


def test_latency_that_nothing_keeps_names_the_nearest() -> None:
    quick, slow = candidate("float16", 500, 2.0), candidate("int8", 250, 3.0)
    strict = judge(Limits(max_latency_ms=1.0))
    assert strict.best([slow, quick]) is quick
    assert missed(strict, quick, [slow, quick]) == (
        "nothing that keeps the goal is within --max-latency 1 ms; float16 comes nearest (2 ms)",
    )
    assert judge(Limits(max_latency_ms=2.5)).best([slow, quick]) is quick
    assert not missed(judge(Limits(max_latency_ms=2.5)), quick, [slow, quick])


def test_time_plays_no_part_where_this_machine_is_not_the_target() -> None:
    slow, large = candidate("int8", 250, 9.0), candidate("uint8", 300, 0.1)
    assert judge(target="edge_tpu").best([slow, large]) is slow
    assert "slow" not in why_out(judge(target="edge_tpu"), slow, [slow, large])["uint8"].lower()


def scored(item: Candidate, change: float, spread: float = 0.02, metric: str = "top1") -> Candidate:
    found = Change(change, (change - spread, change + spread))
    own = [None if part is None else replace(part, change=found, score=0.9) for part in (item.tuning, item.reporting)]
    return replace(item, score=Score(metric, 0.9 + change, (0.8, 0.95), 300), tuning=own[0], reporting=own[1])


@pytest.mark.parametrize(
    ("change", "spread", "metric", "said"),
    [
        (0.004, 0.02, "top1", "that its top1 is 0.4 points higher on these 300 samples is no more than chance makes"),
        (-0.004, 0.02, "top1", ""),
        (0.1, 0.02, "top1", ""),  # surely higher: then it is not for chance that it is out
        (-0.004, 0.02, "mse", "that its mse is 0.004 lower on these 300 samples is no more than chance makes"),
        (0.004, 0.02, "module:function", ""),
    ],
)
def test_rival_whose_score_looks_better_has_its_reason(change: float, spread: float, metric: str, said: str) -> None:
    pick = scored(candidate("int8", 100), 0.0, spread, metric)
    rival = scored(candidate("uint8", 100, noise=1e-2), change, spread, metric)
    found = looks_better(rival, pick)
    assert said in found
    assert bool(said) == bool(found)
    assert bool(said) == ("no more than chance" in why_out(judge(), pick, [pick, rival])["uint8"])


def test_a_limit_is_told_in_points_where_it_is_one_of_points() -> None:
    assert [Goal(drop, "points", "top1").limit for drop in (0.01, 0.005, 0.02)] == ["1 point", "0.5 points", "2 points"]
    assert {Goal(0.01, kind, "mse").limit for kind in ("relative", "answers", "noise")} == {"1 %"}
    bad, points = scored(candidate("int8", 100), -0.3), replace(judge(), goal=Goal(0.01, "points", "top1"))
    text = why_out(points, candidate("dynamic", 90), [bad])["int8"]
    assert text.startswith("it loses 30.0 points of top1 (95 %: 28.0 to 32.0), more than 1 point")


@pytest.mark.parametrize(
    ("interval", "noisy"), [((0.95, 1.05), False), ((0.8, 1.05), True), ((0.97, 1.3), True), ((0.4, 0.9), False)]
)
def test_times_that_tell_nothing_are_called_so(interval: tuple[float, float], noisy: bool) -> None:
    item = replace(candidate("int8", 100), timing=replace(timing(1.0), ratio_interval=interval))
    assert ("times here are too noisy to tell" in speed(item)) == noisy == is_too_noisy(interval)
    found = " ".join(remarks(judge(), replace(item, name="float"), None, cast(Journal, None), 1))
    wide = noisy or interval == (0.4, 0.9)  # beside itself a file takes its own time
    assert ("times are too noisy to rank candidates by" in found) == wide
    assert (": so sure are times here" in found) != wide


def test_without_data_only_what_does_no_harm_is_picked() -> None:
    blind = Judge(CPU, Limits(), None)
    found = [
        replace(candidate(name, size), tuning=None, reporting=None)
        for name, size in (("float32", 1000), ("float16", 500), ("dynamic", 250))
    ]
    assert blind.best(found) is found[1]
    assert "not known" in why_out(blind, found[1], found)["dynamic"]
    assert Judge(CPU, Limits(max_size=300), None).best(found) is found[2]


def test_each_that_is_not_picked_has_its_reason() -> None:
    pick = candidate("weight_only", 250)
    others = {
        "slower": candidate("dynamic", 250, 1.5),
        "larger": candidate("float16", 500),
        "loses": candidate("int8_w4", 120, changed=0.1),
        "noisier": candidate("int8", 250, noise=1e-2),
        "alike": candidate("int8_float_io", 250),
    }
    why = why_out(judge(), pick, [pick, *others.values()])
    assert why["dynamic"].startswith("it takes 1.50 times the time of float (95 %: 1.47 to 1.53)")
    assert why["float16"] == "it is 2 times as large as weight_only, and not clearly faster"
    assert "10.0 % of the answers" in why["int8_w4"]
    assert "more than 1 %" in why["int8_w4"]
    assert "less noise" in why["int8"]
    assert "nothing speaks for it" in why["int8_float_io"]
    assert "weight_only" not in why


@st.composite
def some(draw: st.DrawFn) -> list[Candidate]:
    numbers = st.tuples(st.integers(1, 5), st.sampled_from([0.5, 0.52, 1.0, 2.0]), st.sampled_from([0.0, 0.01, 0.1]))
    return [
        candidate(f"int8.{n}", 100 * size, ratio, changed=lost)
        for n, (size, ratio, lost) in enumerate(draw(st.lists(numbers, min_size=1, max_size=8)))
    ]


@settings(deadline=None, max_examples=50)
@given(some())
def test_front_holds_what_nothing_beats(found: list[Candidate]) -> None:
    own = judge()
    front = own.front(found)
    assert front
    for item in found:
        assert (item.name in front) == (not any(own.dominates(other, item) for other in found))
        assert not own.dominates(item, item)


@settings(deadline=None, max_examples=50)
@given(some(), st.one_of(st.none(), st.integers(50, 600)))
def test_pick_keeps_every_limit_if_anything_does(found: list[Candidate], limit: int | None) -> None:
    own = judge(Limits(max_size=limit))
    pick = own.best(found)
    assert pick is not None
    assert own.keeps_all(pick) == any(map(own.keeps_all, found))


# -- samples


@pytest.mark.parametrize(
    ("count", "has_other", "asked", "found"),
    [(1000, False, 100, 100), (120, False, 100, 80), (60, False, 100, 20), (60, True, 100, 40), (30, False, 100, 10)],
)
def test_fewer_are_calibrated_on_where_samples_are_scarce(count: int, has_other: bool, asked: int, found: int) -> None:
    data = from_iterable(list(range(count)))
    assert fewer_to_calibrate(data, data if has_other else None, asked) == found
    assert fewer_to_calibrate(replace(data, size=None), None, asked) == asked


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_held_samples_give_what_a_comparison_side_by_side_gives(
    kept: int, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tersor.stages.search.held._KEPT", kept)
    float_path, path, data = tmp_path / "net.tflite", tmp_path / "int8.tflite", labelled(70)
    tflite.write(classifier(), float_path)
    produce(classifier(), {load_recipe("int8"): path}, list(images(30, 1)), engine=engine)
    classes = classes_of([[np.array([[0.25, 0.75]])]], "top1")
    counts: list[int] = []
    held = Held(float_path, data, classes, "top1", engine, counts.append)
    found, wanted = held.figures(path, counts.append), compared(float_path, path, data, classes, "top1", engine)
    assert counts == [*range(1, 71), *range(1, 71)]
    assert held.count == 70
    assert np.array_equal(found.noise, wanted.noise)
    assert found.scores == wanted.scores
    assert found.scores is not None
    assert held.score == found.scores[0]
    other = Held(float_path, labelled(70, 1), classes, "top1", engine, counts.append)
    assert held.digest == Held(float_path, labelled(70), classes, "top1", engine, counts.append).digest != other.digest


# -- the journal


def full(folder: Path) -> Candidate:
    """With something in every field."""
    path = folder / "net.int8.tflite"
    path.write_bytes(b"model")
    score = Score("top1", 0.5, (0.4, 0.6), 100)
    own = Figures(
        np.random.default_rng(0).random((7, 2)),
        np.random.default_rng(1).random((7, 2)),
        np.arange(7.0),
        np.arange(7.0) / 3,
        Change(0.1, (-math.inf, 0.2)),
        0.5,
        (score, score),
    )
    return Candidate(
        "int8.repaired", path, load_recipe("int8_w4"), 5, 4, own, own, score, timing(0.7), 99, 7,
        (Left("COS", "wave", "no kernel"),), ("careful",), (Tried("mse", "does", True, "helps", 1.5, 2.0),), 3.0,
        8,
    )  # fmt: skip


def test_candidate_comes_back_from_json_as_it_was(tmp_path: Path) -> None:
    item = full(tmp_path)
    again = candidate_from(json.loads(json.dumps(candidate_to(item))), item.path)
    for name in (field for field in Candidate.__dataclass_fields__ if field not in ("tuning", "reporting")):
        assert getattr(again, name) == getattr(item, name), name
    assert again.tuning is not None
    assert item.tuning is not None
    for name in ("signal", "noise", "changed", "lost"):
        assert np.array_equal(getattr(again.tuning, name), getattr(item.tuning, name))
    assert (again.tuning.change, again.tuning.scores) == (item.tuning.change, item.tuning.scores)
    assert candidate_from(candidate_to(replace(item, tuning=None, timing=None)), item.path).tuning is None


def test_journal_is_good_for_its_key_and_for_files_that_did_not_change(tmp_path: Path) -> None:
    item = full(tmp_path)
    Journal(tmp_path, "key").put_candidate(item.name, item)
    known = Journal(tmp_path, "key").candidate(item.name)
    assert known is not None
    assert known.path == item.path
    assert len(Journal(tmp_path, "key", fresh=True)) == 0
    other = Journal(tmp_path, "other")
    assert other.is_of_other
    assert other.candidate(item.name) is None
    item.path.write_bytes(b"changed")
    assert Journal(tmp_path, "key").candidate(item.name) is None
    item.path.unlink()
    assert Journal(tmp_path, "key").candidate(item.name) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": "key"}', '{"key": "key", "entries": {"a": {}}}'])
def test_damaged_journal_counts_as_empty(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    assert Journal(tmp_path, "key").candidate("a") is None


# -- the whole of it

WISH = Wish(options=Options(calibration_samples=40, evaluation_samples=60), limits=Limits(0.2))


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Times are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tersor.stages.search.gauge._ROUNDS", 5)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, list[Standing]]:
    """A search for a CPU, made once."""
    folder = tmp_path_factory.mktemp("search")
    tflite.write(classifier(), folder / "net.tflite")
    told: list[Standing] = []
    model = tflite.read(folder / "net.tflite")
    return search(model, folder / "out", labelled(200), wish=WISH, announce=told.append), told


def test_every_flavour_is_made_and_measured(made: tuple[Search, list[Standing]]) -> None:
    found, told = made
    assert [item.name for item in found.candidates][: len(CPU.flavours)] == list(CPU.flavours)
    for item in found.candidates:
        assert item.path.stat().st_size == item.size_bytes > item.gzip_bytes > 0
        assert item.reporting is not None
        assert item.reporting.samples == 60
        assert item.score is not None
        assert item.timing is not None
        assert item.timing.runs >= 5
        assert item.arena_bytes > 0
    assert found.reference.score == found.candidates[0].score
    assert [standing.running for standing in told][: len(CPU.flavours)] == list(CPU.flavours)
    assert told[0].best is None
    assert told[-1].best is not None
    assert found.is_reached
    assert found.pick in found.front


def test_pick_lies_under_its_own_name_and_its_recipe_makes_it_again(
    made: tuple[Search, list[Standing]], tmp_path: Path
) -> None:
    found, _ = made
    assert found.picked is not None
    assert (found.folder / PICK).read_bytes() == found.picked.path.read_bytes()
    model, data = tflite.read(found.folder.parent / "net.tflite"), labelled(200)
    text = (found.folder / RECIPE).read_text()
    assert parse_recipe(text, "again").scheme == found.picked.recipe.scheme  # type: ignore[union-attr]
    for item in found.candidates:
        recipe = load_recipe(item.path.with_suffix(".recipe.toml"))
        assert recipe == item.recipe
        produce(model, {recipe: tmp_path / "again.tflite"}, data, options=Options(40))
        assert (tmp_path / "again.tflite").read_bytes() == item.path.read_bytes(), item.name


def test_report_has_the_form_that_is_promised(made: tuple[Search, list[Standing]], tmp_path: Path) -> None:
    found, _ = made
    write_report_json(found, tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == json.loads(json.dumps(search_to_dict(found)))
    wanted = {"name", "file", "accuracy", "accuracy_interval", "agreement", "size_bytes", "gzip_bytes", "latency_ms"}
    for own in (report["float"], *report["candidates"]):
        assert own.keys() >= wanted | {"latency_ratio", "peak_bytes"}
    assert report["pick"] == found.pick
    assert report["schema_version"] == 1
    assert all(isinstance(text, str) for text in report["reasons"])
    reference = (Path(__file__).parents[1] / "docs" / "reference" / "report.md").read_text()
    keys = [*report, *report["candidates"][0], *report["conditions"], *report["limits"], *report["not_tried"][:1]]
    assert [key for key in keys if f"`{key}`" not in reference and isinstance(key, str)] == []


def test_table_and_notes_say_what_was_found(made: tuple[Search, list[Standing]]) -> None:
    found, _ = made
    table = search_table(found)
    assert table.row_count == 1 + len(found.candidates)
    narrow = search_table(found, is_narrow=True)
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(narrow)
    assert max(len(line.rstrip()) for line in console.export_text().splitlines()) <= 80
    notes = "\n".join(search_notes(found, found.folder / "report.json"))
    pick, goal = search_verdict(found)
    assert f"{found.pick} is the pick" in pick
    assert goal.startswith("The goal (top1 at most 20 points below float)")
    assert all(f"{item.name} is out: " in notes for item in found.candidates if item.name != found.pick)
    assert "calibrated on 40 samples, chosen by 80 others, figures from 60 further ones" in notes
    assert "ms: median and 95th percentile of runs with 1 thread on the xnnpack kernels" in notes
    assert "memory: " in notes
    short = "\n".join(search_notes(found, found.folder / "report.json", is_narrow=True))
    assert "x float: times of runs with 1 thread" in short
    assert "memory: " not in short
    assert not [text for text in search_warnings(found) if "MISSED" in text]
    assert found.picked is not None
    assert found.picked.name in in_short(found.picked)


def refuse_to_make(*_: object) -> Candidate:
    pytest.fail("made again")


def copied(found: Search, folder: Path) -> Path:
    shutil.copytree(found.folder, folder / "out")
    return folder / "out"


def test_same_search_again_makes_nothing(
    made: tuple[Search, list[Standing]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = made
    model, folder = tflite.read(found.folder.parent / "net.tflite"), copied(found, tmp_path)
    monkeypatch.setattr(Gauge, "candidate", refuse_to_make)
    again = search(model, folder, labelled(200), wish=WISH)
    assert [item.name for item in again.candidates] == [item.name for item in found.candidates]
    assert (again.pick, again.reasons, again.front) == (found.pick, found.reasons, found.front)
    assert any("from an earlier run" in note for note in again.notes)
    stricter = search(model, folder, labelled(200), wish=replace(WISH, limits=Limits(0.2, max_size=1)))
    assert not stricter.is_reached
    assert "comes nearest" in stricter.missed[0]


def test_what_was_damaged_and_what_is_of_other_data_is_made_anew(
    made: tuple[Search, list[Standing]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = made
    model, folder = tflite.read(found.folder.parent / "net.tflite"), copied(found, tmp_path)
    (folder / "net.dynamic.tflite").write_bytes(b"damaged")
    done: list[str] = []
    candidate_of = Gauge.candidate

    def counted(self: Gauge, name: str, *rest: object) -> Candidate:
        done.append(name)
        return candidate_of(self, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Gauge, "candidate", counted)
    again = search(model, folder, labelled(200), wish=WISH)
    assert done == ["dynamic"]
    assert again.named("dynamic").path.read_bytes() == found.named("dynamic").path.read_bytes()
    done.clear()
    named = annotate(model, labels=tuple("abcde"))
    search(named, folder, labelled(200), wish=replace(WISH, minutes=0))
    assert done == ["float32"]
    assert labels_of(tflite.read(folder / PICK)) == labels_of(named)
    done.clear()
    other = search(model, folder, labelled(200, seed=1), wish=replace(WISH, minutes=0))
    assert done == ["float32"]
    assert any("another model, data" in note for note in other.notes)


def test_interrupted_search_keeps_what_is_done_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    wish = replace(WISH, target="micro")

    def enough(standing: Standing) -> None:
        if standing.done == 2:
            raise KeyboardInterrupt

    found = search(classifier(), folder, labelled(200), wish=wish, announce=enough)
    assert found.interrupted
    assert [item.name for item in found.candidates] == ["float32", "int8"]
    assert found.not_tried["int16x8"] == "interrupted"
    assert (folder / PICK).exists()
    assert "the same command goes on" in " ".join(search_warnings(found))
    again = search(classifier(), folder, labelled(200), wish=wish)
    assert [item.name for item in again.candidates][:3] == ["float32", "int8", "int16x8"]
    assert any("2 candidates are from an earlier run" in note for note in again.notes)
    assert not again.interrupted

    def at_once(_: Standing) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(classifier(), tmp_path / "other", labelled(200), wish=wish, announce=at_once)


def test_when_the_time_is_up_it_is_said_what_was_not_tried(engine: Engine, tmp_path: Path) -> None:
    found = search(classifier(), tmp_path, labelled(200), wish=replace(WISH, minutes=0), engine=engine)
    assert [item.name for item in found.candidates] == ["float32"]
    assert found.not_tried == dict.fromkeys(CPU.flavours[1:], "the time was up")


def test_without_data_what_needs_none_is_made_and_what_data_would_bring_is_said(engine: Engine, tmp_path: Path) -> None:
    found = search(classifier(), tmp_path, engine=engine)
    assert [item.name for item in found.candidates] == ["float32", "float16", "weight_only", "dynamic"]
    assert (found.goal, found.verdict) == (None, None)
    assert found.picked is not None
    assert found.picked.recipe is not None
    assert found.picked.recipe.scheme.weights in (DType.FLOAT16, DType.FLOAT32)
    assert "not measured, as there is no data" in found.reasons[0]
    assert "With --data" in found.notes[0]
    assert all((item.score, item.reporting) == (None, None) for item in found.candidates)
    assert json.loads(json.dumps(search_to_dict(found)))["candidates"][0]["accuracy"] is None
    assert search_table(found).row_count == 5


def test_integer_target_without_labels_is_judged_by_answers(engine: Engine, tmp_path: Path) -> None:
    wish = replace(WISH, target="edge_tpu")
    found = search(classifier(), tmp_path, list(images(200)), wish=wish, engine=engine)
    assert [item.name for item in found.candidates][:2] == ["int8", "uint8"]
    assert found.goal is not None
    assert found.goal.kind == "answers"
    titles = [str(column.header) for column in search_table(found).columns]
    assert titles[-1] == "activations"
    assert not {"memory", "ms (p95)"} & set(titles)
    assert "activations: the least memory" in "\n".join(search_notes(found, found.folder / "report.json"))
    assert found.picked is not None
    assert found.picked.agreement is not None
    types = {
        tensor.dtype for tensor in tflite.read(found.folder / PICK).graph.tensors.values() if not tensor.is_constant
    }
    assert types == {DType.INT8}


def test_repair_makes_a_candidate_of_what_loses_too_much(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = replace(ethos_u.TARGET, flavours=("int8",), adjust=lambda recipe: replace(recipe, algorithms=()))
    monkeypatch.setattr(ethos_u, "TARGET", replace(plain, repaired={"int8": "none"}))
    wish = Wish("ethos_u", Limits(0.00001), Options(60), minutes=1)
    found = search(autoencoder(30), tmp_path, signals(200), wish=wish, engine=engine)
    repaired = [item for item in found.candidates if item.tried]
    assert repaired, found.not_tried
    for item in repaired:
        base = found.named(item.name.removesuffix(".repaired"))
        assert item.sqnr_db is not None
        assert base.sqnr_db is not None
        assert item.sqnr_db > base.sqnr_db + 0.3
        assert any(step.kept for step in item.tried[1:])
    assert not found.is_reached
    assert "no candidate keeps the goal" in found.missed[0]
    report = search_to_dict(found)
    assert any(own["repair"] for own in report["candidates"])
    again = search(autoencoder(30), tmp_path, signals(200), wish=wish, engine=engine)
    assert [item.tried for item in again.candidates] == [item.tried for item in found.candidates]


# -- what is refused


def test_target_that_forbids_every_candidate_is_named_with_its_rule(engine: Engine, tmp_path: Path) -> None:
    data = [np.random.default_rng(number).uniform(-1, 1, (1, 4)).astype(np.float32) for number in range(100)]
    with pytest.raises(PlanError, match=r"edge_tpu runs 8-bit integers only.*\n  int8: .*COS: .*\n  uint8: ") as raised:
        search(unknown_operator(), tmp_path, data, wish=replace(WISH, target="edge_tpu"), engine=engine)
    assert "wave" in str(raised.value)


@pytest.mark.parametrize(
    ("wish", "data", "error", "message"),
    [
        (Wish("edge_tpu"), None, PlanError, "edge_tpu runs 8-bit integers only, .* give --data"),
        (Wish("tensorrt"), None, RecipeError, "not built yet"),
        (Wish(limits=Limits(0.01, is_default=False)), None, RecipeError, "give --data"),
        (Wish("micro", Limits(max_latency_ms=1)), 200, RecipeError, "says nothing about micro"),
        (Wish(limits=Limits(0.5)), 200, RecipeError, "half a percent is 0.5% or 0.005"),
        (Wish(options=Options(metric="top0")), 200, RecipeError, "unknown metric"),
        (WISH, 30, DataError, "samples are left to tune on"),
        (replace(WISH, scarce=False), 70, DataError, "samples are left to tune on"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    wish: Wish, data: int | None, error: type[Exception], message: str, engine: Engine, tmp_path: Path
) -> None:
    samples = None if data is None else labelled(data)
    with pytest.raises(error, match=message):
        search(classifier(), tmp_path / "out", samples, wish=wish, engine=engine)
    assert not (tmp_path / "out").exists()


def test_labels_that_do_not_fit_are_refused_at_once(engine: Engine, tmp_path: Path) -> None:
    data = from_iterable([Sample(x[None], 7) for x in images(200)])
    with pytest.raises(DataError, match="label 7 is not one of the output's 5 classes"):
        search(classifier(), tmp_path / "out", data, wish=WISH, engine=engine)


def test_labels_that_are_hardly_ever_right_are_doubted(engine: Engine, tmp_path: Path) -> None:
    found = search(
        classifier(), tmp_path, from_iterable([Sample(x[None], 4) for x in images(200)]),
        wish=replace(WISH, minutes=0), engine=engine,
    )  # fmt: skip
    assert found.reference.score is not None
    is_doubted = any("and guessing gets 20 %" in text for text in search_warnings(found))
    assert is_doubted == (doubt(found.reference.score) is not None)


def test_quantized_model_and_a_file_for_a_folder_are_refused(engine: Engine, tmp_path: Path) -> None:
    produce(classifier(), {load_recipe("int8"): tmp_path / "int8.tflite"}, list(images(30)), engine=engine)
    with pytest.raises(UnsupportedError, match="already quantized"):
        search(tflite.read(tmp_path / "int8.tflite"), tmp_path / "out", engine=engine)
    with pytest.raises(OutputError, match="is the folder for all variants"):
        search(classifier(), tmp_path / "int8.tflite", engine=engine)
    tflite.write(classifier(), tmp_path / PICK)
    with pytest.raises(OutputError, match="would replace the float model"):
        search(tflite.read(tmp_path / PICK), tmp_path, engine=engine)


def test_full_disk_is_one_line_and_leaves_no_half_file(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = tflite.write

    def full_disk(model: object, path: Path) -> None:
        if "dynamic" in path.name:
            monkeypatch.setattr(import_module("tersor.formats.tflite.write"), "chunks", half)
        write(model, path)  # type: ignore[arg-type]

    def half(_: object) -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tflite, "write", full_disk)
    with pytest.raises(OutputError) as told:
        search(classifier(), tmp_path, labelled(200), wish=WISH, engine=engine)
    assert str(told.value) == (
        f"{tmp_path / 'model.dynamic.tflite'}: cannot be written: No space left on device; 3 candidates are done and "
        "kept: make room, and the same command goes on"
    )
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {NAME, *(f"model.{name}.tflite" for name in ("float32", "float16", "weight_only"))}


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (303_812, "304 kB"),
        (999_600, "1 MB"),
        (2_063_000, "2.06 MB"),
        (240_500_000, "240 MB"),
        (5_120_000_000_000, "5120 GB"),
    ],
)
def test_a_size_in_words_has_three_digits(count: int, said: str) -> None:
    assert size(count) == said


def test_a_time_in_words_has_three_digits() -> None:
    assert [milliseconds(value) for value in (0.0874, 999.4, 999.7)] == ["0.0874 ms", "999 ms", "1 s"]


# -- microcontrollers


def for_micro(folder: Path, **more: object) -> Search:
    wish = Wish(target="micro", options=Options(40), limits=Limits(max_drop=0.2), minutes=1)
    return search(classifier(), folder, labelled(200), wish=wish, **more)  # type: ignore[arg-type]


@pytest.mark.skipif(not tflite_micro.is_installed(), reason="tflite-micro is not installed")
def test_arena_of_a_microcontroller_is_measured(tmp_path: Path, engine: Engine) -> None:
    found = for_micro(tmp_path / "out", engine=engine)
    assert "arena" in {column.header for column in search_table(found).columns}
    for item in found.candidates:
        assert item.measured_arena_bytes == item.memory_bytes == export_c(item.path, tmp_path / "c").arena_bytes
    assert found.picked is not None
    assert "in TensorFlow Lite Micro, float's" in found.reasons[0]
    assert not any("pip install" in note for note in found.notes)
    report = document_of(json.loads(json.dumps(search_to_dict(found))))
    assert [item.measured_arena_bytes for item in report.candidates] == [item.memory_bytes for item in found.candidates]


def test_arena_that_cannot_be_measured_is_computed_and_the_extra_named(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite_micro, "is_installed", lambda: False)
    found = for_micro(tmp_path / "out", engine=engine)
    assert {item.measured_arena_bytes for item in found.candidates} == {None}
    assert any("pip install 'tersor[micro]'" in note for note in found.notes)
    assert "activations" in {column.header for column in search_table(found).columns}


def test_file_that_a_microcontroller_refuses_is_no_candidate(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_floats(model: Model, path: Path) -> int:
        if model.graph.tensors[model.graph.inputs[0]].dtype is DType.FLOAT32:
            raise RuntimeFailure("TensorFlow Lite Micro refuses the model: no room")
        return 1024

    monkeypatch.setattr("tersor.stages.search.gauge.arena_bytes", refuse_floats)
    found = for_micro(tmp_path / "out", engine=engine)
    assert found.not_tried["float32"] == "TensorFlow Lite Micro refuses the model: no room"
    assert {item.measured_arena_bytes for item in found.candidates} == {1024}
    assert found.reference.measured_arena_bytes is None
    assert "float's is not to be had" in found.reasons[0]
    monkeypatch.setattr(
        "tersor.stages.measure_arena.operators", lambda _ops: type("Used", (), {"missing": ("COS",), "custom": ()})
    )
    monkeypatch.setattr("tersor.stages.search.gauge.arena_bytes", arena_bytes)
    with pytest.raises(PlanError, match=r"\n  float32: TensorFlow Lite Micro has no kernel for COS"):
        for_micro(tmp_path / "other", engine=engine)
