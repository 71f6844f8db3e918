"""Coral's closed compiler: how it is found and run, and what its output says.

Options: https://coral.ai/docs/edgetpu/compiler; `-a` is not documented there. What it prints is known from logs in
public reports. It may end with status 0 and have written nothing.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

from tersor.errors import CompilerFailure, CompilerMissing, RecipeError
from tersor.targets._compiler import TIME_LIMIT, Compiled, run_program

PROGRAM = "edgetpu_compiler"
SUFFIX = "_edgetpu"
"""What the compiler adds to a model's name."""

_FORECAST = "16."
"""How the version begins of which the rules are."""

_VERSION = re.compile(r"Edge TPU Compiler version ([\d.]+)")
_ROW = re.compile(r"([A-Z0-9_]+)\s+(\d+)\s{2,}(\S.*?)\s*$")
_REASONS = (
    re.compile(r"Compilation failed: (.+)"),
    re.compile(r"(Internal compiler error)"),
    re.compile(r"(Compilation timeout\..+)"),
    re.compile(r"(?:ERROR|Error): (.+)"),
)
"""What it says where it fails, the clearest first."""

_MEMORY = re.compile(r"^(On-chip memory remaining for caching model parameters: .+?)\s*$", re.MULTILINE)
_SHOWN = 200
"""Characters of a reason that are shown."""

_FOR_ITSELF = 5
"""Seconds that its own timer ends before ours, so that it can say so itself."""


def compile(  # noqa: A001 (the contract's name; see `targets`)
    model: Path,
    folder: Path,
    *,
    program: str | None = None,
    time_limit: float | None = None,
    multiple_subgraphs: bool = False,
    min_runtime_version: int | None = None,
) -> Compiled:
    """Compile a file.

    Args:
        model: a `.tflite` file in `folder`.
        folder: where it runs, and writes.
        program: the compiler; by default the one on the PATH.
        time_limit: seconds for it, which its own timer (3 minutes) is set to as well; by default 10 minutes for all.
        multiple_subgraphs: its option `-a`: map every piece that maps.
        min_runtime_version: the oldest Edge TPU runtime that is to run the result.

    Raises CompilerMissing if there is none, RecipeError if `program` is no program, CompilerFailure with what it
    printed if it fails, takes too long or writes nothing.
    """
    options = _options(time_limit, multiple_subgraphs=multiple_subgraphs, min_runtime_version=min_runtime_version)
    command = (_found(program, model.name, options), *options, "-o", ".", model.name)
    ended = run_program(command, folder, time_limit or TIME_LIMIT)
    written = folder / f"{model.stem}{SUFFIX}.tflite"
    text = ended.output
    if ended.trouble or not written.is_file():
        why = reason(text)
        trouble = ended.trouble or "wrote no file"
        raise CompilerFailure(f"{Path(command[0]).name} {trouble}{f': {why}' if why else ''}", text)
    own = written.with_suffix(".log")
    if not statuses_in(text) and own.is_file():
        text = f"{text.rstrip()}\n\n{own.read_text('utf-8', 'replace')}".lstrip()
    version = "".join(_VERSION.findall(text)[:1])
    notes = _MEMORY.findall(text)
    if not version.startswith(_FORECAST):
        notes.append(
            f"forecasts are of compiler {_FORECAST.rstrip('.')}; this one is {version or 'of unknown version'}"
        )
    return Compiled(written, text, command, version, statuses_in(text), ended.seconds, tuple(notes))


def _options(time_limit: float | None, *, multiple_subgraphs: bool, min_runtime_version: int | None) -> list[str]:
    options = ["-s"]
    if multiple_subgraphs:
        options.append("-a")
    if min_runtime_version is not None:
        options += ["--min_runtime_version", str(min_runtime_version)]
    if time_limit is not None:
        options += ["--timeout_sec", str(max(1, int(time_limit) - _FOR_ITSELF))]
    return options


def _found(program: str | None, model: str, options: list[str]) -> str:
    if program is not None:
        path = shutil.which(program)
        if path is None:
            raise RecipeError(f"compiler {program}: there is no such program, or it is not executable")
        return str(Path(path).absolute())
    path = shutil.which(PROGRAM)
    if path is None:
        command = shlex.join([PROGRAM, *options, model])
        raise CompilerMissing(
            f"nothing was compiled: there is no {PROGRAM} on the PATH, nor was one given (--compiler). It runs on "
            "64-bit x86 Linux only (Debian package edgetpu-compiler, https://coral.ai/docs/edgetpu/compiler); there, "
            f"run: {command}",
            command=command,
        )
    return str(Path(path).absolute())


def statuses_in(text: str) -> Counter[tuple[str, str]]:
    """The counts of (operator, status) in what the compiler printed, or in its log."""
    found: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        if match := _ROW.match(line):
            found[match[1], match[3]] += int(match[2])
    return found


def reason(text: str) -> str:
    """Why the compiler failed, as it says itself: a clear line if there is one, else its last; "" if it is silent."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    clear = (found for pattern in _REASONS for found in pattern.findall(text)[-1:])
    said = "".join(letter for letter in next(clear, lines[-1] if lines else "") if letter.isprintable()).strip()
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."
