"""`tersor place`: where each operator would run on a target, or on each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tersor.cli import groups, options
from tersor.errors import RecipeError

if TYPE_CHECKING:
    from tersor.ir.graph import Model


def command(
    model: options.ModelPath,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            metavar="TARGET",
            help="cpu, edge_tpu or micro. By default all, a line for each.",
            show_default=False,
        ),
    ] = None,
    multiple_subgraphs: Annotated[
        bool, typer.Option("--multiple-subgraphs", help="Map every piece that maps: the Edge TPU compiler's option -a.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Print every operator; for one target.")] = False,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
) -> None:
    """Say which operators a device would run and where, why not the others, and what to change."""
    from tersor.cli import console
    from tersor.report.placement import all_table, headline, left_table, notes, placement_to_dict
    from tersor.stages.place import place

    asked: dict[str, object] = {"multiple_subgraphs": True} if multiple_subgraphs else {}
    if target is None:
        _everywhere(opening.load(model), asked, everything=everything, as_json=as_json)
        return
    placement = place(opening.load(model), target, **asked)
    if as_json:
        console.print_json(placement_to_dict(placement))
        return
    console.out.print(headline(placement), markup=False)
    if everything:
        console.out.print(all_table(placement))
    elif any(item.reason != placement.refusal for item in placement.left):
        console.out.print(left_table(placement))
    console.say(notes(placement))


def _everywhere(model: Model, asked: dict[str, object], *, everything: bool, as_json: bool) -> None:
    from tersor.cli import console
    from tersor.report.targets import judged_to_dict, targets_notes, targets_table
    from tersor.stages.place import place_everywhere

    if everything:
        raise RecipeError("--all prints every operator on one target: say which with --target")
    judged = place_everywhere(model, **asked)
    if as_json:
        console.print_json({"targets": [judged_to_dict(item) for item in judged]})
        return
    console.out.print(targets_table(judged))
    hint = f"more on one of them: tersor place {model.source} --target {judged[0].target}"
    console.say((*targets_notes(judged), hint))
