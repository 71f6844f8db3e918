"""`tersor sensitivity`: how much each operator matters when it is quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tersor.cli import groups, options

_MOST_JOBS = 8
"""Processes that are started unasked: each holds the network and its samples."""


def command(
    model: options.ModelPath,
    data: Annotated[str, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)],
    flavour: Annotated[str, typer.Option("--as", metavar="FLAVOUR", help="Or a recipe.toml.")] = "int8",
    samples: Annotated[int, typer.Option(min=1, help="Samples to calibrate on; the others are measured on.")] = 100,
    top: Annotated[int, typer.Option(min=1, help="Operators to print.")] = 20,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes to measure in; by default one per core, up to 8.")
    ] = None,
    cache: Annotated[bool, typer.Option(help="Look up and keep what was measured (`tersor cache`).")] = True,
    widen: Annotated[
        str | None,
        typer.Option(
            metavar="int16|float|int8_weights",
            help="Say instead on which operators more bits win most for their cost.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
) -> None:
    """Quantize each operator alone, and leave each alone in float, and say what it does to the outputs."""
    from tersor.runtimes.engine import Engine, available_threads

    with Engine() as engine:
        from tersor.cache import user_cache
        from tersor.cli import console
        from tersor.recipe import load_recipe
        from tersor.report.mixtures import mixtures_notes, mixtures_table, mixtures_to_dict
        from tersor.report.sensitivity import sensitivity_notes, sensitivity_table, sensitivity_to_dict
        from tersor.stages.calibrate import calibrate
        from tersor.stages.mixed_precision import mixtures
        from tersor.stages.optimize import optimize
        from tersor.stages.sensitivity import sensitivity

        recipe = load_recipe(flavour)
        loaded = optimize(opening.load(model))
        dataset = normalization.load(data, loaded)
        calibration, rest = dataset.split(samples)
        with console.progress() as report:
            statistics = calibrate(loaded, calibration, recipe.observer, engine=engine)
            if widen is not None:
                mixed = mixtures(
                    loaded,
                    recipe,
                    statistics,
                    calibration,
                    widen=widen,
                    engine=engine,
                    progress=lambda done, total: report("measuring noise", done, total),
                )
                _print(mixtures_table(mixed), mixtures_to_dict(mixed), mixtures_notes(widen), as_json=as_json)
                return
            found = sensitivity(
                loaded,
                recipe,
                statistics,
                rest if next(iter(rest), None) is not None else calibration,
                engine=engine,
                jobs=jobs or min(available_threads(), _MOST_JOBS),
                cache=user_cache() if cache else None,
                progress=lambda done, total: report("measuring operators", done, total),
            )
    _print(sensitivity_table(found, top), sensitivity_to_dict(found), sensitivity_notes(found, top), as_json=as_json)


def _print(table: object, values: object, notes: Sequence[str], *, as_json: bool) -> None:
    from tersor.cli import console

    if as_json:
        console.print_json(values)
        return
    console.out.print(table)
    console.say(notes)
