"""`tersor report`: the pages of a search again, from its report.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import options


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER|REPORT.JSON", help="What tersor optimize wrote, here or elsewhere.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder for the pages; that of report.json.", show_default=False),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write report.html, report.md and the tables from a report.json."""
    from tersor.cli import console
    from tersor.report.document import read_document
    from tersor.report.files import write_files

    found = read_document(source)
    folder = output or (source if source.is_dir() else source.parent)
    written, missing = write_files(found, folder)
    if as_json:
        console.print_json({"files": [str(path) for path in written]})
    for path in () if as_json else written:
        console.out.print(str(path), markup=False)
    if missing is not None:
        console.warn(missing)
