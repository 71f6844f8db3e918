"""Figures in words, for people who have never quantized a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tersor.report.document import Accuracy, Candidate, Document

SHARES = ("top1", "top5")
"""Metrics that are shares of the samples, said in percent; their changes are points."""

PERCENT = "\N{NO-BREAK SPACE}%"

_METRICS = {
    "top1": "right answers",
    "top5": "share of samples with the right answer among the first five",
    "auc": "area under the ROC curve",
    "mse": "mean squared error",
}

_ALIKE = 0.03
"""A time this close to float's is called the same."""


@dataclass(frozen=True)
class Tile:
    """One figure of the first screen: what it is, in words a person says, and what it rests on.

    `tone`: "good", "bad" or "plain".
    """

    title: str
    value: str
    detail: str
    tone: str = "plain"


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def milliseconds(value: float) -> str:
    """A time."""
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def metric_name(metric: str) -> str:
    """A metric in words; another than those known by its own name."""
    return _METRICS.get(metric, metric)


def metric_value(metric: str, value: float | None) -> str:
    """A figure of a metric."""
    if value is None:
        return "not finite"
    return f"{100 * value:.1f}{PERCENT}" if metric in SHARES else f"{value:.4g}"


def accuracy(score: Accuracy | None) -> str:
    """A metric and its interval."""
    if score is None:
        return ""
    low, high = (metric_value(score.metric, bound) for bound in score.interval)
    return f"{metric_value(score.metric, score.value)} [{low}, {high}]"


def signed(metric: str, value: float | None) -> str:
    """A change of a metric."""
    if value is None:
        return "not finite"
    text = f"{_rounded(100 * value):+.1f}" if metric in SHARES else f"{value:+.3g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def change(item: Candidate) -> str:
    """A change of accuracy with its interval."""
    if item.accuracy_change is None or item.accuracy_metric is None:
        return ""
    metric = item.accuracy_metric.metric
    low, high = (signed(metric, bound) for bound in item.accuracy_change.interval)
    return f"{signed(metric, item.accuracy_change.value)} [{low}, {high}]"


def percent(share: float | None) -> str:
    """A share; 100 % only where nothing is missing."""
    if share is None:
        return ""
    shown = 100 * share
    return f"99.9{PERCENT}" if share < 1 and round(shown, 1) == 100 else f"{shown:.1f}{PERCENT}"


def decibel(value: float | None) -> str:
    """A ratio; None is infinite: nothing was lost."""
    return "exact" if value is None else f"{value:.1f}"


def times_smaller(ratio: float) -> str:
    """A size beside that of the float model."""
    if ratio <= 0.97:
        return f"{1 / ratio:.2g} times smaller"
    return "as large as before" if ratio < 1.03 else f"{ratio:.2g} times larger"


def times_faster(ratio: float) -> str:
    """A time beside that of the float model."""
    if abs(ratio - 1) <= _ALIKE:
        return "as fast as before"
    if ratio < 1:
        return f"{1 / ratio:.2g} times faster" if ratio <= 0.91 else f"{100 * (1 - ratio):.0f} % faster"
    return f"{ratio:.2g} times slower" if ratio >= 1.1 else f"{100 * (ratio - 1):.0f} % slower"


def headline(found: Document) -> str:
    """What to do, in a few words."""
    if found.picked is None:
        return "Nothing to ship yet"
    return f"Ship {found.picked.name}" if found.reached else f"Nothing keeps the limits; {found.pick} comes nearest"


_VERDICTS = {
    "shown": "On {samples} samples even the cautious reading keeps it.",
    "reached": "It holds as far as {samples} samples can tell; with more samples one could be surer.",
    "open": "What was measured on {samples} samples is beyond it by no more than chance; more samples would tell.",
    "missed": "It is missed on {samples} samples.",
}


