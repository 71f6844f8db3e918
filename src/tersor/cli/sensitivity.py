"""`tersor sensitivity`: how much each operator matters when it is quantized."""

from __future__ import annotations

from typing import Annotated

import typer

from tersor.cli import groups, options


def command(
    model: options.ModelPath,
    data: Annotated[str, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)],
    flavour: Annotated[str, typer.Option("--as", metavar="FLAVOUR", help="Or a recipe.toml.")] = "int8",
    samples: Annotated[int, typer.Option(min=1, help="Samples to calibrate on; the others are measured on.")] = 100,
    top: Annotated[int, typer.Option(min=1, help="Operators to print.")] = 20,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
) -> None:
    """Quantize each operator alone, and leave each alone in float, and say what it does to the outputs."""
    from tersor.runtimes.engine import Engine

    with Engine() as engine:
        from tersor.cli import console
        from tersor.recipe import load_recipe
        from tersor.report.sensitivity import sensitivity_notes, sensitivity_table, sensitivity_to_dict
        from tersor.stages.calibrate import calibrate
        from tersor.stages.optimize import optimize
        from tersor.stages.sensitivity import sensitivity

        recipe = load_recipe(flavour)
        loaded = optimize(opening.load(model))
        dataset = normalization.load(data, loaded)
        calibration, rest = dataset.split(samples)
        with console.progress() as report:
            statistics = calibrate(loaded, calibration, recipe.observer, engine=engine)
            found = sensitivity(
                loaded,
                recipe,
                statistics,
                rest if next(iter(rest), None) is not None else calibration,
                engine=engine,
                progress=lambda done, total: report("measuring operators", done, total),
            )
    if as_json:
        console.print_json(sensitivity_to_dict(found))
        return
    console.out.print(sensitivity_table(found, top))
    console.say(sensitivity_notes(found, top))
