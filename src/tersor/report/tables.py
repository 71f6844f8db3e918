"""`candidates.csv` and `layers.csv`: the figures of a report for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from tersor.report.document import Candidate, Document, Errors, Layer


def candidates_csv(found: Document) -> str:
    """One line for the float model and each candidate; what was not measured is empty."""
    head = ["name", "file", "role", "metric", "accuracy", "accuracy_low", "accuracy_high", "samples"]
    head += ["change", "change_low", "change_high", "change_significant", "agreement", "sqnr_db"]
    head += ["size_bytes", "gzip_bytes", "size_ratio", "latency_ms", "latency_p95_ms", "latency_ratio"]
    head += ["peak_bytes", "arena_bytes", "measured_arena_bytes", "on_front", "left_in_float", "out"]
    return _csv(head, (_candidate(found, item) for item in (found.reference, *found.candidates)))


def layers_csv(found: Document) -> str:
    """One line for each operator of each file that was looked into, most to blame first."""
    head = ["candidate", "layer", "tensor", "operator"]
    head += [f"{part}_{name}" for part in ("own", "total") for name in _ERRORS]
    head += ["low", "high", "smallest", "largest", "cause", "seen", "cure"]
    rows = (_layer(name, layer) for name, part in found.diagnoses.items() for layer in part.operators)
    return _csv(head, rows)


_ERRORS = ("ac_sqnr_db", "sqnr_db", "max_abs", "steps", "clipped")


def _candidate(found: Document, item: Candidate) -> list[object]:
    score, change = item.accuracy_metric, item.accuracy_change
    scored = [score.metric, score.value, *score.interval, score.samples] if score else [None] * 5
    changed = [change.value, *change.interval, change.significant] if change else [None] * 4
    return [
        *(item.name, item.file, found.role(item)),
        *scored,
        *changed,
        *(item.agreement, item.sqnr_db, item.size_bytes, item.gzip_bytes, item.size_ratio),
        *(item.latency_ms, item.latency_p95_ms, item.latency_ratio),
        *(item.peak_bytes, item.arena_bytes, item.measured_arena_bytes),
        *(item.on_front, len(item.left_in_float), item.out),
    ]


def _layer(name: str, layer: Layer) -> list[object]:
    spread = layer.activations
    seen = [None] * 4 if spread is None else [spread.low, spread.high, spread.smallest, spread.largest]
    texts = ["; ".join(getattr(item, key) for item in layer.findings) for key in ("cause", "seen", "cure")]
    figures = [*_errors(layer.own), *_errors(layer.total)]
    return [name, layer.layer, layer.tensor, layer.operator, *figures, *seen, *texts]


def _errors(errors: Errors | None) -> list[object]:
    return [None if errors is None else getattr(errors, name) for name in _ERRORS]


def _csv(head: list[str], rows: Iterable[list[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