def verdict(found: Document) -> str:
    """Whether what was asked for is kept, and how sure that is."""
    if found.goal is None:
        return "Accuracy was not measured: without samples nobody can say what quantization costs here."
    asked = f"{'The usual limit' if found.limits.max_drop_is_default else 'Your limit'}: {found.goal}."
    said = _VERDICTS.get(found.verdict or "", "").format(samples=found.conditions.reporting_samples)
    return f"{asked} {said}".rstrip()


def tiles(found: Document) -> list[Tile]:
    """The figures of the pick that everybody asks for."""
    pick = found.picked
    if pick is None:
        return []
    return [_size_tile(found, pick), _speed_tile(found, pick), *_quality_tiles(found, pick)]


def _size_tile(found: Document, pick: Candidate) -> Tile:
    detail = f"{size(pick.size_bytes)} instead of {size(found.reference.size_bytes)}"
    sent = f"; {size(pick.gzip_bytes)} to download (gzip)"
    tone = "good" if pick.size_ratio <= 0.97 else "plain"
    return Tile("Size", times_smaller(pick.size_ratio), detail + sent, tone)


def _speed_tile(found: Document, pick: Candidate) -> Tile:
    ratio, now, before = pick.latency_ratio, pick.latency_ms, found.reference.latency_ms
    if ratio is None or now is None or before is None:
        return Tile("Speed", "not measured", "no time was taken of this file on this machine")
    threads = found.conditions.threads
    detail = (
        f"{milliseconds(now)} instead of {milliseconds(before)} for one sample, on the machine that measured "
        f"({threads} thread{'s' if threads > 1 else ''}); measure on your device before you decide by it"
    )
    tone = "good" if ratio < 1 - _ALIKE else "bad" if ratio > 1 + _ALIKE else "plain"
    return Tile("Speed", times_faster(ratio), detail, tone)


def _quality_tiles(found: Document, pick: Candidate) -> list[Tile]:
    made = []
    score, moved, before = pick.accuracy_metric, pick.accuracy_change, found.reference.accuracy_metric
    if score is not None and moved is not None and before is not None:
        made.append(_accuracy_tile(pick, score, before))
    if pick.agreement is not None:
        of = f"of {found.conditions.reporting_samples} samples"
        detail = f"it answers as the float model does, {of}; right or wrong, nothing changes for these"
        made.append(Tile("Same answers", percent(pick.agreement), detail))
    elif pick.sqnr_db is not None and not made:
        share = 10 ** (-pick.sqnr_db / 10)
        detail = f"of the power of the outputs is rounding noise (SQNR {pick.sqnr_db:.1f} dB)"
        made.append(Tile("Noise", f"{100 * share:.2g}{PERCENT}", detail))
    return made or [Tile("Accuracy", "not measured", "give samples with --data to learn what it costs")]


def _accuracy_tile(pick: Candidate, score: Accuracy, before: Accuracy) -> Tile:
    moved = pick.accuracy_change
    assert moved is not None
    metric, unit = score.metric, " points" if score.metric in SHARES else ""
    low, high = (signed(metric, bound) for bound in moved.interval)
    sure = "that is more than chance" if moved.significant else "that may be chance"
    detail = (
        f"{metric_name(metric)} on {score.samples} samples, before and after: {_moved(metric, moved.value)}{unit}, and "
        f"{sure}; on other samples the change would likely lie between {low} and {high}{unit} (95 %)"
    )
    value = f"{metric_value(metric, before.value)} → {metric_value(metric, score.value)}"
    if moved.value is None or not moved.significant:
        return Tile("Accuracy", value, detail)
    return Tile("Accuracy", value, detail, "good" if (moved.value > 0) != (metric == "mse") else "bad")


def _moved(metric: str, value: float | None) -> str:
    """A change with its direction."""
    if value is None or not math.isfinite(value):
        return "not finite"
    word = "higher by" if value > 0 else "lower by" if value < 0 else "the same, changed by"
    return f"{word} {signed(metric, abs(value)).lstrip('+')}"


