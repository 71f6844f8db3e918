"""Sensitivity finds the operator that a network was made to suffer from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Cli
from small_nets import conv, random, through_file
from tersor.cache import Cache
from tersor.errors import DataError, PlanError, RuntimeFailure
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.recipe import Rule, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.sensitivity import Ranking, sensitivity
from tersor.stages.sensitivity.measure import Measure, side_by_side


def network() -> Model:
    """Three convolutions and a RESHAPE."""
    builder = Builder()
    x = builder.input("x", [1, 6, 6, 3])
    for name in ("first", "bad", "last"):
        x = conv(builder, x, 8, name=name)
    return through_file(
        builder.model([builder.op("RESHAPE", [x, builder.constant("s", [1, 288])], [1, 288], {"new_shape": (1, 288)})])
    )


RECIPE = replace(load_recipe("int8"), rules=(Rule((("weights", "int4"),), names=("bad",)),))
"""Four bits for one layer."""

SAMPLES: list[Array] = [random([1, 6, 6, 3], seed) for seed in range(30)]


def test_bad_operator_comes_first(engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:20], engine=engine)
    seen: list[tuple[int, int]] = []
    found = sensitivity(model, RECIPE, statistics, SAMPLES[20:], engine=engine, progress=lambda *now: seen.append(now))
    assert found.operators[0].name == "bad"
    assert {row.name for row in found.operators} == {"first", "bad", "last"}, "a RESHAPE only moves values"
    assert found.samples == 10
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for row in found.operators:
        assert row.gain_db == pytest.approx(row.spared_db - found.whole_db)
        assert row.alone_db > found.whole_db or row.name == "bad"
    others = [row for row in found.operators if row.name != "bad"]
    assert min(row.alone_db for row in others) > found.operators[0].alone_db + 10
    assert found.operators[0].gain_db > 10


def test_needs_something_to_measure(engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:5], engine=engine)
    with pytest.raises(DataError, match="no samples"):
        sensitivity(model, load_recipe("int8"), statistics, [], engine=engine)
    with pytest.raises(PlanError, match="float32 quantizes no operator"):
        sensitivity(model, load_recipe("float32"), statistics, SAMPLES, engine=engine)


def test_figures_do_not_depend_on_the_number_of_jobs(engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:20], engine=engine)
    given = (model, RECIPE, statistics, SAMPLES[20:])
    assert sensitivity(*given, engine=engine) == sensitivity(*given, jobs=2) == sensitivity(*given, jobs=5)


def test_failure_in_a_job_is_raised_here(engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:20], engine=engine)
    with pytest.raises(RuntimeFailure, match="KeyError: 'nobody'"):
        list(
            side_by_side(2, model, replace(RECIPE, float_fallback=True), statistics, [[SAMPLES[0]]], ["bad", "nobody"])
        )


def measured(cache: Cache, engine: Engine, jobs: int = 1, **changes: object) -> tuple[Ranking, list[int]]:
    """The ranking, and the progress that was reported: of each operator that had to be measured."""
    model, seen = network(), list[int]()
    recipe = replace(RECIPE, **{key: value for key, value in changes.items() if key != "samples"})  # type: ignore[arg-type]
    samples = changes.get("samples", SAMPLES[20:])
    statistics = calibrate(model, SAMPLES[:20], engine=engine)
    found = sensitivity(
        model,
        recipe,
        statistics,
        samples,  # type: ignore[arg-type]
        engine=engine,
        jobs=jobs,
        cache=cache,
        progress=lambda done, _: seen.append(done),
    )
    return found, seen


def test_nothing_is_measured_twice(tmp_path: Path, engine: Engine) -> None:
    cache = Cache(tmp_path)
    first, seen = measured(cache, engine)
    assert seen == [1, 2, 3]
    assert measured(cache, engine) == (first, [])
    assert measured(cache, engine, jobs=2) == (first, [])
    assert len(measured(cache, engine, samples=SAMPLES[21:])[1]) == 3
    assert len(measured(cache, engine, observer="moving_average")[1]) == 3
    assert len(measured(cache, engine, rules=())[1]) == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_run_goes_on(jobs: int, tmp_path: Path, engine: Engine) -> None:
    model = network()
    statistics = calibrate(model, SAMPLES[:20], engine=engine)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sensitivity(
            model, RECIPE, statistics, SAMPLES[20:], engine=engine, jobs=jobs, cache=Cache(tmp_path), progress=interrupt
        )
    found, seen = measured(Cache(tmp_path), engine)
    assert seen == [2, 3]
    assert found == measured(Cache(tmp_path / "other"), engine)[0]


def test_a_cache_that_cannot_be_used_breaks_nothing(tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "file"
    path.write_text("in the way")
    nowhere = Cache(path / "folder")
    first, seen = measured(nowhere, engine)
    assert (seen, measured(nowhere, engine)[1]) == ([1, 2, 3], [1, 2, 3])
    damaged = Cache(tmp_path)
    damaged.path.write_bytes(b"no database" * 1000)
    assert measured(damaged, engine) == (first, [1, 2, 3])
    assert measured(damaged, engine) == (first, [])


def test_command_answers_at_once_the_second_time(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("sensitivity", "net.tflite", "--data", "x.npy", "--samples", "14", "--json")
    first = cli(*arguments, "--jobs", "2")
    assert first.code == 0
    assert "2 values" not in cli("cache").out
    monkeypatch.setattr(Measure, "of", None)
    assert cli(*arguments, "--jobs", "1").out == first.out
    with pytest.raises(TypeError):
        cli(*arguments, "--jobs", "1", "--no-cache")
    assert ": 0 values" in cli("cache", "--clear").out
    monkeypatch.setenv("TERSOR_CACHE", "off")
    assert cli("cache").out == "off (TERSOR_CACHE)\n"


def test_command(cli: Cli) -> None:
    answer = cli("sensitivity", "net.tflite", "--data", "x.npy", "--samples", "14")
    assert answer.code == 0
    assert answer.out.splitlines()[0].split() == ["operator", "kind", "alone", "spared", "gain"]
    assert "SQNR of the worst output in dB on 10 samples" in answer.err
    found = json.loads(cli("sensitivity", "net.tflite", "--data", "x.npy", "--samples", "14", "--json").out)
    assert {row["name"] for row in found["operators"]} >= {"conv", "dense"}
