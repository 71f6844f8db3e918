"""`tersor place`: where each operator would run on a target."""

from __future__ import annotations

from typing import Annotated

import typer

from tersor.cli import groups, options
from tersor.cli.ethos_u import EthosU


def command(
    model: options.ModelPath,
    target: Annotated[str, typer.Option("--target", "-t", metavar="TARGET", help="edge_tpu or ethos_u.")] = "edge_tpu",
    multiple_subgraphs: Annotated[
        bool, typer.Option("--multiple-subgraphs", help="Map every piece that maps: the Edge TPU compiler's option -a.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Print every operator.")] = False,
    as_json: options.Json = False,
    *,
    opening: groups.Opening,
    ethos_u: EthosU,
) -> None:
    """Say which operators a device's accelerator would run, why not the others, and what to change. Nothing is run."""
    from tersor.cli import console
    from tersor.report.placement import all_table, headline, left_table, notes, placement_to_dict
    from tersor.stages.place import place

    asked = ethos_u.asked
    if multiple_subgraphs:
        asked["multiple_subgraphs"] = True
    placement = place(opening.load(model), target, **asked)
    if as_json:
        console.print_json(placement_to_dict(placement))
        return
    console.out.print(headline(placement), markup=False)
    if everything:
        console.out.print(all_table(placement))
    elif placement.left and placement.refusal is None:
        console.out.print(left_table(placement))
    console.say(notes(placement))
