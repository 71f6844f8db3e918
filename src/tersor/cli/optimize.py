"""`tersor optimize`: a float model in, every variant that makes sense out, and which one to ship."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tersor.cli import groups, options
from tersor.cli.command_line import typed

if TYPE_CHECKING:
    from tersor.data.dataset import Dataset
    from tersor.ir.graph import Model
    from tersor.runtimes.engine import Engine
    from tersor.stages.debug import Diagnosis
    from tersor.stages.place_everywhere import Judged
    from tersor.stages.search import Search, Wish

_MISSED = 9
"""Exit code where the pick breaks a limit that was asked for; it is written nevertheless."""

_INTERRUPTED = 130

_WIDE = 125
"""Columns of a terminal that the whole table fits in."""


def command(
    model: options.ModelPath,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="DATA", help=options.DATA_HELP, show_default=False)
    ] = None,
    target: Annotated[str, typer.Option(metavar="cpu|edge_tpu|ethos_u|micro", help="What it is to run on.")] = "cpu",
    split: options.Split = False,
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="1%", help="Lose no more than this against float (1% if nothing is said).", show_default=False
        ),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="2MB", help="The file is no larger than this.", show_default=False)
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(metavar="10ms", help="A run takes no longer than this, on this machine.", show_default=False),
    ] = None,
    time_budget: Annotated[str, typer.Option(metavar="10min", help="Begin nothing further after this.")] = "10min",
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for all that is made.")] = Path("out"),
    eval_data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Other samples to report on.", show_default=False)
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Samples to calibrate on; 100, or fewer where there are few.", show_default=False),
    ] = None,
    eval_samples: Annotated[int, typer.Option(min=1, help="Samples to report on, at most.")] = 1000,
    metric: options.Metric = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a run that is timed.")] = 1,
    labels: options.Labels = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make anew what an earlier run of the same made.")] = False,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    normalization: groups.Normalization,
    context: typer.Context,
) -> None:
    """Make every variant that makes sense for a target, measure all on your data, and say which one to ship and why.

    Ctrl-C keeps what is done; the same command goes on from there.
    """
    import json
    import sys

    from tersor.runtimes.engine import Engine

    with Engine() as engine:
        from tersor.cli import console
        from tersor.cli.live import live
        from tersor.report.files import write_report
        from tersor.report.search import write_report_json
        from tersor.report.search_table import search_notes, search_table, search_verdict, search_warnings
        from tersor.report.targets import placed_notes
        from tersor.stages.search import REPORT, search

        wish = _wish(
            target, max_drop, max_size, max_latency, time_budget, samples, eval_samples, metric, threads, fresh, split
        )
        loaded = normalization.annotate(opening.load(model), labels)
        dataset = None if data is None else normalization.load(data, loaded)
        evaluation = None if eval_data is None else normalization.load(eval_data, loaded, quiet=True)
        try:
            with live(wish.minutes) as (progress, announce):
                found = search(
                    loaded,
                    output,
                    dataset,
                    evaluation,
                    wish,
                    progress=progress,
                    announce=announce,
                    warn=console.warn,
                    engine=engine,
                )
        except KeyboardInterrupt:
            console.warn("interrupted before there was a result; the same command goes on from what is done")
            sys.exit(_INTERRUPTED)
        report, commands = output / REPORT, _commands(context, found)
        write_report_json(found, report, commands)  # before what else may be interrupted
        diagnoses, placements = _diagnoses(found, loaded, dataset, engine), _placements(found)
    pages, missing = write_report(found, diagnoses, commands, placements)
    if as_json:
        console.print_json(json.loads(report.read_text("utf-8")))
    else:
        is_narrow = console.out.width < _WIDE
        console.out.print(search_table(found, is_narrow=is_narrow))
        for line in search_verdict(found):
            console.err.print(line, markup=False)
        console.say(search_notes(found, report, is_narrow=is_narrow))
        console.say(placed_notes(found.pick, placements))
        console.note(f"to read: {pages[0]}" if missing is None else f"to read: {pages[0]}; {missing}")
    console.say((), (text for text in search_warnings(found) if text not in found.doubts))  # these are said already
    if found.interrupted:
        sys.exit(_INTERRUPTED)
    limits = wish.limits
    is_gate = not limits.is_default or limits.max_size is not None or limits.max_latency_ms is not None
    raise typer.Exit(_MISSED if is_gate and not found.is_reached else 0)


def _diagnoses(found: Search, model: Model, data: Dataset | None, engine: Engine) -> dict[str, Diagnosis]:
    """What is wrong with layers, by candidate; nothing where the user does not want to wait for it."""
    from tersor.cli import console
    from tersor.stages.debug import SAMPLES
    from tersor.stages.explain import explain

    if data is None or found.interrupted:
        return {}
    try:
        with console.progress() as progress:
            return explain(found, model, data.split(SAMPLES)[0], engine=engine, progress=progress)
    except KeyboardInterrupt:
        console.warn("interrupted while looking into layers: the report is without them")
        return {}


def _placements(found: Search) -> dict[str, Judged]:
    """Where candidates would run on the target, by name."""
    from tersor.cli import console
    from tersor.stages.place_everywhere import place_candidates

    try:
        return place_candidates(found)
    except KeyboardInterrupt:
        console.warn("interrupted while looking where operators run: the report is without it")
        return {}


def _commands(context: typer.Context, found: Search) -> dict[str, str]:
    """The command that is running, and the one that makes its pick alone."""
    kept = {
        "model",
        "data",
        "eval_data",
        "labels",
        *(item.name for item in (*fields(groups.Opening), *fields(groups.Normalization))),
    }
    samples = found.conditions.calibration_samples
    more = ["--as", str(found.folder / "recipe.toml"), *(["--samples", str(samples)] if samples else [])]
    alone = typed(context, "quantize", kept, *more, "-o", str(found.folder / "again.tflite"))
    return {"command": typed(context, "optimize"), "pick_command": alone}


def _wish(
    target: str,
    max_drop: str | None,
    max_size: str | None,
    max_latency: str | None,
    time_budget: str,
    samples: int | None,
    eval_samples: int,
    metric: str | None,
    threads: int,
    fresh: bool,
    split: bool,
) -> Wish:
    """What the options ask for. Raises RecipeError for what is no size, time or share."""
    from tersor.stages.outcome import Options
    from tersor.stages.quantities import parse_bytes, parse_seconds
    from tersor.stages.repair import parse_drop
    from tersor.stages.search import Limits, Wish

    limits = Limits(
        max_drop=0.01 if max_drop is None else parse_drop(max_drop),
        is_default=max_drop is None,
        max_size=None if max_size is None else parse_bytes("--max-size", max_size),
        max_latency_ms=None if max_latency is None else 1000 * parse_seconds("--max-latency", max_latency),
    )
    return Wish(
        target=target,
        limits=limits,
        options=Options(calibration_samples=samples or 100, evaluation_samples=eval_samples, metric=metric),
        minutes=parse_seconds("--time-budget", time_budget) / 60,
        threads=threads,
        fresh=fresh,
        scarce=samples is None,
        split=split,
    )
