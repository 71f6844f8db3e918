"""Sensitivity finds the operator that a network was made to suffer from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from conftest import Cli
from small_nets import conv, random, through_file
from tersor.errors import DataError, PlanError
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.recipe import Rule, load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.sensitivity import sensitivity


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


def test_command(cli: Cli) -> None:
    answer = cli("sensitivity", "net.tflite", "--data", "x.npy", "--samples", "14")
    assert answer.code == 0
    assert answer.out.splitlines()[0].split() == ["operator", "kind", "alone", "spared", "gain"]
    assert "SQNR of the worst output in dB on 10 samples" in answer.err
    found = json.loads(cli("sensitivity", "net.tflite", "--data", "x.npy", "--samples", "14", "--json").out)
    assert {row["name"] for row in found["operators"]} >= {"conv", "dense"}
