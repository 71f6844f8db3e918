"""Figures in words, for people who have never quantized a network."""

from __future__ import annotations

from tersor.report.document import Accuracy, Candidate
from tersor.stages.evaluate import SHARES
from tersor.stages.quantities import milliseconds, size

PERCENT = "\N{NO-BREAK SPACE}%"
"""Stays on the line of its figure."""

_METRICS = {
    "top1": "right answers",
    "top5": "share of samples with the right answer among the first five",
    "auc": "area under the ROC curve",
    "mse": "mean squared error",
}

ALIKE = 0.03
"""A time this close to float's is called the same."""


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


def sqnr(item: Candidate) -> str:
    """Signal over noise at the outputs of a candidate; nothing where it was not measured."""
    return "exact" if item.is_exact else "" if item.sqnr_db is None else f"{item.sqnr_db:.1f} dB"


def times_smaller(ratio: float) -> str:
    """A size beside that of the float model."""
    if ratio <= 0.97:
        return f"{1 / ratio:.2g} times smaller"
    return "as large as before" if ratio < 1.03 else f"{ratio:.2g} times larger"


def times_faster(ratio: float) -> str:
    """A time beside that of the float model."""
    if abs(ratio - 1) <= ALIKE:
        return "as fast as before"
    if ratio < 1:
        return f"{1 / ratio:.2g} times faster" if ratio <= 0.91 else f"{100 * (1 - ratio):.0f} % faster"
    return f"{ratio:.2g} times slower" if ratio >= 1.1 else f"{100 * (ratio - 1):.0f} % slower"


def _rounded(value: float) -> float:
    """Without the sign of a zero."""
    return round(value, 1) + 0.0


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]


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
