"""`tersor benchmark`: how long models take on this machine, in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import groups, options


def command(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Models of any kind; ratios are to the first.", show_default=False),
    ],
    threads: Annotated[int, typer.Option(min=1, help="Threads of one run.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Turns in which every model is timed once.")] = 15,
    kernels: options.Kernels = "xnnpack",
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
) -> None:
    """Time models in turn, so that the machine's drift touches all alike: median, 95th percentile, ratio, memory.

    They run on random numbers. What single operators take is not told: LiteRT's Python package has no profiler.
    """
    from contextlib import ExitStack

    from tersor.cli import console
    from tersor.report.sides import side_to_dict, sides_table
    from tersor.runtimes.engine import Engine
    from tersor.stages.load import admit_tensorflow_ops, runnable
    from tersor.stages.search.conditions import processor, versions
    from tersor.stages.side_by_side import timed

    with ExitStack() as stack:
        engine = stack.enter_context(Engine())
        paths = []
        for path in models:
            loaded = opening.load(path)
            admit_tensorflow_ops(loaded, engine)
            paths.append(stack.enter_context(runnable(loaded)))
        sides = timed(paths, [str(path) for path in models], engine, kernels=kernels, threads=threads, rounds=rounds)
    if as_json:
        conditions = {"threads": threads, "kernels": kernels, "processor": processor(), "versions": versions()}
        console.print_json({"models": [side_to_dict(side) for side in sides], "conditions": conditions})
        return
    console.out.print(sides_table(sides))
    several = "s" if threads > 1 else ""
    console.say(
        [
            f"{threads} thread{several}, {kernels} kernels, {processor()}; ratios: medians over up to {rounds} turns",
            "memory: peak growth of a fresh process that loads and runs the file",
        ]
    )
