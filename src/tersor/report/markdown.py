"""`report.md`: the recommendation, the candidates and what is to blame, for a pull request or a wiki."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tersor.report import summary, words
from tersor.report.document import Candidate, Diagnosis, Document
from tersor.report.places import place_rows
from tersor.stages.quantities import milliseconds, size
from tersor.stages.search.output_folder import PICK

_TOP = 8
"""Layers that are named; the page and layers.csv have all."""


def markdown(found: Document) -> str:
    """The whole text."""
    return "\n".join(_lines(found)).rstrip() + "\n"


def _lines(found: Document) -> Iterator[str]:
    yield f"# {plain(summary.headline(found))}"
    yield ""
    yield f"{code(Path(found.model).name or 'a model in memory')} for target {code(found.target)}."
    if found.picked is not None:
        kind = summary.kind(found.picked.name)
        title = f"{words.sentence(kind) + '. ' if kind else ''}{summary.file_title(found)}"
        yield f"{title}: {code(found.picked.file)}, of which {code(PICK)} is a copy"
    yield ""
    for tile in summary.tiles(found):
        yield f"- **{tile.title}: {plain(tile.value)}**; {plain(tile.detail)}"
    yield ""
    yield f"**{plain(summary.verdict(found))}**"
    yield from (f"- {plain(item)}" for item in found.missed)
    for item in found.doubts:
        yield ""
        yield f"**Before you believe the figures:** {plain(item)}"
    if found.interrupted:
        yield ""
        yield "The search was interrupted: not everything was tried."
    yield ""
    yield from (f"- {plain(item)}" for item in (*found.reasons, *found.notes))
    yield ""
    yield plain(summary.basis(found))
    yield ""
    yield "## Candidates"
    yield ""
    yield from _candidates(found)
    if found.not_tried:
        yield ""
        yield from (f"- {plain(item.name)} was not tried: {plain(item.why)}" for item in found.not_tried)
    yield from _placement(found)
    for name, diagnosis in found.diagnoses.items():
        yield ""
        yield f"## Layers of {plain(name)}"
        yield ""
        yield from _layers(diagnosis)
    yield ""
    yield from _again(found)


def _candidates(found: Document) -> Iterator[str]:
    titles = ["candidate", "size", "accuracy [95 %]", "change [95 %]", "same answers", "SQNR", "time", "for or against"]
    everything = (found.reference, *found.candidates)
    yield from table(titles, (_candidate(found, item) for item in everything))


def _candidate(found: Document, item: Candidate) -> list[str]:
    role = found.role(item)
    name = plain(item.name)
    time = ""
    if item.latency_ms is not None:
        ratio = "" if item.latency_ratio is None else f" ({item.latency_ratio:.2f}x)"
        time = milliseconds(item.latency_ms) + ratio
    return [
        f"**{name}**" if role == "pick" else name,
        f"{size(item.size_bytes)} ({item.size_ratio:.2f}x)",
        words.accuracy(item.accuracy_metric),
        words.change(item),
        words.percent(item.agreement),
        words.sqnr(item),
        time,
        {"pick": "the pick", "float": "the reference"}.get(role, plain(item.out or "")),
    ]


def _placement(found: Document) -> Iterator[str]:
    rows = place_rows(found)
    if not rows:
        return
    yield from ("", f"## Placement on {plain(found.target)}", "")
    if found.place is not None:
        yield f"**{plain(found.pick or '')}: {plain(found.place.headline)}**"
        yield ""
        if found.place.left:
            cells = (
                [plain(part) for part in (row.operators, f"{row.status}: {row.reason}", row.remedy)]
                for row in found.place.left
            )
            yield from table([plain(found.place.elsewhere), "why", "what to change"], cells)
            yield ""
        yield from (f"- {plain(note)}" for note in found.place.notes)
        yield ""
    titles = ["candidate", "operators", "MACs", "takes", "what stays behind first"]
    values = ((row.name, row.operators, row.macs, "; ".join(row.place.takes), row.place.first) for row in rows)
    yield from table(titles, ([plain(cell) for cell in row] for row in values))


def _layers(found: Diagnosis) -> Iterator[str]:
    shown, of = min(_TOP, len(found.operators)), len(found.operators)
    yield f"The {shown} of {of} operators most to blame, on {found.samples} samples."
    yield from (f"- {plain(item)}" for item in found.remarks)
    yield ""
    rows = []
    for layer in found.operators[:_TOP]:
        own = "" if layer.own is None else words.decibel(layer.own.ac_sqnr_db)
        causes = "; ".join(plain(item.seen) for item in layer.findings)
        cures = "; ".join(dict.fromkeys(plain(item.cure) for item in layer.findings))
        rows.append(
            [code(layer.layer), layer.operator.lower(), own, words.decibel(layer.total.ac_sqnr_db), causes, cures]
        )
    yield from table(["layer", "operator", "own (dB)", "in the network (dB)", "cause", "cure"], rows)


def _again(found: Document) -> Iterator[str]:
    yield "## How to make it again"
    yield ""
    for command in (found.command, found.pick_command):
        if command:
            yield from _block(command, "console")
    if found.picked is not None and found.picked.recipe:
        yield f"The recipe of {plain(found.picked.name)}:"
        yield ""
        yield from _block(found.picked.recipe, "toml")
    files = [code(item.recipe_file) for item in found.candidates if item.recipe_file]
    if files:
        yield f"- Recipes of all candidates, each beside its file: {', '.join(files)}"
    yield from (f"- {name}: {plain(value)}" for name, value in summary.facts(found))


def _block(text: str, language: str) -> Iterator[str]:
    """A code block, with a fence that the text does not hold."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}{language}", text.rstrip("\n"), fence, "")


def table(titles: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """A table; cells are escaped already, but for what ends a cell."""
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"
    for row in rows:
        yield f"| {' | '.join(_one_line(cell).replace('|', chr(92) + '|') for cell in row)} |"


def plain(text: str) -> str:
    """Text that shows as it is: nothing in it is HTML, a link or emphasis."""
    return re.sub(r"([\\`*_{}\[\]<>#!~&])", r"\\\1", _one_line(text))


def code(text: str) -> str:
    """A name as code: between more backticks than it holds."""
    text = _one_line(text)
    ticks = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
