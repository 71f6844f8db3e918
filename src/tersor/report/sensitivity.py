"""How much operators matter, for people and for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.text import short
from tersor.stages.sensitivity import Ranking


def sensitivity_table(ranking: Ranking, top: int) -> Table:
    """The operators whose sparing wins most."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("operator", max_width=34, no_wrap=True, overflow="ellipsis")
    table.add_column("kind", no_wrap=True)
    for title in ("alone", "spared", "gain"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in ranking.operators[:top]:
        figures = (_decibel(row.alone_db), _decibel(row.spared_db), f"{row.gain_db:+.1f}")
        table.add_row(*map(escape, (short(row.name), row.kind.lower(), *figures)))
    return table


def sensitivity_notes(ranking: Ranking, top: int) -> list[str]:
    """What the figures mean."""
    shown = min(top, len(ranking.operators))
    return [
        f"{shown} of {len(ranking.operators)} operators, SQNR of the worst output in dB on {ranking.samples} samples",
        f"alone: nothing else is quantized; spared: everything else is (with it, {_decibel(ranking.whole_db)})",
        "weights rounded to nearest, without corrections; to leave an operator in float: --keep-float NAME",
    ]


def sensitivity_to_dict(ranking: Ranking) -> dict[str, Any]:
    """Everything, as JSON has it: infinities become None."""
    rows = [{key: _finite(value) for key, value in asdict(row).items()} for row in ranking.operators]
    return {"whole_db": _finite(ranking.whole_db), "samples": ranking.samples, "operators": rows}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decibel(value: float) -> str:
    return "exact" if value == math.inf else "dead" if value == -math.inf else f"{value:.1f}"
