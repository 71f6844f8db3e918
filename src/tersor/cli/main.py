"""The `tersor` command."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import typer

from tersor.cli.conversion import Group, command_class
from tersor.cli.groups import expanded

COMMANDS = (
    "optimize",
    "report",
    "quantize",
    "train",
    "evaluate",
    "compare",
    "benchmark",
    "debug",
    "sensitivity",
    "run",
    "inspect",
    "place",
    "split",
    "compile",
    "params",
    "export",
    "cache",
    "doctor",
)
"""In the order of the help. Each is a module of this package."""


def application(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands; no others are imported, which takes as long as half of a small network."""
    app = typer.Typer(
        name="tersor",
        help="Makes trained networks small, fast and still right on edge devices, and says what it cost.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=len(commands) > 1,
        cls=Group,
    )
    app.callback()(_options)
    for name in commands:
        module = importlib.import_module(f"tersor.cli.{name}")
        settings = getattr(module, "SETTINGS", None)
        command = expanded(module.command)
        app.command(name=name, cls=command_class(command), context_settings=settings)(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from tersor import __version__

        typer.echo(f"tersor {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Makes trained networks small, fast and still right on edge devices, and says what it cost."""


_USAGE_ERRORS = typer.BadParameter.__mro__[-4]
"""What Typer raises for wrong arguments, which it gives no public name: the base of those below `Exception`."""

_GARBAGE = 200_000
"""New objects between two searches for cycles: those of a model live to the end, and are many."""

_INTERRUPTED, _TERMINATED = 130, 143
"""128 + SIGINT and + SIGTERM, as shells have it."""


def main() -> None:
    """Run the command line; what goes wrong ends with one clear message and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names in a model need not fit the terminal's encoding
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "12")  # before NumPy: its idle threads are to sleep soon
    gc.set_threshold(_GARBAGE)
    atexit.register(gc.freeze)  # at the end all goes; to search it for cycles would take a tenth of a second
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that what is unfinished is cleaned away
    sys.exit(_exit_code())


def _exit_code() -> int:
    from tersor.errors import TersorError, TersorWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", TersorWarning)
            warnings.showwarning = _show_warning(warnings.showwarning)
            asked = [name for name in sys.argv[1:2] if name in COMMANDS]
            code = int(application(asked or COMMANDS)(standalone_mode=False) or 0)
    except TersorError as error:
        return _failed(str(error), error.exit_code)
    except typer.Abort:
        code = _INTERRUPTED
    except MemoryError as error:
        return _failed(f"out of memory; nothing was written {error}".rstrip(), TersorError.exit_code)
    except Exception as error:
        if not isinstance(error, _USAGE_ERRORS):
            raise
        return _misused(error)
    if code == _INTERRUPTED:
        typer.echo("interrupted: nothing was written", err=True)
    return code


def _show_warning(usual: Callable[..., None]) -> Callable[..., None]:
    """Show what tersor warns of as a line of the command, and all else as usual."""
    from tersor.errors import TersorWarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, TersorWarning):
            usual(message, category, *place, **more)
            return
        from tersor.cli import console

        console.warn(str(message))

    return show


def _misused(error: Any) -> int:
    message = str(error.format_message())
    if not message:  # called without arguments: the help was printed
        return int(error.exit_code)
    command = "tersor" if error.ctx is None else error.ctx.command_path
    return _failed(f"{message} Try: {command} --help", error.exit_code)


def _failed(message: str, code: int) -> int:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message, err=True)
    return code
