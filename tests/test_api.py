"""The public names, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tersor
from small_nets import classifier, images

HEAVY = {"numpy", "ai_edge_litert", "flatbuffers", "h5py", "PIL"}
"""Packages that take long to import."""


@pytest.mark.parametrize("name", tersor.__all__)
def test_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(tersor, name)
    assert name in dir(tersor)
    if not name.startswith("__"):
        assert inspect.getdoc(value)
        assert not inspect.getdoc(value).startswith(f"{name}(")  # type: ignore[union-attr]


def test_public_names_are_typed() -> None:
    """`mypy` sees the same names as the running program."""
    source = inspect.getsource(tersor)
    assert all(f" import {name} as {name}\n" in source for name in tersor.__all__ if name != "__version__")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tersor' has no attribute 'quantise'"):
        _ = tersor.quantise


def test_whole_spine_as_library_calls(tmp_path: Path) -> None:
    tersor.save(classifier(), tmp_path / "net.tflite")
    model = tersor.load(tmp_path / "net.tflite")
    np.savez(tmp_path / "xy.npz", x=images(20), y=np.arange(20) % 5)
    data = tersor.load_data(str(tmp_path / "xy.npz"), model, tersor.Preprocess(rescale=2.0))
    statistics = tersor.calibrate(model, data)
    plan = tersor.plan(model, tersor.load_recipe("int8"), statistics)
    result = tersor.quantize(model, plan)
    tersor.save(result, tmp_path / "net.int8.tflite")
    seen = tersor.verify(tmp_path / "net.int8.tflite", model, list(data)[:4])
    assert all(item.sqnr_db > 15 for item in seen)
    score = tersor.evaluate(tmp_path / "net.int8.tflite", data)
    assert score.samples == 20
    (output,) = next(iter(tersor.run(tmp_path / "net.int8.tflite", data))).values()
    assert output.shape == (1, 5)
    assert tersor.analyze(result).quantization == "int8 activations"


def imported(code: str) -> set[str]:
    """Top-level packages that a fresh process imports to run some code."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_import_loads_nothing_heavy() -> None:
    assert not imported("import tersor") & (HEAVY | {"rich", "typer"})


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["optimize"],
        ["quantize"],
        ["compare"],
        ["benchmark"],
        ["evaluate"],
        ["run"],
        ["inspect"],
        ["params"],
        ["export"],
    ],
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    code = f"import sys; sys.argv = {['tersor', *command, '--help']!r}; from tersor.cli.main import main; main()"
    assert not imported(code) & HEAVY


def test_command_needs_no_conversion_by_pydantic(tmp_path: Path) -> None:
    words = ["quantize", str(tmp_path / "no.tflite"), "--data", "x.npz", "--as", "int8", "-o", "y.tflite"]
    code = f"import sys; sys.argv = {['tersor', *words]!r}; from tersor.cli.main import main; main()"
    assert "pydantic" not in imported(code)


def test_import_is_fast() -> None:
    """0.15 s on a quiet machine; the best of several runs, with room for a busy one."""
    times = []
    for _ in range(3):
        code = "import time; t = time.perf_counter(); import tersor; print(time.perf_counter() - t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        times.append(float(done.stdout))
    assert min(times) < 0.15
