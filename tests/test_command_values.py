"""Values of the command line become the same whether Typer converts them or nobody needs to."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import typer

from tersor.cli import conversion
from tersor.cli.conversion import command_class
from tersor.cli.groups import expanded
from tersor.cli.main import COMMANDS

GIVEN = {
    "quantize": [
        ["m.tflite"],
        ["m.tflite", "--data", "photos", "--as", "int8", "--as", "uint8", "-o", "out", "--latency", "--max-drop", "1%"],
        [
            "m.tflite",
            "--samples",
            "7",
            "--max-minutes",
            "1",
            "--input-shape",
            "8,8,3",
            "--labels",
            "l.txt",
            "--no-metadata",
        ],
        ["", "--data", ""],
    ],
    "optimize": [["m.tflite", "--data", "x.npz"], ["m.keras", "--data", "d", "--output", "o", "--samples", "3"]],
    "run": [["m.tflite", "a.npy", "--top", "2"], ["m.tflite", "a.npy"]],
    "compare": [["a.tflite", "b.tflite", "--data", "d"]],
    "place": [["a.tflite", "b.tflite"]],
}


def parsed(name: str, words: list[str], cls: Any) -> dict[str, Any]:
    module = importlib.import_module(f"tersor.cli.{name}")
    app = typer.Typer(add_completion=False)
    given = {} if cls is None else {"cls": cls(expanded(module.command))}
    app.command(context_settings=getattr(module, "SETTINGS", None), **given)(expanded(module.command))
    context = typer.main.get_command(app).make_context(name, list(words))
    return dict(context.params)


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, calls in GIVEN.items() for words in calls])
def test_parsed_values_are_those_of_typer(name: str, words: list[str]) -> None:
    own, usual = parsed(name, words, command_class), parsed(name, words, None)
    assert own == usual
    assert {key: type(value) for key, value in own.items()} == {key: type(value) for key, value in usual.items()}


def test_what_is_given_wrongly_is_left_to_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    usual = conversion._processed
    monkeypatch.setattr(
        conversion, "_processed", lambda parameter, kind, process, *rest: usual(parameter, kind, noted(process), *rest)
    )

    def noted(process: Any) -> Any:
        def call(*given: Any) -> Any:
            asked.append(given[-1])
            return process(*given)

        return call

    with pytest.raises(Exception, match="integer"):
        parsed("quantize", ["m.tflite", "--samples", "many"], command_class)
    assert asked == ["many"]


def test_all_commands_are_there() -> None:
    for name in COMMANDS:
        assert callable(importlib.import_module(f"tersor.cli.{name}").command)
