"""Which charts a report has, and what stands on their axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tersor.report import words
from tersor.report.document import Candidate, Document
from tersor.report.drawing import Point, trade_off
from tersor.report.summary import HERE
from tersor.stages.evaluate import SHARES


@dataclass(frozen=True)
class Chart:
    """A chart: its title, what it shows in words, and the drawing."""

    title: str
    text: str
    svg: str


@dataclass(frozen=True)
class _Quality:
    """What is drawn upwards.

    Attributes:
        title: of the axis.
        value: of a candidate, None where it was not measured.
        interval: of it.
        is_change: whether it is a change against float, which is 0 there.
        reference: of the float model.
    """

    title: str
    value: Callable[[Candidate], float | None]
    interval: Callable[[Candidate], tuple[float, float] | None]
    is_change: bool
    reference: float | None


def charts(found: Document) -> list[Chart]:
    """Size and time against quality; none of what was measured of fewer than two files."""
    quality = _quality(found)
    if quality is None:
        time = _Quality("time of a run (float = 1)", _time_ratio, _no_interval, False, 1.0)
        alone = _chart(found, time, "Size", _size_unit(found), "smaller", "time, where lower is faster")
        return [] if alone is None or found.reference.latency_ms is None else [alone]
    drawn = [
        _chart(found, quality, "Size", _size_unit(found), "smaller"),
        _chart(found, quality, "Time", ("time of a run (float = 1)", _time_ratio), "faster")
        if found.target == HERE
        else _chart(found, quality, "Working memory", _memory_unit(found), "smaller"),
    ]
    return [chart for chart in drawn if chart is not None]


def chart_guide(found: Document) -> str:
    """How to read the charts."""
    quality = _quality(found)
    if quality is None:
        return "Left is smaller, lower is faster; what is lost was not measured. Select a point to see its row below."
    upwards = "The dashed line is the float model’s accuracy" if quality.is_change else "Higher is better"
    bars = "; vertical bars are 95 % intervals" if quality.is_change else ""
    left = "smaller or faster" if found.target == HERE else "smaller"
    return (
        f"Left is {left}. {upwards}{bars}. Select a point to see its row in the table; hover over it or reach it with "
        "the Tab key to see its figures."
    )


def _memory_unit(found: Document) -> tuple[str, Callable[[Candidate], float | None]]:
    if any(item.measured_arena_bytes is not None for item in found.candidates):
        return "arena (kB)", lambda item: _kilobytes(item.measured_arena_bytes)
    return "intermediate results (kB)", lambda item: _kilobytes(item.arena_bytes)


def _kilobytes(count: int | None) -> float | None:
    return count / 1e3 if count else None


def _time_ratio(item: Candidate) -> float | None:
    """Measured in turn with the float model, so that what slows the machine down slows both."""
    if item.recipe is None and item.latency_ms is not None:
        return 1.0
    return item.latency_ratio


def _size_unit(found: Document) -> tuple[str, Callable[[Candidate], float | None]]:
    unit, name = (1e6, "MB") if found.reference.size_bytes >= 2e6 else (1e3, "kB")
    return f"size of the file ({name})", lambda item: item.size_bytes / unit


def _quality(found: Document) -> _Quality | None:
    """The surest figure that there is."""
    score = found.reference.accuracy_metric
    if score is not None and any(item.accuracy_change is not None for item in found.candidates):
        unit = 100.0 if score.metric in SHARES else 1.0
        title = f"{score.metric} against float" + (" (points)" if unit == 100.0 else "")
        return _Quality(title, lambda item: _change(item, unit), lambda item: _bounds(item, unit), True, 0.0)
    if any(item.agreement is not None for item in found.candidates):
        return _Quality("answers as float (%)", lambda item: _percent(item.agreement), _no_interval, False, 100.0)
    if any(item.sqnr_db is not None for item in found.candidates):
        return _Quality("SQNR (dB)", lambda item: item.sqnr_db, _no_interval, False, None)
    return None


def _chart(
    found: Document,
    quality: _Quality,
    title: str,
    across: tuple[str, Callable[[Candidate], float | None]],
    better: str,
    against: str = "quality",
) -> Chart | None:
    axis, measure = across
    points = []
    for item in (found.reference, *found.candidates):
        is_float = item is found.reference
        x, y = measure(item), quality.reference if is_float else quality.value(item)
        if x is not None and y is not None:
            interval = None if is_float else quality.interval(item)
            text = words.candidate_text(item)
            points.append(Point(item.name, text, f"#{found.anchor(item)}", found.role(item), x, y, interval))
    if len(points) < 2:
        return None
    svg = trade_off(points, axis, quality.title, is_change=quality.is_change)
    text = (
        f"{title} against {against}, for {len(points)} files; left is {better}. The table below has the same figures."
    )
    return Chart(f"{title} and {against}", text, svg)


def _change(item: Candidate, unit: float) -> float | None:
    change = item.accuracy_change
    return None if change is None or change.value is None else unit * change.value


def _bounds(item: Candidate, unit: float) -> tuple[float, float] | None:
    change = item.accuracy_change
    if change is None or change.interval[0] is None or change.interval[1] is None:
        return None
    return unit * change.interval[0], unit * change.interval[1]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _no_interval(_item: Candidate) -> None:
    return None
