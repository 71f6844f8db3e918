"""`tersor place`: where each operator would run on a target, or on each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersor.cli import groups, options, several
from tersor.cli.ethos_u import EthosU
from tersor.errors import RecipeError


def command(
    models: options.ModelPaths,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="TARGET",
            help="cpu, edge_tpu, ethos_u or micro. By default all, a line for each.",
            show_default=False,
        ),
    ] = None,
    multiple_subgraphs: options.MultipleSubgraphs = False,
    segments: Annotated[
        int | None,
        typer.Option(metavar="N", help="Propose how to cut the model for N devices in a row.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Print every operator; for one target.")] = False,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    ethos_u: EthosU,
) -> None:
    """Say which operators a device would run and where, why not the others, and what to change.

    Of several models: how they share the device's memory, compiled together in this order.
    """
    asked = ethos_u.asked
    if multiple_subgraphs:
        asked["multiple_subgraphs"] = True
    if len(models) > 1 or segments is not None:
        loaded = [opening.load(model) for model in models]
        several.command(loaded, target or "edge_tpu", segments, asked, everything=everything, as_json=as_json)
        return
    from tersor.runtimes.isolation import started_ahead
    from tersor.targets._children import children_of

    with started_ahead(children_of(target, models[0])):
        if target is None:
            _everywhere(opening, models[0], asked, everything=everything, as_json=as_json)
        else:
            _one(opening, models[0], target, asked, everything=everything, as_json=as_json)


def _one(
    opening: groups.Opening, path: Path, target: str, asked: dict[str, object], *, everything: bool, as_json: bool
) -> None:
    from tersor.cli import console
    from tersor.report.placement import all_table, headline, left_table, notes, placement_to_dict
    from tersor.stages.place import outlines_suffice_above, place

    placement = place(opening.load(path, outlines_above=outlines_suffice_above([target])), target, **asked)
    if as_json:
        console.print_json(placement_to_dict(placement))
        return
    console.out.print(headline(placement), markup=False)
    if everything:
        console.out.print(all_table(placement))
    elif any(item.reason != placement.refusal for item in placement.left):
        console.out.print(left_table(placement))
    console.say(notes(placement))


def _everywhere(
    opening: groups.Opening, path: Path, asked: dict[str, object], *, everything: bool, as_json: bool
) -> None:
    from tersor.cli import console
    from tersor.report.targets import judged_to_dict, targets_notes, targets_table
    from tersor.stages.place import outlines_suffice_above
    from tersor.stages.place_everywhere import place_everywhere, quick_targets

    if everything:
        raise RecipeError("--all prints every operator on one target: say which with --target")
    model = opening.load(path, outlines_above=outlines_suffice_above(quick_targets(asked)))
    judged = place_everywhere(model, **asked)
    if as_json:
        console.print_json({"targets": [judged_to_dict(item) for item in judged]})
        return
    console.out.print(targets_table(judged))
    lacking = [item.target for item in judged if item.placement is not None and item.placement.left]
    hint = f"more on one of them: tersor place {model.source} --target {(*lacking, judged[0].target)[0]}"
    console.say((*targets_notes(judged), hint))
