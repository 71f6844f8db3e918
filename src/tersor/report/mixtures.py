"""What more bits for some operators win and cost, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.text import short
from tersor.stages.mixed_precision import Mixture

_NAMED = 3
"""Operators of a row that are named."""


def mixtures_table(mixtures: Sequence[Mixture]) -> Table:
    """One row for each, with the operators that it adds to the row before."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for title in ("operators", "bytes", "MACs", "noise"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("added", no_wrap=True, overflow="ellipsis")
    before: list[tuple[str, ...]] = [(), *(mixture.operators for mixture in mixtures)]
    for (known, own), mixture in zip(pairwise(before), mixtures, strict=True):
        added = [short(name) for name in own if name not in set(known)]
        names = ", ".join(added[:_NAMED]) + (f" and {len(added) - _NAMED} more" if len(added) > _NAMED else "")
        figures = (len(own), f"{mixture.extra_bytes:+}", f"{mixture.macs_share:.0%}", _left(mixture.noise_share))
        table.add_row(*map(escape, (*map(str, figures), names)))
    return table


def mixtures_notes(widen: str) -> list[str]:
    """What the figures mean."""
    return [
        f"widened to {widen}: bytes more in the file, share of all multiply-accumulates, noise left in dB of all noise",
        "to use a row: a rule with the names of its operators in a recipe.toml (--json has them all)",
    ]


def mixtures_to_dict(mixtures: Sequence[Mixture]) -> list[dict[str, Any]]:
    """Everything, as JSON has it, with the fields that a rule for the operators has to set."""
    return [
        {
            "operators": list(mixture.operators),
            "rule": dict(mixture.recipe.rules[-1].scheme),
            "extra_bytes": mixture.extra_bytes,
            "macs_share": mixture.macs_share,
            "noise_share": mixture.noise_share,
        }
        for mixture in mixtures
    ]


def _left(share: float) -> str:
    return "none" if share <= 0 else f"{10 * math.log10(share):.1f}"
