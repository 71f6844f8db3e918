"""`tersor inspect`: what a model consists of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tersor.cli import groups, options
from tersor.errors import RecipeError


def command(
    model: options.ModelPath,
    text: Annotated[bool, typer.Option("--text", help="Print every tensor and operator.")] = False,
    operators: Annotated[bool, typer.Option("--operators", help="Print a line per operator.")] = False,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
) -> None:
    """Print operators, shapes, types, work, memory and quantization of a model. Nothing is run."""
    from rich.markup import escape
    from rich.table import Table

    from tersor.cli import console
    from tersor.ir.text import dump
    from tersor.stages.analyze import analyze
    from tersor.stages.annotate import declared, labels_of

    if text and as_json:
        raise RecipeError("--text prints a text: give it or --json")
    loaded = opening.load(model)
    if text:
        console.out.print(dump(loaded), markup=False)
        return
    analysis = analyze(loaded)
    if as_json:
        console.print_json(asdict(analysis) | {"file_bytes": options.stored_bytes(model)})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    kinds = ", ".join(f"{count} {kind}" for kind, count in analysis.kinds.items())
    rows = {
        "file": f"{model} ({options.stored_bytes(model):,} bytes)",
        "made by": loaded.description,
        "input": "\n".join(f"{name}: {what}" for name, what in analysis.inputs.items()),
        "output": "\n".join(f"{name}: {what}" for name, what in analysis.outputs.items()),
        "operators": f"{len(analysis.operators)}: {kinds}",
        "graphs": str(len(loaded.graphs)),
        "work": f"{analysis.macs / 1e6:,.2f} million multiply-accumulates",
        "constants": f"{analysis.constant_bytes:,} bytes",
        "activations": f"{analysis.peak_activation_bytes:,} bytes at the peak",
        "quantization": analysis.quantization,
        "tensors": ", ".join(f"{count} {kind}" for kind, count in analysis.numbers.items()),
        "signatures": ", ".join(signature.key for signature in loaded.signatures) or "none",
        "normalization": f"{declared(loaded)} (as the model states)"
        if not declared(loaded).is_identity
        else "not stated",
        "labels": "\n".join(f"{len(names)} of {name}" for name, names in labels_of(loaded).items()) or "none",
        "metadata": ", ".join(f"{name} ({len(data)} bytes)" for name, data in loaded.metadata) or "none",
    }
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/bold]", escape(value))
    console.out.print(table)
    if operators:
        listing = Table(box=None, header_style="bold", pad_edge=False)
        for column, justify in (("operator", "left"), ("result", "left"), ("MACs", "right"), ("weights", "right")):
            listing.add_column(column, justify="right" if justify == "right" else "left")
        listing.add_column("name", overflow="fold")
        for item in analysis.operators:
            texts = (item.kind, item.output, f"{item.macs:,}", f"{item.weight_bytes:,}", item.name)
            listing.add_row(*map(escape, texts))
        console.out.print(listing)
