"""`tersor debug`: what is wrong with a quantized model, operator by operator, why, and what cures it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.cli import groups, options

if TYPE_CHECKING:
    from tersor.ir.graph import Model


def command(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="[FLOAT] QUANTIZED",
            help="The float model, and a .tflite made of it by any tool. Without the float model only what activations "
            "lose is seen.",
            show_default=False,
        ),
    ],
    data: Annotated[str, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)],
    top: Annotated[int, typer.Option(min=1, help="Operators to print.")] = 10,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all operators there.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with histograms of the worst there.")
    ] = None,
    kernels: options.Kernels = "xnnpack",
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
) -> None:
    """Say which operators a quantized model gets wrong, why, and what cures it."""
    from tersor.cli import console
    from tersor.errors import RecipeError
    from tersor.report.diagnosis import diagnosis_notes, diagnosis_table, diagnosis_to_csv, diagnosis_to_dict
    from tersor.stages.debug import SAMPLES, debug
    from tersor.stages.load import load
    from tersor.stages.save import atomic

    if html is not None:  # first of all: it may lack its packages
        from tersor.report.document import diagnosis_of
        from tersor.report.page import render_diagnosis, write_html
    if len(models) > 2:
        raise RecipeError(f"{len(models)} files are given; debug takes a float model and a quantized one")
    quantized = load(models[-1])
    reference = opening.load(models[0], _batch_for(models[0], quantized)) if len(models) == 2 else None
    dataset = normalization.load(data, reference or quantized, quantized)
    chosen = dataset.split(SAMPLES)[0]
    with console.progress() as report:
        diagnosis = debug(
            reference,
            quantized,
            chosen,
            kernels=kernels,
            progress=lambda done: report("comparing", done, SAMPLES),
        )
    if csv is not None:
        with atomic(csv) as temporary:
            temporary.write_text(diagnosis_to_csv(diagnosis), "utf-8")
    if html is not None:
        write_html(render_diagnosis(models[-1].name, diagnosis_of(diagnosis_to_dict(diagnosis))), html)
    if as_json:
        console.print_json(diagnosis_to_dict(diagnosis))
        return
    console.out.print(diagnosis_table(diagnosis, top))
    console.say(diagnosis_notes(diagnosis, top), diagnosis.remarks)


def _batch_for(path: Path, quantized: Model) -> int:
    """Samples that a float model is read for: as many as the quantized one takes, where its file leaves that open."""
    from tersor.data.batch import batch_of

    graph = quantized.graph
    size = batch_of(graph.tensors[name].shape for name in (*graph.inputs, *graph.outputs))
    return 1 if path.suffix.lower() == ".tflite" else size
