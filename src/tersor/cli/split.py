"""`tersor split`: a quantized model in files for an accelerator and for the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import groups, options


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A quantized .tflite file.", show_default=False)],
    target: Annotated[
        str, typer.Option("--target", "-t", metavar="TARGET", help="Whose accelerator: edge_tpu.")
    ] = "edge_tpu",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Default: beside the model.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", "-d", metavar="DATA", help="Samples to verify on. Default: random ones.", show_default=False
        ),
    ] = None,
    as_json: options.Json = False,
    *,
    normalization: groups.Normalization,
) -> None:
    """Cut a quantized model where the accelerator gets most of it: a file for each side, and how they are chained.

    Float models are quantized and split by 'tersor quantize --target edge_tpu --split'.
    """
    from tersor.cli import console
    from tersor.errors import OutputError
    from tersor.report.split import headline, parts_table, split_notes, split_to_dict
    from tersor.stages.chain import SAMPLES
    from tersor.stages.compile_for import load_finished
    from tersor.stages.measure import first_samples
    from tersor.stages.save_split import save_split
    from tersor.stages.split import split, splitting

    splitting(target)  # raises for a target that nothing is split for before anything is read
    loaded = load_finished(model, target)
    if output is not None and output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; --output names the folder for the parts")
    samples = [] if data is None else first_samples(normalization.load(data, loaded), SAMPLES)
    done = save_split(split(loaded, target), (output or model.parent) / model.name, samples)
    if as_json:
        console.print_json(split_to_dict(done))
        return
    console.out.print(headline(done.split), markup=False)
    if done.paths:
        console.out.print(parts_table(done))
    console.say(split_notes(done))
