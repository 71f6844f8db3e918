"""`report.json` as values: what the pages are made of, so that they can be made again, elsewhere and later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersor.errors import FormatError
from tersor.report.form import read

Interval = tuple[float | None, float | None]
"""95 % confidence; None where there is no end."""


@dataclass(frozen=True)
class Accuracy:
    """A metric on samples; `value` is a share for top1 and top5. See `stages.evaluate.Score`."""

    metric: str
    value: float | None
    interval: Interval
    samples: int


@dataclass(frozen=True)
class Change:
    """What was gained or lost against float on the same samples."""

    value: float | None
    interval: Interval
    significant: bool


@dataclass(frozen=True)
class Left:
    """An operator that stays in float."""

    op: str
    name: str
    reason: str


@dataclass(frozen=True)
class Rung:
    """What repair tried."""

    rung: str
    does: str
    kept: bool
    why: str
    gain_db: float | None = None


@dataclass(frozen=True)
class Reporting:
    """What was lost on the samples that are reported on."""

    samples: int


@dataclass(frozen=True)
class Candidate:
    """A file, and what was measured of it; figures that were not measured are None."""

    name: str
    file: str
    size_bytes: int
    size_ratio: float
    gzip_bytes: int
    accuracy_metric: Accuracy | None = None
    accuracy_change: Change | None = None
    agreement: float | None = None
    sqnr_db: float | None = None
    latency_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_ratio: float | None = None
    latency_ratio_interval: tuple[float, float] | None = None
    peak_bytes: int | None = None
    arena_bytes: int = 0
    measured_arena_bytes: int | None = None
    on_front: bool = False
    out: str | None = None
    left_in_float: tuple[Left, ...] = ()
    warnings: tuple[str, ...] = ()
    recipe: str | None = None
    recipe_file: str | None = None
    repair: tuple[Rung, ...] = ()
    reporting: Reporting | None = None

    @property
    def is_exact(self) -> bool:
        """Whether its outputs are the float model's, which JSON has no SQNR for."""
        return self.reporting is not None and self.sqnr_db is None


@dataclass(frozen=True)
class Limits:
    """What was asked for."""

    max_drop: float
    max_drop_is_default: bool
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True)
class Conditions:
    """What figures rest on."""

    calibration_samples: int
    tuning_samples: int
    reporting_samples: int
    threads: int
    kernels: str
    processor: str
    versions: Mapping[str, str]
    data: str | None = None


@dataclass(frozen=True)
class NotTried:
    """A candidate that was not made."""

    name: str
    why: str


@dataclass(frozen=True)
class Errors:
    """See `stages.debug.errors.Errors`; None where a figure is infinite: nothing was lost."""

    sqnr_db: float | None
    ac_sqnr_db: float | None
    max_abs: float | None
    steps: float | None
    clipped: float | None


@dataclass(frozen=True)
class Finding:
    """See `stages.debug.causes.Finding`."""

    cause: str
    seen: str
    cure: str


@dataclass(frozen=True)
class Distribution:
    """See `stages.debug.distributions.Distribution`."""

    low: float
    high: float
    smallest: float
    largest: float
    counts: tuple[int, ...]
    stored: str


@dataclass(frozen=True)
class Layer:
    """An operator that computes in integers; see `stages.debug.Row`."""

    layer: str
    tensor: str
    operator: str
    own: Errors | None
    total: Errors
    findings: tuple[Finding, ...]
    activations: Distribution | None = None
    weights: Distribution | None = None

    @property
    def blamed(self) -> Errors:
        """Its own error, or that of its result where that is not known."""
        return self.own or self.total


@dataclass(frozen=True)
class Diagnosis:
    """What `debug` found of a file; see there."""

    samples: int
    kernels: str
    remarks: tuple[str, ...]
    unmatched: tuple[str, ...]
    operators: tuple[Layer, ...]


