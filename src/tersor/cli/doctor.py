"""`tersor doctor`: what this installation can do, and what is missing."""

from __future__ import annotations

from dataclasses import asdict

import typer

from tersor.cli import options

_BROKEN = 7
"""Exit code where something is broken that tersor cannot do without."""

_TITLES = {
    "system": "system",
    "package": "packages",
    "extra": "extras",
    "kernels": "kernel sets",
    "delegate": "delegates",
}


def command(as_json: options.Json = False) -> None:
    """Say what this installation can do: versions, kernels, delegates, extras, and the command for what is missing."""
    from rich.markup import escape
    from rich.table import Table

    from tersor.cli import console
    from tersor.stages.doctor import doctor

    checks = doctor()
    broken = [item for item in checks if item.needed and not item.works]
    if as_json:
        console.print_json({"works": not broken, "checks": [asdict(item) for item in checks]})
        raise typer.Exit(_BROKEN if broken else 0)
    table = Table(box=None, show_header=False, pad_edge=False)
    last = ""
    for item in checks:
        title = _TITLES[item.group] if item.group != last else ""
        last = item.group
        mark = "[green]ok[/green]" if item.works else "[red]broken[/red]" if item.needed else "[yellow]no[/yellow]"
        remedy = f" -> {item.remedy}" if item.remedy else ""
        table.add_row(f"[bold]{title}[/bold]", item.name, mark, escape(item.found + remedy))
    console.out.print(table)
    for item in broken:
        console.warn(f"{item.name} {item.found}: {item.remedy}")
    if not broken:
        console.note("all that tersor needs is there; 'no' marks what is optional")
    console.note("completion of commands and options in this shell: tersor --install-completion")
    raise typer.Exit(_BROKEN if broken else 0)
