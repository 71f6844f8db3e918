"""`tersor compare`: what one model does otherwise than another, on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import groups, options
from tersor.errors import RecipeError

_MISSED = 9

_VERDICTS = {
    "shown": "kept, with the whole 95 % interval",
    "reached": "kept, as far as the samples tell",
    "open": "open (what was measured is beyond it by no more than chance)",
}


def command(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A model of any kind, usually the float one.", show_default=False)
    ],
    data: Annotated[str, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)],
    second: Annotated[
        Path | None,
        typer.Argument(metavar="B", help="What is compared with it; not needed with --kernels.", show_default=False),
    ] = None,
    metric: options.Metric = None,
    max_drop: Annotated[
        str | None,
        typer.Option(metavar="1%", help="End with code 9 if B loses more than this against A.", show_default=False),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples to compare on, at most.")] = 1000,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a run that is timed.")] = 1,
    kernels: Annotated[
        str | None,
        typer.Option(
            metavar="xnnpack,builtin,micro",
            help="Compare each file with itself on these kernel sets, and name the first layer where they part.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
) -> None:
    """Compare two models: answers, SQNR, paired difference in accuracy with its interval, size, time, memory.

    With --kernels: what several kernel sets make of one model, or of each of the two.
    """
    if kernels is not None:
        if max_drop is not None:
            raise RecipeError("--max-drop is for two models, --kernels for kernel sets: give one of them")
        _kernel_sets(
            [first] + ([] if second is None else [second]),
            kernels,
            data,
            metric,
            samples,
            as_json,
            opening,
            normalization,
        )
        return
    if second is None:
        raise RecipeError("compare takes two models, or one with --kernels xnnpack,builtin,micro")
    from contextlib import ExitStack
    from dataclasses import replace

    from tersor.cli import console
    from tersor.report.sides import beside_a, pair_headline, pair_notes, pair_to_dict, sides_table
    from tersor.runtimes.engine import Engine
    from tersor.stages.load import admit_tensorflow_ops, runnable
    from tersor.stages.repair import Verdict, parse_drop
    from tersor.stages.repair.goal import goal_of
    from tersor.stages.search.reasons import loss
    from tersor.stages.side_by_side import side_by_side

    drop = None if max_drop is None else parse_drop(max_drop)
    with ExitStack() as stack:
        engine = stack.enter_context(Engine())
        models = [opening.load(path) for path in (first, second)]
        for loaded in models:
            admit_tensorflow_ops(loaded, engine)
        dataset = normalization.load(data, *models)
        one, other = (stack.enter_context(runnable(loaded)) for loaded in models)
        report = stack.enter_context(console.progress())
        pair = side_by_side(
            one,
            other,
            (str(first), str(second)),
            dataset,
            engine,
            metric=metric,
            samples=samples,
            threads=threads,
            progress=report,
        )
    goal = goal_of(drop or 0.0, pair.metric, has_classes=pair.has_classes)
    verdict = None if drop is None else goal.verdict(pair.figures)
    if as_json:
        console.print_json(pair_to_dict(pair, goal, None if verdict is None else verdict.value))
    else:
        sides = [replace(side, name=f"{sign} {side.name}") for sign, side in (("A", pair.first), ("B", pair.second))]
        console.out.print(sides_table(sides))
        console.err.print(pair_headline(pair, goal), markup=False)
        console.say(pair_notes(pair, goal))
    console.say((), pair.doubts)
    if verdict is Verdict.MISSED:
        console.warn(f"goal MISSED: {beside_a(str(goal))}; B {beside_a(loss(goal, pair.figures))}")
    elif verdict is not None and not as_json:
        console.err.print(f"goal {_VERDICTS[verdict.value]}: {beside_a(str(goal))}", markup=False)
    raise typer.Exit(_MISSED if verdict is Verdict.MISSED else 0)


def _kernel_sets(
    paths: Sequence[Path],
    kernels: str,
    data: str,
    metric: str | None,
    samples: int,
    as_json: bool,
    opening: groups.Opening,
    normalization: groups.Normalization,
) -> None:
    from tersor.cli import console
    from tersor.report.kernel_sets import kernels_notes, kernels_table, kernels_to_dict
    from tersor.runtimes.engine import Engine
    from tersor.stages.kernel_sets import names_of, on_kernel_sets
    from tersor.stages.load import admit_tensorflow_ops, runnable

    names, described = names_of(kernels), []
    for path in paths:
        loaded = opening.load(path)
        dataset = normalization.load(data, loaded)
        with runnable(loaded) as file, Engine() as engine, console.progress() as report:
            admit_tensorflow_ops(loaded, engine)
            found = on_kernel_sets(file, names, dataset, engine, metric=metric, samples=samples, progress=report)
        described.append(kernels_to_dict(str(path), found))
        if not as_json:
            if len(paths) > 1:
                console.out.print(str(path), markup=False)
            console.out.print(kernels_table(found))
            console.say(kernels_notes(found))
    if as_json:
        console.print_json({"files": described})
