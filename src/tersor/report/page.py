"""`report.html`: one file for people, which loads nothing and needs no script to be read."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tersor import __version__
from tersor.errors import OutputError
from tersor.report import summary, words
from tersor.report.columns import Column, Row, columns_of, rows_of
from tersor.report.document import Diagnosis, Document
from tersor.report.layers import LayerPart, layer_part
from tersor.report.places import PlaceRow, place_rows
from tersor.report.plot import Chart, chart_guide, charts
from tersor.stages.save import atomic
from tersor.stages.search.output_folder import PICK

try:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup, escape
except ImportError as error:
    raise OutputError(f"no HTML without the package {error.name!r}: pip install 'tersor[report]'") from error

_TEMPLATES = files("tersor.report").joinpath("templates")


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
    file_title: str
    copy: str
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
    places: list[PlaceRow]
    has_resources: bool


def render(found: Document) -> str:
    """The whole page."""
    page = _page(found)
    frame = _frame(
        f"{page.headline}: {page.model}",
        list(_sections(bool(page.charts), bool(found.placements), bool(page.diagnoses))),
    )
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
    drawn, columns = charts(found), columns_of(found)
    parts = [layer_part(name, item) for name, item in found.diagnoses.items()]
    return Page(
        model=Path(found.model).name or "a model in memory",
        headline=summary.headline(found),
        kind=summary.kind(found.pick or ""),
        file_title=summary.file_title(found),
        copy=PICK,
        verdict=summary.verdict(found),
        reasons=summary.reasons(found),
        basis=summary.basis(found),
        tiles=summary.tiles(found),
        charts=drawn,
        chart_guide=chart_guide(found),
        columns=columns,
        rows=list(rows_of(found, columns)),
        tests_change=any(item.accuracy_change is not None for item in found.candidates),
        diagnoses=parts,
        facts=summary.facts(found),
        places=place_rows(found),
        has_resources=any(item.takes for item in found.placements.values()),
    )


def _digest(text: str) -> str:
    """What a content security policy knows a text by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sections(has_charts: bool, has_places: bool, has_layers: bool) -> Iterator[tuple[str, str]]:
    yield "ship", "What to ship"
    if has_charts:
        yield "trade-off", "Trade-off"
    yield "candidates", "Candidates"
    if has_places:
        yield "placement", "Placement"
    if has_layers:
        yield "layers", "Layers"
    yield "reproduce", "Reproduce"
    yield "words", "Words"
