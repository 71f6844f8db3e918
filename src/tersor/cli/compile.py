"""`tersor compile`: what a device's own compiler makes of a quantized model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import options
from tersor.cli.ethos_u import EthosU


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A quantized .tflite file.", show_default=False)],
    target: Annotated[str, typer.Option("--target", "-t", metavar="TARGET", help="edge_tpu or ethos_u.")] = "edge_tpu",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write, or its folder. Default: MODEL_edgetpu.tflite, MODEL_vela.tflite.",
            show_default=False,
        ),
    ] = None,
    compiler: Annotated[
        str | None,
        typer.Option(metavar="PROGRAM", help="Default: the target's own, from the PATH.", show_default=False),
    ] = None,
    multiple_subgraphs: options.MultipleSubgraphs = False,
    min_runtime_version: Annotated[
        int | None,
        typer.Option(min=1, help="The oldest Edge TPU runtime that is to run the result.", show_default=False),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="10min", help="Stop the compiler after this, as 90s or 2h. Default: 10min.", show_default=False
        ),
    ] = None,
    as_json: options.Json = False,
    *,
    ethos_u: EthosU,
) -> None:
    """Have a device's own compiler compile a quantized model, and check what it mapped against the forecast.

    The compiler has to be on this machine. Without it, the forecast is printed, and what to run where it is.
    """
    from tersor.cli import console
    from tersor.errors import CompilerMissing
    from tersor.report import compilation, placement
    from tersor.stages.compile_for import compile_for, load_finished
    from tersor.stages.place import place
    from tersor.stages.quantities import parse_seconds, size

    loaded = load_finished(model, target)
    seconds = None if time_limit is None else parse_seconds("--time-limit", time_limit)
    wanted = ethos_u.asked
    if multiple_subgraphs:
        wanted["multiple_subgraphs"] = True
    least = {} if min_runtime_version is None else {"min_runtime_version": min_runtime_version}
    try:
        done = compile_for(loaded, target, output, compiler=compiler, time_limit=seconds, **wanted, **least)
    except CompilerMissing as error:
        if not error.command:  # what forecasts nothing is the compiler itself
            raise
        forecast = place(loaded, target, **wanted)
        if as_json:
            found = placement.placement_to_dict(forecast)
            console.print_json({"target": target, "file": None, "command": error.command, "forecast": found})
        else:
            console.out.print(f"forecast: {placement.headline(forecast)}", markup=False)
            if forecast.left and forecast.refusal is None:
                console.out.print(placement.left_table(forecast))
            console.say(placement.notes(forecast))
        raise
    if as_json:
        console.print_json(compilation.compilation_to_dict(done))
        return
    console.out.print(compilation.headline(done), markup=False)
    if done.wrong or done.differences:
        console.out.print(compilation.differences_table(done))
    elif not all(done.mapped):
        console.out.print(placement.left_table(done.forecast))
    console.say(compilation.notes(done), compilation.warnings(done))
    console.out.print(f"wrote {done.path} ({size(done.path.stat().st_size)}), and {done.log}", markup=False)