def _rounded(value: float) -> float:
    """Without the sign of a zero."""
    return round(value, 1) + 0.0


def candidate_text(item: Candidate) -> str:
    """All figures of a candidate in a sentence: what a point of the plot says aloud."""
    parts = [f"{size(item.size_bytes)}, {times_smaller(item.size_ratio)}"]
    if item.latency_ms is not None and item.latency_ratio is not None:
        parts.append(f"{milliseconds(item.latency_ms)}, {times_faster(item.latency_ratio)}")
    if item.accuracy_metric is not None:
        parts.append(f"{item.accuracy_metric.metric} {accuracy(item.accuracy_metric)}")
    if item.accuracy_change is not None:
        parts.append(f"change {change(item)}")
    if item.agreement is not None:
        parts.append(f"{percent(item.agreement)} same answers")
    return f"{item.name}: {'; '.join(parts)}"


def basis(found: Document) -> str:
    """What the first screen rests on."""
    own = found.conditions
    if not own.reporting_samples:
        return "Sizes and times were measured; accuracy needs samples."
    return (
        f"Ranges come from {own.calibration_samples} samples, candidates were chosen by {own.tuning_samples} others, and "
        f"all figures here are from {own.reporting_samples} more that played no part in either."
    )


def facts(found: Document) -> list[tuple[str, str]]:
    """Samples, machine and versions, by name."""
    own = found.conditions
    said = [("Model", found.model or "one in memory"), ("Target", found.target)]
    if own.data:
        said.append(("Samples", own.data))
    if own.reporting_samples:
        said.append(
            (
                "How they were used",
                f"{own.calibration_samples} to calibrate, {own.tuning_samples} to choose by, {own.reporting_samples} to report on",
            )
        )
    said.append(("Timed on", f"{own.processor}, {own.threads} thread{'s' if own.threads > 1 else ''}, {own.kernels} kernels"))
    said.append(("Versions", ", ".join(f"{name} {version}" for name, version in own.versions.items())))
    if found.seconds:
        said.append(("Took", f"{found.seconds:.0f} seconds"))
    return said


GLOSSARY = [
    (
        "Quantization",
        "Storing and computing numbers with fewer bits: 8-bit integers instead of 32-bit floats make a file about four "
        "times smaller, and faster where the device has fast integer arithmetic.",
    ),
    (
        "int8",
        "Weights and intermediate results are 8-bit integers. “float_io” keeps inputs and outputs as floats; “uint8” takes "
        "and gives bytes.",
    ),
    ("dynamic", "Weights are 8-bit integers, results are rounded on the fly. Needs no samples; speed varies."),
    ("weight_only", "Weights are stored in 8 bits and computed with as floats: smaller, not faster."),
    ("float16", "Weights are stored as 16-bit floats: half the size, practically no loss."),
    ("int16x8", "16-bit results with 8-bit weights: more exact than int8, slow on many devices."),
    ("int8_w4", "int8 with weights of 4 bits: smaller still, and the most delicate."),
    ("Calibration", "Running typical samples through the model to see which range of values each layer takes."),
    (
        "Interval",
        "Where the true figure lies with 95 % confidence. A few hundred samples leave several points of doubt; more "
        "samples, less doubt.",
    ),
    ("Same answers", "How often the quantized model gives the float model’s answer, whether that is right or wrong."),
    (
        "SQNR",
        "Signal to quantization noise ratio, in decibel: 10 dB is noise of a tenth of the signal’s power, 20 dB of a "
        "hundredth, 30 dB of a thousandth.",
    ),
    (
        "Pareto front",
        "The candidates that no other one beats in everything: what you choose among depends on what matters to you.",
    ),
    ("Arena", "The working memory that a device needs at least for intermediate results."),
    ("p95", "19 of 20 runs took no longer."),
    ("Scale and range", "Integers stand for real numbers by a step, the scale; 256 steps cover the range, the rest is clipped."),
]
"""Words of a report, for those who meet them for the first time."""


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]
