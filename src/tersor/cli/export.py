"""`tersor export`: a model in the form that something else takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import options
from tersor.errors import RecipeError


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="c|archive",
            help="c: the model as an array for a microcontroller, with all that its program needs. archive: one zip of "
            "the model, its recipe, reports, labels and parameters.",
        ),
    ] = "c",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder for C files, or the zip. Default: beside MODEL."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the C array; by default made of the file's name.")
    ] = None,
    attach: Annotated[
        list[Path] | None,
        typer.Option("--attach", metavar="FILE", help="Put this file into the archive, too. May be repeated."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a .tflite as C source for a microcontroller, or everything about it as one archive."""
    from tersor.cli import console
    from tersor.stages.archive import export_archive
    from tersor.stages.export import KINDS, export_c

    if to not in KINDS:
        raise RecipeError(f"--to {to!r}: there are {', '.join(KINDS)}")
    if to == "c":
        if attach:
            raise RecipeError("--attach is for --to archive")
        done = export_c(model, output or model.parent, name)
    else:
        if name is not None:
            raise RecipeError("--name is for --to c")
        done = export_archive(model, output or model.with_suffix(".zip"), tuple(attach or ()))
    if as_json:
        console.print_json({"files": [str(path) for path in done.files], "arena_bytes": done.arena_bytes})
        return
    console.say((*done.notes, *(f"wrote {path}" for path in done.files)), done.warnings)
