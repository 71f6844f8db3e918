"""Several placements beside each other: of one model on all targets, or of all candidates on one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.report.placement import (
    first_cause,
    headline,
    left_behind,
    notes,
    percent,
    placement_to_dict,
    resource_line,
)
from tersor.stages.place_everywhere import Judged


def targets_table(judged: Iterable[Judged]) -> Table:
    """A row for each target."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("target", no_wrap=True)
    for title in ("operators", "MACs"):
        table.add_column(title, justify="right")
    for title in ("takes", "what stays behind first, and why"):
        table.add_column(title, overflow="fold")
    for item in judged:
        table.add_row(*map(escape, targets_row(item)))
    return table


def targets_row(judged: Judged) -> tuple[str, str, str, str, str]:
    """Target, operators and MACs on the accelerator, resources in short, and the first cause of what stays behind."""
    placement = judged.placement
    target = judged.target if judged.flavour is None else f"{judged.target} (as {judged.flavour})"
    if placement is None:
        return target, "", "", "", _unjudged(judged)
    takes = "\n".join(resource_line(item) for item in placement.resources if item.amount)
    if placement.refusal is not None:
        return target, "none", "", takes, f"{placement.refuser} refuses it: {placement.refusal}"
    share = "" if math.isnan(placement.share_of_macs) else percent(placement.share_of_macs)
    return target, f"{len(placement.mapped)} of {len(placement.operators)}", share, takes, first_cause(placement)


def _unjudged(judged: Judged) -> str:
    return f"{'not judged' if judged.is_asked else 'not asked'}: {' '.join(judged.why.split())}"


def targets_notes(judged: Iterable[Judged]) -> Iterable[str]:
    """What was left out of the table, and how to get it."""
    for item in judged:
        for note in () if item.placement is None else item.placement.notes:
            if "pip install" in note or note.startswith(("by rules alone", "tersor quantize")):
                yield f"{item.target}: {note}"


def judged_to_dict(judged: Judged) -> dict[str, Any]:
    """Likewise, for a target of several; `error` says why it could not be judged, and is null where it was."""
    if judged.placement is None:
        why = judged.why if judged.is_asked else _unjudged(judged)
        return {"target": judged.target, "error": why, "operators": []}
    return placement_to_dict(judged.placement) | {"error": None}


def placed_notes(pick: str | None, judged: Mapping[str, Judged]) -> Iterable[str]:
    """Where the pick of a search would run."""
    found = judged.get(pick or "")
    if found is not None:
        said = f"not judged: {found.why}" if found.placement is None else headline(found.placement)
        yield f"{found.target}: {said}"


def placements_to_dict(judged: Mapping[str, Judged]) -> dict[str, dict[str, Any]]:
    """For `report.json`: by candidate, where it would run, without a row for each operator."""
    return {name: _summary(item) for name, item in judged.items()}


def _summary(judged: Judged) -> dict[str, Any]:
    placement = judged.placement
    if placement is None:
        return {"device": judged.device, "headline": f"not judged: {judged.why}", "operators": 0, "mapped": 0}
    share = placement.share_of_macs
    return {
        "device": placement.device,
        "headline": headline(placement),
        "refusal": placement.refusal,
        "operators": len(placement.operators),
        "mapped": len(placement.mapped),
        "share_of_macs": None if math.isnan(share) else share,
        "elsewhere": placement.elsewhere,
        "first": placement.refusal or first_cause(placement),
        "left": [
            {"operators": row.operators, "status": row.status, "reason": row.reason, "remedy": row.remedy}
            for row in left_behind(placement)
        ],
        "takes": [resource_line(item) for item in placement.resources if item.amount],
        "notes": list(notes(replace(placement, resources=()))),
    }
