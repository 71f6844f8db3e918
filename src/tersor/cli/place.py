"""`tersor place`: where each operator would run on a target."""

from __future__ import annotations

from typing import Annotated

import typer

from tersor.cli import groups, options, several
from tersor.cli.ethos_u import EthosU


def command(
    models: options.ModelPaths,
    target: Annotated[str, typer.Option("--target", "-t", metavar="TARGET", help="edge_tpu or ethos_u.")] = "edge_tpu",
    multiple_subgraphs: Annotated[
        bool, typer.Option("--multiple-subgraphs", help="Map every piece that maps: the Edge TPU compiler's option -a.")
    ] = False,
    segments: Annotated[
        int | None,
        typer.Option(metavar="N", help="Propose how to cut the model for N devices in a row.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Print every operator.")] = False,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    ethos_u: EthosU,
) -> None:
    """Say which operators a device's accelerator would run, why not the others, and what to change. Nothing is run.

    Of several models: how they share the device's memory, compiled together in this order.
    """
    from tersor.cli import console
    from tersor.report.placement import all_table, headline, left_table, notes, placement_to_dict
    from tersor.stages.place import place

    asked = ethos_u.asked
    if multiple_subgraphs:
        asked["multiple_subgraphs"] = True
    if len(models) > 1 or segments is not None:
        several.command([opening.load(model) for model in models], target, segments, asked, as_json=as_json)
        return
    placement = place(opening.load(models[0]), target, **asked)
    if as_json:
        console.print_json(placement_to_dict(placement))
        return
    console.out.print(headline(placement), markup=False)
    if everything:
        console.out.print(all_table(placement))
    elif placement.left and placement.refusal is None:
        console.out.print(left_table(placement))
    console.say(notes(placement))
