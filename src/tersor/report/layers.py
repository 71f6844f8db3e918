"""What the report says of the layers of a file: which are to blame, why, and what their values look like."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tersor.report import words
from tersor.report.document import Diagnosis, Distribution, Finding, Layer
from tersor.report.drawing import histogram
from tersor.report.plot import Chart
from tersor.stages.debug.causes import DEEP_DB, GOOD_DB

SHOWN = 6
"""Layers whose values are drawn."""

_FULL_DB = 40.0
"""Where the bar of an error is empty; at 0 dB, as much error as signal, it is full."""

_GRADES = ((10.0, "heavy error"), (20.0, "strong error"), (GOOD_DB, "noticeable error"))


@dataclass(frozen=True)
class LayerRow:
    """A layer in the table."""

    layer: Layer
    own: str
    own_value: str
    own_share: float | None
    total: str
    total_value: str
    total_share: float | None
    cause: str
    cure: str
    tags: str


@dataclass(frozen=True)
class LayerCard:
    """A layer with its charts; `inherited` says in a sentence that its error is that of layers before it, or is ""."""

    layer: Layer
    grade: str
    inherited: str
    findings: list[Finding]
    charts: list[Chart]


@dataclass(frozen=True)
class LayerPart:
    """What is said of one file; `cures` with the number of operators that each would help."""

    name: str
    summary: str
    cures: list[tuple[str, int]]
    found: Diagnosis
    cards: list[LayerCard]
    rows: list[LayerRow]


def layer_part(name: str, found: Diagnosis) -> LayerPart:
    """The layers of a file, most to blame first, as `debug` has them."""
    weak = sum(_is_weak(layer) for layer in found.operators)
    caused = sum(any(item.cause != _INHERITED for item in layer.findings) for layer in found.operators)
    summary = (
        f"Of {len(found.operators)} operators that compute in integers, {weak or 'none'} lose{'s' * (weak == 1)} more "
        f"than is usual (below {GOOD_DB:.0f} dB), and {caused or 'none'} show{'s' * (caused == 1)} a known cause."
    )
    if not weak and any(_inherited(layer) for layer in found.operators):
        summary += " Where the network loses more, small errors have added up from layer to layer."
    cures = Counter(item.cure for layer in found.operators for item in layer.findings if item.cause != _INHERITED)
    cards = [_card(layer) for layer in found.operators[:SHOWN]]
    rows = [_row(layer) for layer in found.operators]
    return LayerPart(name, summary, cures.most_common(), found, cards, rows)


_INHERITED = "accumulated_error"
"""The cause of those that have none of their own."""


def _is_weak(layer: Layer) -> bool:
    noise = layer.blamed.ac_sqnr_db
    return noise is not None and noise < GOOD_DB


def _card(layer: Layer) -> LayerCard:
    charts = []
    for spread, what in ((layer.activations, "results"), (layer.weights, "weights")):
        if spread is not None:
            charts.append(Chart(f"Its {what}", _told(spread, what), histogram(spread, f"value of {what}")))
    findings = [item for item in layer.findings if item.cause != _INHERITED]
    return LayerCard(layer, _grade(layer), _inherited(layer), findings, charts)


def _inherited(layer: Layer) -> str:
    """What to say of a layer whose result is much worse in the network than it makes it."""
    own, total = layer.own, layer.total.ac_sqnr_db
    if own is None or total is None or total >= GOOD_DB:
        return ""
    is_told = any(item.cause == _INHERITED for item in layer.findings)
    if not is_told and own.ac_sqnr_db is not None and own.ac_sqnr_db < total + DEEP_DB:
        return ""
    alone = "it would be exact" if own.ac_sqnr_db is None else f"it would reach {own.ac_sqnr_db:.0f} dB"
    return f"Its error comes from the layers before it: by itself {alone}, in the network it has {total:.0f} dB"


def _grade(layer: Layer) -> str:
    noise = layer.blamed.ac_sqnr_db
    if noise is None:
        return "exact"
    grade = next((word for limit, word in _GRADES if noise < limit), "usual error")
    return f"{grade} ({noise:.1f} dB)"


def _told(spread: Distribution, what: str) -> str:
    """What a histogram shows, in words."""
    inside = "all lie inside"
    if spread.smallest < spread.low or spread.largest > spread.high:
        inside = "what lies beyond is clipped"
    return (
        f"{what} from {spread.smallest:.4g} to {spread.largest:.4g}; the integers reach from {spread.low:.4g} to "
        f"{spread.high:.4g} ({spread.stored}): {inside}"
    )


def _row(layer: Layer) -> LayerRow:
    own = None if layer.own is None else layer.own.ac_sqnr_db
    total = layer.total.ac_sqnr_db
    tags = [tag for tag, holds in (("caused", layer.findings), ("weak", _is_weak(layer))) if holds]
    return LayerRow(
        layer=layer,
        own="not measured" if layer.own is None else words.decibel(own),
        own_value="" if layer.own is None else _sorted_by(own),
        own_share=None if layer.own is None else _share(own),
        total=words.decibel(total),
        total_value=_sorted_by(total),
        total_share=_share(total),
        cause="; ".join(item.seen for item in layer.findings),
        cure="; ".join(dict.fromkeys(item.cure for item in layer.findings)),
        tags=" ".join(tags),
    )


def _sorted_by(value: float | None) -> str:
    """Exact results, which JSON has no number for, come after all others."""
    return "1e9" if value is None else repr(value)


def _share(value: float | None) -> float:
    """How much of its bar an error fills."""
    return 0.0 if value is None else min(max(1 - value / _FULL_DB, 0.0), 1.0)
