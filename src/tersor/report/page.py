"""`report.html`: one file for people, which loads nothing and needs no script to be read."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tersor import __version__
from tersor.errors import OutputError
from tersor.report import summary, words
from tersor.report.document import Candidate, Diagnosis, Document
from tersor.report.layers import LayerPart, layer_part
from tersor.report.plot import Chart, chart_guide, charts
from tersor.stages.save import atomic

try:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup, escape
except ImportError as error:
    raise OutputError(f"no HTML without the package {error.name!r}: pip install 'tersor[report]'") from error

_TEMPLATES = files("tersor.report").joinpath("templates")


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


@dataclass(frozen=True)
class Frame:
    """What every page has around its content; the digests are what its security policy knows style and script by."""

    title: str
    sections: list[tuple[str, str]]
    version: str
    style: str
    style_hash: str
    script: str
    script_hash: str


@dataclass(frozen=True)
class Page:
    """What the template shows beside the document itself."""

    model: str
    headline: str
    kind: str
    verdict: str
    reasons: summary.Reasons
    basis: str
    tiles: list[summary.Tile]
    charts: list[Chart]
    chart_guide: str
    columns: list[Column]
    rows: list[Row]
    tests_change: bool
    diagnoses: list[LayerPart]
    facts: list[tuple[str, str]]


def render(found: Document) -> str:
    """The whole page."""
    page = _page(found)
    frame = _frame(f"{page.headline}: {page.model}", list(_sections(bool(page.charts), bool(page.diagnoses))))
    return _rendered("report.html.j2", frame=frame, page=page, found=found)


def render_diagnosis(name: str, found: Diagnosis) -> str:
    """A page about the layers of one file."""
    frame = _frame(f"Layers of {name}", [("layers", "Layers"), ("words", "Words")])
    return _rendered("diagnosis.html.j2", frame=frame, part=layer_part(name, found))


def write_html(text: str, path: str | Path) -> None:
    """Write a page, atomically. Raises OutputError."""
    with atomic(path) as temporary:
        temporary.write_text(text, "utf-8")


def _rendered(template: str, **values: object) -> str:
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"sentence": words.sentence, "breakable": _breakable}
    return str(environment.get_template(template).render(**values)) + "\n"


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line behind a dot or an underscore."""
    return Markup("").join(
        part + Markup("<wbr>") if part in ("_", ".") else escape(part) for part in re.split(r"([_.])", name)
    )


def _template(name: str) -> str:
    return _TEMPLATES.joinpath(name).read_text("utf-8")


def _frame(title: str, sections: list[tuple[str, str]]) -> Frame:
    style, script = _template("report.css"), _template("report.js")
    return Frame(title, sections, __version__, style, _digest(style), script, _digest(script))


def _page(found: Document) -> Page:
    drawn, columns = charts(found), _columns(found)
    parts = [layer_part(name, item) for name, item in found.diagnoses.items()]
    return Page(
        model=Path(found.model).name or "a model in memory",
        headline=summary.headline(found),
        kind=summary.kind(found.pick or ""),
        verdict=summary.verdict(found),
        reasons=summary.reasons(found),
        basis=summary.basis(found),
        tiles=summary.tiles(found),
        charts=drawn,
        chart_guide=chart_guide(found),
        columns=columns,
        rows=list(_rows(found, columns)),
        tests_change=any(item.accuracy_change is not None for item in found.candidates),
        diagnoses=parts,
        facts=summary.facts(found),
    )


def _digest(text: str) -> str:
    """What a content security policy knows a text by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sections(has_charts: bool, has_layers: bool) -> Iterator[tuple[str, str]]:
    yield "ship", "What to ship"
    if has_charts:
        yield "trade-off", "Trade-off"
    yield "candidates", "Candidates"
    if has_layers:
        yield "layers", "Layers"
    yield "reproduce", "Reproduce"
    yield "words", "Words"


def _rows(found: Document, columns: list[Column]) -> Iterator[Row]:
    for place, item in enumerate((found.reference, *found.candidates)):
        role = found.role(item)
        is_faster = item.latency_ratio is not None and item.latency_ratio < 1 and role != "float"
        tags = [tag for tag, holds in (("front", item.on_front), ("fast", is_faster), (role, True)) if holds]
        why = {"pick": "recommended: see above", "float": "what all others are compared with"}.get(role, item.out or "")
        cells = tuple(column.cell(item) for column in columns)
        yield Row(item, found.anchor(item), role, " ".join(tags), cells, why, Path(item.file).name, place)


def _columns(found: Document) -> list[Column]:
    """Those with any figure at all."""
    everything = (found.reference, *found.candidates)
    return [column for column in _COLUMNS if any(column.cell(item).text for item in everything)]


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
    lines = (f"{_times(item.size_ratio)} float", f"{words.size(item.gzip_bytes)} gzip")
    return Cell(words.size(item.size_bytes), item.size_bytes, lines)


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.0f}×"


def _time(item: Candidate) -> Cell:
    if item.latency_ms is None:
        return Cell("", None)
    lines = [] if item.latency_ratio is None or item.recipe is None else [f"{_times(item.latency_ratio)} float"]
    if item.latency_p95_ms is not None:
        lines.append(f"p95 {words.milliseconds(item.latency_p95_ms)}")
    return Cell(words.milliseconds(item.latency_ms), item.latency_ms, tuple(lines))


def _memory(item: Candidate) -> Cell:
    lines = (f"arena {words.size(item.arena_bytes)}",) if item.arena_bytes else ()
    if item.peak_bytes is None:
        return Cell("not measured" if lines else "", None, lines)
    return Cell(words.size(item.peak_bytes), item.peak_bytes, lines)


def _sqnr(item: Candidate) -> Cell:
    return Cell(words.sqnr(item), 1e9 if item.is_exact else item.sqnr_db)


_COLUMNS = (
    Column("Accuracy", "the metric on samples that nothing was chosen by", _accuracy),
    Column("Change", "against the float model on the same samples", _change),
    Column("Same answers", "as the float model", lambda item: Cell(words.percent(item.agreement), item.agreement)),
    Column("SQNR", "signal over quantization noise at the outputs; more is better", _sqnr),
    Column("Size", "of the file", _size),
    Column("Time", "median of a run on the machine that measured", _time),
    Column("Memory", "by which the process grows at most when it loads and runs the file", _memory),
)
