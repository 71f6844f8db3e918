"""What several kernel sets make of one file, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.text import short
from tersor.report import cells
from tersor.report.outcome import score_to_dict
from tersor.stages.kernel_sets import KernelSets, Seen


def kernels_table(found: KernelSets) -> Table:
    """A row per kernel set; agreement and equality are with the first."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("kernels", no_wrap=True)
    titles = ([found.metric] if found.metric else []) + ["agree", "equal bits", "worst"]
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for number, row in enumerate(found.seen):
        figures = [cells.score(row.score)] if found.metric else []
        figures += ["", "", ""] if number == 0 else _beside(row)
        table.add_row(*map(escape, (row.kernels, *figures)))
    return table


def kernels_notes(found: KernelSets) -> list[str]:
    """Where they part, and what that rests on."""
    first = found.seen[0].kernels
    notes = [f"{found.samples} samples; agree, equal bits and worst (in steps of the output) are beside {first}"]
    for row in found.partings:
        if row.index is None:
            notes.append(f"{row.kernels}: every activation is {first}'s, on {found.traced} samples")
            continue
        where = f"operator {row.index}, {row.kind.lower()} {short(row.operator)}"
        how = f"{100 * row.share:.3g} % of its values, by {row.worst} at most"
        notes.append(f"{row.kernels} parts from {first} at {where}: {how}")
    if found.untraced is not None:
        notes.append(f"layers are not compared: {found.untraced}")
    elif found.exact < found.traced:
        notes.append(
            f"layers are from the integer reference, which answers like the kernels on only {found.exact} of "
            f"{found.traced} samples: the first layer may be another"
        )
    else:
        notes.append(f"layers are from the integer reference, which is exact on these {found.traced} samples")
    if any(row.by_reference for row in found.seen):
        notes.append("micro is the integer reference's: pip install 'tersor[micro]' for the kernels themselves")
    return notes


def kernels_to_dict(name: str, found: KernelSets) -> dict[str, Any]:
    """Everything, as JSON has it."""
    rows = []
    for row in found.seen:
        score = None if row.score is None else score_to_dict(row.score)
        rows.append(asdict(row) | {"score": score})
    described = {key: getattr(found, key) for key in ("samples", "metric", "traced", "exact", "untraced")}
    return {"model": name, **described, "kernels": rows, "partings": [asdict(row) for row in found.partings]}


def _beside(row: Seen) -> list[str]:
    return [cells.agreement(row.agreement), f"{100 * row.equal:.1f}%", f"{row.worst:.3g}"]
