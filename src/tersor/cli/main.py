"""The `tersor` command."""

from __future__ import annotations

import sys

import typer

from tersor.cli import evaluate, inspect, quantize, run

app = typer.Typer(
    name="tersor",
    help="Makes trained networks small, fast and still right on edge devices, and says what it cost.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
for command in (quantize, evaluate, run, inspect):
    app.command(name=command.__name__.rpartition(".")[2])(command.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from tersor import __version__

        typer.echo(f"tersor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Makes trained networks small, fast and still right on edge devices, and says what it cost."""


def main() -> None:
    """Run the command line; errors of tersor's end with one clear message and their exit code."""
    from tersor.errors import TersorError

    try:
        app()
    except TersorError as error:
        typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing was written", err=True)
        sys.exit(130)
