"""The table of candidates: what stands in its cells, and what they are sorted and filtered by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tersor.report import words
from tersor.report.document import Candidate, Document
from tersor.stages.quantities import milliseconds, size


@dataclass(frozen=True)
class Column:
    """A column of figures: its head, what that means, and what it says of a candidate."""

    title: str
    help: str
    cell: Callable[[Candidate], Cell]


@dataclass(frozen=True)
class Cell:
    """What stands in a table, what it is sorted by, and smaller lines below."""

    text: str
    value: float | None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A candidate in the table; `tags` are what it is filtered by."""

    item: Candidate
    anchor: str
    role: str
    tags: str
    cells: tuple[Cell, ...]
    why: str
    file: str
    place: int


def rows_of(found: Document, columns: list[Column]) -> Iterator[Row]:
    """The float model, then the candidates in their order."""
    for place, item in enumerate((found.reference, *found.candidates)):
        role = found.role(item)
        tags = [tag for tag, holds in (("front", item.on_front), ("fast", _is_faster(item)), (role, True)) if holds]
        why = {"pick": "recommended: see above", "float": "what all others are compared with"}.get(role, item.out or "")
        cells = tuple(column.cell(item) for column in columns)
        yield Row(item, found.anchor(item), role, " ".join(tags), cells, why, Path(item.file).name, place)


def _is_faster(item: Candidate) -> bool:
    """Whether it takes less time than the float model, by more than chance."""
    if item.latency_ratio is None or item.recipe is None:
        return False
    return (item.latency_ratio_interval or (item.latency_ratio, item.latency_ratio))[1] < 1


def columns_of(found: Document) -> list[Column]:
    """Those with any figure at all; what a device needs says more than what this machine does."""
    everything = (found.reference, *found.candidates)
    given = [column for column in _COLUMNS if any(column.cell(item).text for item in everything)]
    return [column for column in given if column is not _MEMORY or _ARENA not in given]


def _accuracy(item: Candidate) -> Cell:
    score = item.accuracy_metric
    if score is None:
        return Cell("", None)
    low, high = (words.metric_value(score.metric, bound).removesuffix(words.PERCENT) for bound in score.interval)
    return Cell(words.metric_value(score.metric, score.value), score.value, (f"[{low}, {high}]",))


def _change(item: Candidate) -> Cell:
    score, change = item.accuracy_metric, item.accuracy_change
    if score is None or change is None:
        return Cell("", None)
    low, high = (words.signed(score.metric, bound) for bound in change.interval)
    lines = (f"[{low}, {high}]", "more than chance" if change.significant else "may be chance")
    return Cell(words.signed(score.metric, change.value), change.value, lines)


def _size(item: Candidate) -> Cell:
    lines = (f"{_times(item.size_ratio)} float", f"{size(item.gzip_bytes)} gzip")
    return Cell(size(item.size_bytes), item.size_bytes, lines)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.0f}×"


def _time(item: Candidate) -> Cell:
    if item.latency_ms is None:
        return Cell("", None)
    lines = [] if item.latency_ratio is None or item.recipe is None else [f"{_times(item.latency_ratio)} float"]
    if item.latency_p95_ms is not None:
        lines.append(f"p95 {milliseconds(item.latency_p95_ms)}")
    return Cell(milliseconds(item.latency_ms), item.latency_ms, tuple(lines))


def _memory(item: Candidate) -> Cell:
    lines = (f"arena ≥ {size(item.arena_bytes)}",) if item.arena_bytes else ()
    if item.peak_bytes is None:
        return Cell("not measured" if lines else "", None, lines)
    return Cell(size(item.peak_bytes), item.peak_bytes, lines)


def _arena(item: Candidate) -> Cell:
    found = item.measured_arena_bytes
    return Cell("", None) if found is None else Cell(size(found), found, ("measured",))


def _sqnr(item: Candidate) -> Cell:
    return Cell(words.sqnr(item), 1e9 if item.is_exact else item.sqnr_db)


_ARENA = Column("Arena", "the least with which TensorFlow Lite Micro runs it, on the machine that measured", _arena)
_MEMORY = Column("Memory", "by which the process grows at most when it loads and runs the file", _memory)

_COLUMNS = (
    Column("Accuracy", "the metric on samples that nothing was chosen by", _accuracy),
    Column("Change", "against the float model on the same samples", _change),
    Column("Same answers", "as the float model", lambda item: Cell(words.percent(item.agreement), item.agreement)),
    Column("SQNR", "signal over quantization noise at the outputs; more is better", _sqnr),
    Column("Size", "of the file", _size),
    Column("Time", "median of a run on the machine that measured", _time),
    _ARENA,
    _MEMORY,
)