@dataclass(frozen=True)
class LeftBehind:
    """See `report.placement.LeftBehind`."""

    operators: str
    status: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Place:
    """Where a candidate would run on the target; see `report.targets.placements_to_dict`."""

    device: str
    headline: str
    operators: int
    mapped: int
    share_of_macs: float | None = None
    refusal: str | None = None
    elsewhere: str = ""
    first: str = ""
    left: tuple[LeftBehind, ...] = ()
    takes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Document:
    """What a report shows; see docs/reference/report.md for each field."""

    schema_version: int
    model: str
    target: str
    limits: Limits
    reference: Candidate = field(metadata={"name": "float"})
    candidates: tuple[Candidate, ...]
    front: tuple[str, ...]
    reasons: tuple[str, ...]
    conditions: Conditions
    goal: str | None = None
    verdict: str | None = None
    reached: bool = False
    missed: tuple[str, ...] = ()
    pick: str | None = None
    not_tried: tuple[NotTried, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    seconds: float = 0.0
    interrupted: bool = False
    command: str | None = None
    pick_command: str | None = None
    diagnoses: Mapping[str, Diagnosis] = field(default_factory=dict)
    placements: Mapping[str, Place] = field(default_factory=dict)

    @property
    def place(self) -> Place | None:
        """Where the candidate to ship would run."""
        return self.placements.get(self.pick or "")

    @property
    def picked(self) -> Candidate | None:
        """The candidate to ship."""
        return next((item for item in self.candidates if item.name == self.pick), None)

    def role(self, item: Candidate) -> str:
        """What a candidate is: "pick", "float", "front" or "other"."""
        if item is self.reference:
            return "float"
        return "pick" if item.name == self.pick else "front" if item.on_front else "other"

    def anchor(self, item: Candidate) -> str:
        """The place of a candidate in a page, by its number: names may hold anything."""
        return "float" if item is self.reference else f"candidate-{self.candidates.index(item) + 1}"


_KNOWN = 1
"""The schema that is read; see `report.search.SCHEMA_VERSION`."""


def document_of(values: Any, where: str = "report") -> Document:
    """What `report.search.search_to_dict` made, as values. Raises FormatError, saying which field is wrong."""
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != _KNOWN:
        seen = "none is given" if version is None else f"found {version!r}"
        raise FormatError(f"{where}: no report of schema_version {_KNOWN} ({seen})")
    found = read(Document, values, where)
    for item in (found.reference, *found.candidates):
        _require_sense(item, f"{where}: {item.name}")
    for part in found.diagnoses.values():
        _require_bars(part, where)
    return found


def diagnosis_of(values: Any) -> Diagnosis:
    """What `report.diagnosis.diagnosis_to_dict` made, as values. Raises FormatError."""
    found = read(Diagnosis, values, "diagnosis")
    _require_bars(found, "diagnosis")
    return found


def read_document(path: str | Path) -> Document:
    """`report.json`, or the one in a folder. Raises FormatError."""
    path = Path(path)
    file = path / "report.json" if path.is_dir() else path
    try:
        values = json.loads(file.read_text("utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise FormatError(f"{file}: cannot be read: {error.strerror or error}; tersor optimize writes it") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file}: is not JSON: {error}") from error
    return document_of(values, str(file))


def _require_sense(item: Candidate, where: str) -> None:
    """Raise FormatError for what cannot have been measured: ratios are divided by, and drawn."""
    for name in ("size_bytes", "size_ratio", "latency_ms", "latency_ratio"):
        value = getattr(item, name)
        if value is not None and not _TINY < value < _HUGE:
            raise FormatError(f"{where}: {name} is {value}, which nothing measures")


def _require_bars(found: Diagnosis, where: str) -> None:
    """Raise FormatError for histograms that cannot be drawn."""
    for layer in found.operators:
        for spread in (layer.activations, layer.weights):
            if spread is not None and not _is_drawn(spread):
                raise FormatError(f"{where}: layer {layer.layer!r} has a histogram without counts or width")


def _is_drawn(spread: Distribution) -> bool:
    low, high = min(spread.low, spread.smallest), max(spread.high, spread.largest)
    return any(spread.counts) and min(spread.counts) >= 0 and _TINY < high - low < _HUGE


_TINY, _HUGE = 1e-100, 1e100


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number that JSON has")
