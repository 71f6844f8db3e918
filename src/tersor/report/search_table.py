"""What `tersor optimize` found, in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from tersor.report import cells
from tersor.stages.quantities import size
from tersor.stages.search.result import Candidate, Search
from tersor.stages.search.targets import target_of


def search_table(found: Search, *, is_narrow: bool = False) -> Table:
    """A row for the float model and each candidate, the pick in bold; columns without any figure are left out.

    A narrow table, for 80 columns, has the figures that decide.
    """
    rows = (found.reference, *found.candidates)
    columns: list[tuple[str, Callable[[Candidate], str]]] = [("size", lambda row: _size(row, found.reference))]
    scored = next((row.score for row in rows if row.score is not None), None)
    if scored is not None:
        columns.append((scored.metric, lambda row: cells.score(row.score)))
        columns.append(("change [95 %]", lambda row: cells.change(row.score, row.change)))
    if any(row.agreement is not None for row in rows) and not (is_narrow and scored):
        columns.append(("agree", lambda row: cells.agreement(row.agreement)))
    if any(row.sqnr_db is not None for row in rows):
        columns.append(("SQNR", lambda row: cells.sqnr(row.sqnr_db)))
    if not _is_here(found):
        columns.append((_memory_title(found), lambda row: _memory(found, row)))
    elif any(row.timing is not None for row in rows):
        columns += [("x float", _short_ratio)] if is_narrow else [("ms (p95)", _latency), ("x float [95 %]", _ratio)]
    if _has_memory(found) and not is_narrow:
        columns.append(("memory", lambda row: "" if row.peak_bytes is None else size(row.peak_bytes)))
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    table.add_column("candidate", no_wrap=True)
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        mark = "*" if row.name == found.pick else ("+" if row.name in found.front else "")
        style = "bold" if row.name == found.pick else None
        table.add_row(mark, *map(escape, (row.name, *(cell(row) for _, cell in columns))), style=style)
    return table


def search_verdict(found: Search) -> list[str]:
    """What to ship, and how its goal stands: what somebody in a hurry reads."""
    count = len(found.reasons) - len(found.out)
    return list(found.reasons[:count])


def search_notes(found: Search, report: Path, *, is_narrow: bool = False) -> list[str]:
    """Why the others are out, and what the figures of `search_table` rest on."""
    own = found.conditions
    cost = "time" if _is_here(found) else _memory_title(found)
    notes = list(found.reasons[len(search_verdict(found)) :])
    notes += [f"not tried: {name}: {why}" for name, why in found.not_tried.items()]
    if own.reporting_samples:
        notes.append(
            f"calibrated on {own.calibration_samples} samples, chosen by {own.tuning_samples} others, "
            f"figures from {own.reporting_samples} further ones, which could only refuse a choice"
        )
    notes.append(f"*: the pick; +: no other is better in loss, size and {cost}")
    if not _is_here(found):
        notes.append(
            "arena: the least with which TensorFlow Lite Micro runs the file here, measured"
            if _has_arena(found)
            else "activations: the least memory that they take, computed; a runtime's own comes on top"
        )
    elif any(row.timing is not None for row in (found.reference, *found.candidates)):
        ran = f"with {own.threads} thread{'s' if own.threads > 1 else ''} on the {own.kernels} kernels"
        what = "x float: times of runs" if is_narrow else "ms: median and 95th percentile of runs"
        notes.append(f"{what} {ran}, each file in turn with the float model; {own.processor}")
    if _has_memory(found) and not is_narrow:
        notes.append("memory: peak growth of a fresh process that loads and runs the file")
    notes += found.notes
    files = len(found.candidates)
    notes.append(
        f"wrote {found.folder}/pick.tflite ({found.pick}), recipe.toml, {report.name} and {files} variants with their "
        f"recipes in {found.seconds:.0f} s"
    )
    return notes


def search_warnings(found: Search) -> list[str]:
    """What the user should not miss."""
    pick = found.picked
    own = [f"{pick.name}: {text}" for text in pick.warnings] if pick is not None else []
    ended = ["interrupted: what is done is kept, and the same command goes on from there"] if found.interrupted else []
    return [*found.doubts, *found.missed, *own, *ended]


def in_short(item: Candidate) -> str:
    """A candidate in a line."""
    parts = [size(item.size_bytes)]
    if item.timing is not None:
        parts.append(f"{item.timing.ratio:.2f}x float's time")
    if item.change is not None and item.score is not None:
        parts.append(f"{item.score.metric} {cells.change(item.score, item.change).split(' ')[0]}")
    elif item.agreement is not None:
        parts.append(f"{cells.agreement(item.agreement)} same answers")
    elif item.sqnr_db is not None:
        parts.append(f"SQNR {cells.sqnr(item.sqnr_db)} dB")
    return f"{item.name} ({', '.join(parts)})"


def _has_arena(found: Search) -> bool:
    """Whether memory was measured where the target's runtime runs."""
    return any(row.measured_arena_bytes is not None for row in found.candidates)


def _memory_title(found: Search) -> str:
    return "arena" if _has_arena(found) else "activations"


def _memory(found: Search, row: Candidate) -> str:
    if not _has_arena(found):
        return size(row.arena_bytes)
    return "" if row.measured_arena_bytes is None else size(row.measured_arena_bytes)


def _is_here(found: Search) -> bool:
    """Whether times of this machine are those of the target."""
    return target_of(found.target).is_this_machine


def _has_memory(found: Search) -> bool:
    """Whether memory of this machine's runtime was measured, and is that of the target."""
    return _is_here(found) and any(row.peak_bytes is not None for row in (found.reference, *found.candidates))


def _size(row: Candidate, reference: Candidate) -> str:
    return size(row.size_bytes) if row is reference else cells.size_beside(row.size_bytes, reference.size_bytes)


def _latency(row: Candidate) -> str:
    return "" if row.timing is None else f"{row.timing.median_ms:.3g} ({row.timing.p95_ms:.3g})"


def _short_ratio(row: Candidate) -> str:
    return "" if row.timing is None else f"{row.timing.ratio:.2f}"


def _ratio(row: Candidate) -> str:
    if row.timing is None:
        return ""
    low, high = row.timing.ratio_interval
    return f"{row.timing.ratio:.2f} [{low:.2f}, {high:.2f}]"
