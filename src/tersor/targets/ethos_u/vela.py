"""Vela, Arm's compiler for Ethos-U: how it is found and run, and how it fails.

It is a Python package that installs beside tersor (`tersor[ethos_u]`), needs NumPy and flatbuffers in any version that
tersor takes, and runs in a process of its own. One that lies elsewhere is named by an environment variable, or found on
the PATH. Source of the options: Vela 5.2, `OPTIONS.md`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from tersor.errors import CompilerFailure, CompilerMissing, RecipeError
from tersor.targets._compiler import TIME_LIMIT, Compiled, Ended, run_program
from tersor.targets.ethos_u.settings import Settings

PROGRAM = "TERSOR_VELA"
"""The environment variable that names the program, if it is not the package in this environment."""

SUFFIX = "_vela"
"""What Vela adds to a model's name."""

_PACKAGE, _DISTRIBUTION = "ethosu", "ethos-u-vela"
_REFUSAL = re.compile(r"Compilation failed: (?:Error: )?(.+?)(?:\nFailed to parse TFLite file|\n\s*\n|\Z)", re.DOTALL)
_OPTION = re.compile(r"(?:CliOptionError|ConfigOptionError|InputFileError): (.+)")
_SHOWN = 300
"""Characters of what Vela says that are shown."""


class Refused(Exception):
    """Vela takes no part of the model, and says why; its callers say it in their way.

    Attributes:
        output: what it printed.
    """

    def __init__(self, why: str, output: str) -> None:
        super().__init__(why)
        self.output = output


def compile_file(
    source: Path, settings: Settings, program: str | None = None, time_limit: float | None = None
) -> Compiled:
    """Have Vela compile a file; what it writes lies beside that.

    Args:
        source: a `.tflite` file.
        settings: for what.
        program: Vela; by default the one of `found`.
        time_limit: seconds that it may take; 10 minutes by default.

    Raises RecipeError for a system or memory mode that its configuration does not have, CompilerMissing if there is no
    Vela, Refused if it says that it cannot compile this, CompilerFailure if it crashes, takes too long, writes nothing.
    """
    begin = found(program)
    command = (*begin, source.name, "--output-dir", ".", "--enable-debug-db", *settings.arguments())
    ended = run_program(command, source.parent, time_limit or TIME_LIMIT)
    if ended.trouble:
        _raise_failure(ended, begin, source.parent, settings)
    written = source.with_name(f"{source.stem}{SUFFIX}.tflite")
    if not written.is_file():
        raise CompilerFailure(f"Vela wrote no file{_last_words(ended)}", ended.output)
    return Compiled(written, ended.output, command, version(command), seconds=ended.seconds)


def _raise_failure(ended: Ended, begin: tuple[str, ...], folder: Path, settings: Settings) -> NoReturn:
    if refusal := _in_a_line(_REFUSAL, ended.output):
        raise Refused(refusal, ended.output)
    if wrong := _in_a_line(_OPTION, ended.output).strip("\"'").removeprefix("Error: "):
        raise RecipeError(f"Vela: {wrong}{_sections(begin, folder, settings, wrong)}")
    raise CompilerFailure(f"Vela {ended.trouble}{_last_words(ended)}", ended.output)


def found(program: str | None = None) -> tuple[str, ...]:
    """The command that starts Vela. Raises CompilerMissing if there is none, RecipeError for one that is no program."""
    named = program or os.environ.get(PROGRAM)
    if named:
        path = shutil.which(named)
        if path is None:
            where = "compiler" if program else PROGRAM
            raise RecipeError(f"{where} {named}: there is no such program, or it is not executable")
        return (str(Path(path).absolute()),)
    if importlib.util.find_spec(_PACKAGE) is not None:
        return (sys.executable, "-P", "-m", f"{_PACKAGE}.vela")
    path = shutil.which("vela")
    if path is None:
        raise CompilerMissing(
            "this needs Vela, Arm's compiler for Ethos-U, which is not installed: pip install 'tersor[ethos_u]', or "
            f"name the program of another environment in {PROGRAM}"
        )
    return (str(Path(path).absolute()),)


def version(command: tuple[str, ...]) -> str:
    """The version of the Vela that a command starts; "" where that is not known without running it."""
    if command[:1] != (sys.executable,):
        return ""
    from importlib.metadata import version as version_of

    return version_of(_DISTRIBUTION)


def _sections(begin: tuple[str, ...], folder: Path, settings: Settings, wrong: str) -> str:
    """What the configuration has of the kind of section that is wrong."""
    kind = re.search(r"Section (System_Config|Memory_Mode)\.", wrong)
    if kind is None:
        return ""
    listed = run_program([*begin, "--list-configs", settings.configuration], folder, TIME_LIMIT).output
    names = re.findall(rf"^\s*{kind[1]}\.(\S+)", listed, re.MULTILINE)
    return f"; it has {', '.join(names)}" if names else ""


def _in_a_line(pattern: re.Pattern[str], text: str) -> str:
    """What a pattern finds, in one line; "" for nothing."""
    match = pattern.search(text)
    return _short(" ".join(match[1].split())) if match else ""


def _last_words(ended: Ended) -> str:
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    said = "".join(letter for letter in lines[-1] if letter.isprintable()) if lines else ""
    return f": {_short(said)}" if said else ", and said nothing"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
