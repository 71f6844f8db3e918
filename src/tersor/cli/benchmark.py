"""`tersor benchmark`: how long models take on this machine, in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import groups, options
from tersor.errors import RecipeError

_PROFILER = (
    "operators: of one run under LiteRT's profiler, which costs time itself; XNNPACK fuses operators, and tells "
    "their times in whole microseconds, rounded down"
)


def command(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Models of any kind; ratios are to the first.", show_default=False),
    ],
    threads: Annotated[int, typer.Option(min=1, help="Threads of one run.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Turns in which every model is timed once.")] = 15,
    kernels: options.Kernels = "xnnpack",
    operators: Annotated[
        bool, typer.Option("--operators", help="Also say what single operators take, by LiteRT's profiler.")
    ] = False,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    delegating: groups.Delegating,
) -> None:
    """Time models in turn, so that the machine's drift touches all alike: median, 95th percentile, ratio, memory.

    They run on random numbers. With --operators, single operators are timed, too: what is slow, and on which kernels.
    """
    from contextlib import ExitStack

    from tersor.cli import console
    from tersor.formats import tflite
    from tersor.report.delegated import share_to_dict
    from tersor.report.sides import operators_table, profile_to_dict, side_to_dict, sides_table
    from tersor.stages.load import admit_tensorflow_ops, runnable
    from tersor.stages.search.conditions import processor, versions
    from tersor.stages.side_by_side import profiled, timed

    if operators and kernels != "xnnpack":
        raise RecipeError("--operators: LiteRT's profiler is had with --kernels xnnpack only")
    if operators and delegating.delegate is not None:
        raise RecipeError("--operators: LiteRT's profiler is had without a delegate only")
    with ExitStack() as stack:
        engine = stack.enter_context(delegating.engine())
        paths = []
        for path in models:
            loaded = opening.load(path)
            admit_tensorflow_ops(loaded, engine)
            paths.append(stack.enter_context(runnable(loaded)))
        sides = timed(paths, [str(path) for path in models], engine, kernels=kernels, threads=threads, rounds=rounds)
        profiles = [profiled(path, engine, threads=threads) for path in paths] if operators else []
        names = [[op.name for op in tflite.read(path).graph.ops] for path in paths] if operators else []
    if as_json:
        conditions = {"threads": threads, "kernels": kernels, "processor": processor(), "versions": versions()}
        if engine.delegate is not None:
            conditions["delegate"] = engine.delegate.name
        found = [side_to_dict(side) for side in sides]
        for side, share in zip(found, engine.shares, strict=False):
            side["delegate"] = share_to_dict(share)
        for side, own, named in zip(found, profiles, names, strict=False):
            side["profile"] = profile_to_dict(own, named)
        console.print_json({"models": found, "conditions": conditions})
        return
    console.out.print(sides_table(sides))
    for path, own in zip(models, profiles, strict=False):
        console.out.print(operators_table(str(path), own))
    several = "s" if threads > 1 else ""
    console.say(
        [
            f"{threads} thread{several}, {kernels} kernels, {processor()}; ratios: medians over up to {rounds} turns",
            *([] if engine.delegate else ["memory: peak growth of a fresh process that loads and runs the file"]),
            *([_PROFILER] if operators else []),
        ]
    )
    delegating.say(engine, models)
