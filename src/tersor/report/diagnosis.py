"""What `debug` found, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.text import short
from tersor.report import cells
from tersor.stages.debug import Diagnosis, Row
from tersor.stages.debug.errors import Errors
from tersor.stages.save import atomic

_WIDTH = 24
"""Columns for a layer's name, of the 80 that a terminal has at least."""

_NUMBERS = tuple(item.name for item in fields(Errors) if item.name != "shifts")


def diagnosis_table(diagnosis: Diagnosis, top: int) -> Table:
    """The operators most to blame: what each loses by itself and in the network, and why."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("layer and operator", max_width=_WIDTH, no_wrap=True, overflow="ellipsis")
    table.add_column("own", justify="right", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    table.add_column("cause")
    for row in diagnosis.rows[:top]:
        cause = "; ".join(item.seen for item in row.findings) or "-"
        own = cells.sqnr(None if row.own is None else row.own.ac_sqnr_db)
        operator = f"{escape(short(row.layer))}\n [dim]{escape(row.kind.lower())}[/dim]"
        table.add_row(operator, own, cells.sqnr(row.total.ac_sqnr_db), escape(cause))
    return table


def diagnosis_notes(diagnosis: Diagnosis, top: int) -> list[str]:
    """What the table rests on, and what to do."""
    shown = min(top, len(diagnosis.rows))
    measured = f"on {diagnosis.samples} samples, {diagnosis.kernels} kernels"
    notes = [
        f"the {shown} of {len(diagnosis.rows)} integer operators most to blame, {measured}",
        "own, total: signal's variance over the error that the operator makes by itself, and of its result, in dB",
    ]
    if diagnosis.unmatched:
        names = ", ".join(map(short, diagnosis.unmatched[:3]))
        notes.append(f"{len(diagnosis.unmatched)} operators have no counterpart in the float model: {names}")
    cures = Counter(item.cure for row in diagnosis.rows for item in row.findings if item.cause != "accumulated_error")
    notes += [f"cure for {count} operator{'s' if count > 1 else ''}: {cure}" for cure, count in cures.most_common()]
    return notes


def diagnosis_to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything, as JSON has it: infinities become None."""
    return {
        "samples": diagnosis.samples,
        "kernels": diagnosis.kernels,
        "remarks": list(diagnosis.remarks),
        "unmatched": list(diagnosis.unmatched),
        "operators": [_row_to_dict(row) for row in diagnosis.rows],
    }


def diagnosis_to_csv(diagnosis: Diagnosis) -> str:
    """One line per operator, most to blame first."""
    buffer = io.StringIO()
    head = ["layer", "tensor", "operator", "type", "scale", "zero_point", "low", "high", "kernels"]
    columns = [f"{part}_{name}" for part in ("own", "total") for name in _NUMBERS]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*head, *columns, "cause", "seen", "cure"])
    for row in diagnosis.rows:
        low, high = row.params.real_range
        cells = [row.layer, row.tensor, row.kind, row.params.dtype, row.params.scale, row.params.zero_point, low, high]
        figures = [getattr(part, name) if part else "" for part in (row.own, row.total) for name in _NUMBERS]
        texts = ["; ".join(getattr(item, key) for item in row.findings) for key in ("cause", "seen", "cure")]
        writer.writerow([*cells, diagnosis.kernels, *figures, *texts])
    return buffer.getvalue()


def write_diagnosis(diagnosis: Diagnosis, model: Path) -> list[Path]:
    """Write the CSV and the JSON beside a model's file; returns where. Raises OutputError."""
    texts = {"csv": diagnosis_to_csv(diagnosis), "json": json.dumps(diagnosis_to_dict(diagnosis), indent=2) + "\n"}
    written = []
    for kind, text in texts.items():
        path = model.with_suffix(f".debug.{kind}")
        with atomic(path) as temporary:
            temporary.write_text(text, "utf-8")
        written.append(path)
    return written


def _row_to_dict(row: Row) -> dict[str, Any]:
    low, high = row.params.real_range
    return {
        "layer": row.layer,
        "tensor": row.tensor,
        "operator": row.kind,
        "type": str(row.params.dtype),
        "scale": row.params.scale,
        "zero_point": row.params.zero_point,
        "low": low,
        "high": high,
        "own": _errors_to_dict(row.own),
        "total": _errors_to_dict(row.total),
        "findings": [asdict(item) for item in row.findings],
        "activations": None if row.activations is None else asdict(row.activations),
        "weights": None if row.weights is None else asdict(row.weights),
    }


def _errors_to_dict(errors: Errors | None) -> dict[str, float | None] | None:
    if errors is None:
        return None
    values = {name: getattr(errors, name) for name in _NUMBERS}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
