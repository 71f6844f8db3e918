"""A placement for people and machines: where operators run, why, and what to change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.placement import OpPlacement, Placement, Resource
from tersor.ir.text import short
from tersor.stages.quantities import milliseconds, size


def headline(placement: Placement) -> str:
    """The placement in one sentence."""
    total, mapped = len(placement.operators), len(placement.mapped)
    device = placement.device
    if placement.refusal is not None:
        return f"nothing runs on the {device}, {placement.refuser} refuses the file: {placement.refusal}"
    if mapped == total:
        return f"{'the one operator is' if total == 1 else f'all {total} operators are'} on the {device}"
    said = f"{mapped} of {total} operators on the {device}{_macs(placement)}"
    cause = _cause(placement)
    if cause is None:
        return said
    others = len(placement.left) - 1
    more = f", and {_count(others, 'more stays', 'more stay')} there" if others else ""
    return f"{said}; {cause.op} (operator {cause.index}) stays {placement.elsewhere}: {cause.reason}{more}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _macs(placement: Placement) -> str:
    share = placement.share_of_macs
    return "" if math.isnan(share) else f", {percent(share)} of MACs"


def percent(share: float) -> str:
    """A share of MACs."""
    shown = f"{100 * share:.1f}"
    return f"{'99.9' if share < 1 and shown == '100.0' else shown} %"  # what is left is not nothing


def _cause(placement: Placement) -> OpPlacement | None:
    """The operator that ends the accelerator's piece: the first that breaks a rule behind it, else the first at all."""
    breaking = [item for item in placement.left if item.rule is not None]
    begin = min((item.index for item in placement.mapped), default=-1)
    return next((item for item in breaking if item.index > begin), next(iter(breaking), None))


def first_cause(placement: Placement) -> str:
    """What stays behind first, and why; "" where nothing does."""
    if not placement.left:
        return ""
    cause = _cause(placement) or placement.left[0]
    others = len(placement.left) - 1
    return f"{cause.op} (operator {cause.index}): {cause.reason}{f', and {others} more' if others else ''}"


@dataclass(frozen=True)
class LeftBehind:
    """Operators that the target does not take, all for one reason.

    Attributes:
        operators: how many of which kind.
        status: what the target's compiler says of them.
        reason: what was seen at the first, and how many others there are.
        remedy: what to change; "" where there is nothing to.
        count: how many there are.
    """

    operators: str
    status: str
    reason: str
    remedy: str
    count: int


def left_behind(placement: Placement) -> list[LeftBehind]:
    """What the target does not take: one for each rule that is broken, and one for all that waits."""
    rows: dict[tuple[str, str], list[OpPlacement]] = {}
    for item in placement.left:
        remedy = item.remedy if item.rule is not None else ""
        rows.setdefault((item.status, f"{item.rule}{remedy}"), []).append(item)
    found = []
    for items in sorted(rows.values(), key=lambda items: (items[0].rule is None, items[0].index)):
        first = items[0]
        kinds = ", ".join(f"{count} {op}" for op, count in Counter(item.op for item in items).most_common())
        also = f", and {_count(len(items) - 1, 'other', 'others')}" if len(items) > 1 else ""
        reason = f"operator {first.index}: {first.reason or ''}{also}"
        found.append(LeftBehind(kinds, first.status, reason, first.remedy or "", len(items)))
    return found


def left_table(placement: Placement) -> Table:
    """What the target does not take."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in (placement.elsewhere, "why", "what to change"):
        table.add_column(title, overflow="fold")
    for row in left_behind(placement):
        why = f"{escape(row.status)}\n[dim]{escape(row.reason)}[/dim]"
        table.add_row(escape(row.operators), why, escape(row.remedy))
    return table


def all_table(placement: Placement) -> Table:
    """Every operator."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", justify="right")
    for title in ("operator", "on", "why"):
        table.add_column(title, overflow="fold")
    table.add_column("MACs", justify="right")
    table.add_column("name", overflow="fold")
    for item in placement.operators:
        why = "" if item.reason is None else f"{item.status}: {item.reason}"
        cells = (str(item.index), item.op, item.on, why, f"{item.macs:,}", short(item.name))
        table.add_row(*map(escape, cells))
    return table


def notes(placement: Placement) -> Iterable[str]:
    """What else is to be said."""
    yield from placement.notes
    if placement.resources:
        yield "; ".join(resource_line(item) for item in placement.resources)
    if placement.parts > 1:
        between = f"between them operators run {placement.elsewhere}"
        yield f"{placement.parts} pieces: {between}, which often costs more time"


def resource_line(item: Resource) -> str:
    """What a network takes, in words."""
    about = "about " if item.is_estimate and item.amount else ""
    return f"{item.name}: {about}{_amount(item)}"


def _amount(item: Resource) -> str:
    match item.unit:
        case "bytes":
            return size(round(item.amount))
        case "ms":
            return milliseconds(item.amount)
    return f"{item.amount:,.0f} {item.unit}"


def log_to_list(counts: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Operators by kind and status, as a compiler's log groups them, for `--json`."""
    return [{"operator": kind, "count": count, "status": status} for (kind, status), count in sorted(counts.items())]


def resources_to_list(resources: Iterable[Resource]) -> list[dict[str, Any]]:
    """What is taken of a device, for `--json`."""
    return [
        {"name": item.name, "amount": item.amount, "unit": item.unit, "is_estimate": item.is_estimate}
        for item in resources
    ]


def placement_to_dict(placement: Placement) -> dict[str, Any]:
    """For `--json`; `index` counts the operators of the main graph in the file's order."""
    return {
        "target": placement.target,
        "headline": headline(placement),
        "refusal": placement.refusal,
        "parts": placement.parts,
        "share_of_macs": placement.share_of_macs,
        "operators": [_operator(item) for item in placement.operators],
        "log": log_to_list(placement.counts()),
        "resources": resources_to_list(placement.resources),
        "notes": list(placement.notes),
    }


def _operator(item: OpPlacement) -> dict[str, Any]:
    return {
        "index": item.index,
        "op": item.op,
        "name": item.name,
        "on": item.on,
        "status": item.status,
        "reason": item.reason,
        "rule": item.rule,
        "remedy": item.remedy,
        "macs": item.macs,
        "parameter_bytes": item.parameter_bytes,
    }
