"""How the commands talk: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

_WIDE = 200
"""Columns of tables where there is no terminal: a file or another program has no edge to wrap at."""

_STDERR = 2

out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)
for console in (out, err):
    if not console.is_terminal:
        console.width = _WIDE
        console.soft_wrap = True


def print_json(value: Any) -> None:
    """One JSON document on stdout; NaN and infinity, which JSON lacks, are null."""
    typer.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warn(message: str) -> None:
    """A line that a user should not miss."""
    err.print("[yellow]warning:[/yellow] ", end="")
    err.print(message, markup=False)


def note(message: str) -> None:
    """A line that explains."""
    err.print(message, style="dim", markup=False)


def say(lines: Iterable[str], warnings: Iterable[str] = ()) -> None:
    """Lines that explain, and lines that a user should not miss."""
    for line in lines:
        note(line)
    for line in warnings:
        warn(line)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield lambda _what, _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield report


@contextmanager
def hushed() -> Iterator[None]:
    """Nothing on standard error, not even from native libraries; what was there before an exception is shown.

    TensorFlow, if it is loaded within, says only later what goes wrong.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        usual = os.dup(_STDERR)
        os.dup2(kept.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(usual, kept.read())
            raise
        finally:
            os.dup2(usual, _STDERR)
            os.close(usual)
