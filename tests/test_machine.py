"""What programs rely on: one JSON document on stdout, documented exit codes, completion of commands in shells."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Cli
from small_nets import images
from tersor import errors
from tersor.cli import main
from tersor.errors import TersorError
from tersor.runtimes.engine import Handle
from tersor.stages import doctor

DOCS = Path(__file__).parents[1] / "docs" / "reference"

INT8 = ("quantize", "net.tflite", "--data", "x.npy", "--samples", "12", "--output", "q.tflite")

LINES: dict[str, tuple[str, ...]] = {
    "quantize": INT8,
    "optimize": ("optimize", "net.tflite", "--data", "xy.npz", "--output", "out", "--time-budget", "1s"),
    "train": ("train", "net.tflite", "--data", "xy.npz", "--epochs", "1", "-o", "t.keras"),
    "evaluate": ("evaluate", "net.tflite", "--data", "xy.npz"),
    "compare": ("compare", "net.tflite", "net.tflite", "--data", "xy.npz"),
    "benchmark": ("benchmark", "net.tflite", "--rounds", "2"),
    "debug": ("debug", "net.tflite", "q.tflite", "--data", "x.npy"),
    "sensitivity": ("sensitivity", "net.tflite", "--data", "x.npy", "--jobs", "1"),
    "run": ("run", "net.tflite", "x.npy"),
    "inspect": ("inspect", "net.tflite"),
    "place": ("place", "net.tflite"),
    "compile": ("compile", "q.tflite"),
    "split": ("split", "q.tflite"),
    "params": ("params", "q.tflite", "list"),
    "export": ("export", "q.tflite", "--to", "archive"),
    "cache": ("cache",),
    "doctor": ("doctor",),
    "report": ("report", "out"),
}
"""A way to call each command."""


def commands() -> list[str]:
    return [*main.COMMANDS]


@pytest.mark.parametrize("command", commands())
def test_every_command_prints_one_json_document(command: str, cli: Cli, place: Path) -> None:
    np.savez(place / "xy.npz", x=images(90), y=np.arange(90) % 5)
    line = LINES[command]
    if command == "train":
        pytest.importorskip("keras", reason="training needs Keras 3")
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras's own, on some backends
    if "q.tflite" in line and line is not INT8:
        assert cli(*INT8).code == 0
    if command == "report":
        assert cli(*LINES["optimize"]).code == 0
    answer = cli(*line, "--json")
    assert answer.code in ((0, 7) if command == "compile" else (0, 9)), answer.err  # 7: here is no compiler
    assert isinstance(json.loads(answer.out, parse_constant=pytest.fail), dict | list)


def test_json_has_no_nan_and_no_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    from tersor.cli import console

    console.print_json({"conv:dog:[red]x[/red]": [float("nan"), (float("-inf"), 1.5)], "long": "y" * 400})
    assert json.loads(capsys.readouterr().out) == {"conv:dog:[red]x[/red]": [None, [None, 1.5]], "long": "y" * 400}


def test_text_and_json_at_once(cli: Cli) -> None:
    answer = cli("inspect", "net.tflite", "--text", "--json")
    assert (answer.code, answer.out) == (2, "")


# Exit codes


def documented() -> dict[int, str]:
    """The class, or "", by code, from the table in the docs."""
    rows = re.findall(r"^\| (\d+) \| (?:`(\w+)`)? *\|", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE)
    return {int(code): name for code, name in rows}


def subclasses(kind: type[TersorError]) -> set[type[TersorError]]:
    return {kind}.union(*(subclasses(item) for item in kind.__subclasses__()))


def test_documented_exit_codes_are_those_of_the_classes() -> None:
    for code, name in documented().items():
        if name:
            assert getattr(errors, name).exit_code == code
    ours = {item for item in subclasses(TersorError) if item.__module__.startswith("tersor")}
    assert {item.exit_code for item in ours} <= set(documented())


def test_documented_exit_codes_are_all_that_commands_end_with() -> None:
    found = {main._INTERRUPTED, main._TERMINATED}
    for module in main_modules():
        source = inspect.getsource(module)
        found |= {int(value) for value in re.findall(r"^_(?:MISSED|BROKEN|INTERRUPTED) = (\d+)$", source, re.MULTILINE)}
    assert found <= set(documented())


def main_modules() -> list[Any]:
    return [importlib.import_module(f"tersor.cli.{name}") for name in main.COMMANDS]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (0, ("inspect", "net.tflite")),
        (2, ("quantize", "net.tflite", "--as", "int7")),
        (2, ("quantise",)),
        (3, ("inspect", "x.npy")),
        (4, ("evaluate", "net.tflite", "--data", "none")),
        (5, ("quantize", "net.tflite", "--as", "int8")),
        (8, ("quantize", "net.tflite", "--as", "float16", "--output", "net.tflite")),
    ],
)
def test_exit_codes(code: int, line: tuple[str, ...], cli: Cli) -> None:
    answer = cli(*line)
    assert answer.code == code, answer.err
    assert code in documented()
    assert code == 0 or answer.err.startswith("error: ")


# doctor


def test_doctor_runs_both_kernel_sets(cli: Cli) -> None:
    answer = cli("doctor", "--json")
    found = json.loads(answer.out)
    assert answer.code == 0
    assert found["works"] is True
    checks = {(item["group"], item["name"]): item for item in found["checks"]}
    assert checks["kernels", "xnnpack"]["works"]
    assert checks["kernels", "builtin"]["works"]
    assert checks["package", "numpy"]["found"] == importlib.metadata.version("numpy")
    assert ("delegate", "edge_tpu") in checks
    for item in found["checks"]:
        assert item["works"] or item["remedy"]
    text = cli("doctor")
    assert all(name in text.out for _, name in checks)
    assert "--install-completion" in text.err


def test_doctor_names_what_is_missing_and_the_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    required = [
        "numpy>=999.0",
        "tersor-needs-this-one",
        'nowhere-to-be-had>=1; extra == "audio"',
        "numpy>=1 ; extra == 'some'",
        'pytest>=999; extra == "dev"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: required)
    answer = cli("doctor", "--json")
    assert answer.code == 7
    found = {item["name"]: item for item in json.loads(answer.out)["checks"]}
    assert found["numpy"]["found"].endswith(", and numpy>=999.0 is needed")
    assert found["tersor-needs-this-one"]["remedy"] == "pip install 'tersor-needs-this-one'"
    assert found["audio"]["remedy"] == "pip install 'tersor[audio]'"
    assert (found["some"]["works"], found["some"]["remedy"]) == (True, "")
    assert "dev" not in found
    assert "tersor-needs-this-one missing: pip install" in cli("doctor").err


def test_doctor_sees_kernels_that_answer_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Handle, "run", lambda *_: [np.zeros((1, 4), np.float32)])
    seen = [item for item in doctor.doctor() if item.group == "kernels"]
    assert [item.works for item in seen] == [False, False]
    assert all("should answer ones" in item.found and item.remedy for item in seen)


def test_doctor_asks_the_python_that_has_tensorflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["tensorflow>=2.18; extra == 'tensorflow'"])
    monkeypatch.setenv("TERSOR_TENSORFLOW_PYTHON", str(tmp_path / "none"))
    (extra,) = (item for item in doctor.doctor() if item.group == "extra")
    assert not extra.works
    assert extra.remedy == f"{tmp_path}/none -m pip install tensorflow"


# Completion


@pytest.mark.parametrize(("shell", "words"), [("bash", "COMP_WORDS"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_script_of_each_shell(shell: str, words: str) -> None:
    answer = tersor({"_TERSOR_COMPLETE": f"source_{shell}"})
    assert answer.returncode == 0, answer.stderr
    assert words in answer.stdout


def test_commands_and_options_are_completed() -> None:
    answer = tersor({"_TERSOR_COMPLETE": "complete_bash", "COMP_WORDS": "tersor ", "COMP_CWORD": "1"})
    assert set(commands()) <= set(answer.stdout.split())
    words = {"_TERSOR_COMPLETE": "complete_bash", "COMP_WORDS": "tersor quantize --max", "COMP_CWORD": "2"}
    assert "--max-drop" in tersor(words).stdout.split()


def tersor(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv = ['tersor']; from tersor.cli.main import main; main()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
