"""How much may be lost, by what it is measured, and what samples can say about it.

Accuracy on a few hundred samples is blind below some points. For classifiers there is a second estimate with a
fraction of that noise: the drop that the float model's own confidence lets expect where answers changed. A network that
is too sure of itself makes it too large, not too small.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tersor.data.feed import Sample
from tersor.errors import RecipeError
from tersor.ir.graph import Array
from tersor.numerics.metrics import mean_interval, wilson_interval
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import POINTS, metric_of
from tersor.stages.repair.figures import Figures, Reference

_LARGEST = 0.25
"""A drop beyond this is taken for a slip: 0.5 where 0.5% was meant."""

_TINY = 1e-30

_SLACK = 1e-9
"""So that 5 of 1000 are half a percent, in floating point too."""


class Verdict(enum.Enum):
    """What samples say about a goal. The value is how it is written.

    Attributes:
        SHOWN: even the upper ends of the 95 % intervals are within it.
        REACHED: every estimate is within it, but not every interval.
        OPEN: the estimate with little noise is within it; the measured drop is beyond it, by no more than chance.
        MISSED: it is not reached.
    """

    SHOWN = "shown"
    REACHED = "reached"
    OPEN = "open"
    MISSED = "missed"


@dataclass(frozen=True)
class Reading:
    """One estimate of what was lost.

    Attributes:
        name: what it is.
        value: the estimate.
        interval: 95 % confidence interval.
        error: its standard error.
    """

    name: str
    value: float
    interval: tuple[float, float]
    error: float


@dataclass(frozen=True)
class Goal:
    """What may be lost.

    Attributes:
        max_drop: a share: 0.005 are half a percent, or half a point.
        kind: "points" of a metric below float; "relative" change of one without an end; "answers" that changed;
            "noise" over signal.
        metric: see `evaluate.Scorer`; None where labels are missing.
    """

    max_drop: float
    kind: str
    metric: str | None = None

    def __str__(self) -> str:
        if self.kind == "points":
            return f"{self.metric} at most {self.limit} below float"
        if self.kind == "relative":
            return f"{self.metric} within {self.limit} of float's"
        if self.kind == "answers":
            return f"at most {self.limit} of the answers changed (no labels)"
        return f"noise at most {self.limit} of the signal ({_db(self.max_drop)} dB; outputs without classes)"

    @property
    def limit(self) -> str:
        """What may be lost, in words: points of a share, else percent."""
        figure = f"{100 * self.max_drop:.3g}"
        return f"{figure} {'point' if figure == '1' and self.kind == 'points' else self.unit}"

    @property
    def unit(self) -> str:
        """What a hundredth is called."""
        return "points" if self.kind == "points" else "%"

    def readings(self, figures: Figures) -> tuple[Reading, ...]:
        """The estimates that the goal is judged by, the one with the least noise first."""
        if self.kind == "noise":
            low, high = np.quantile(figures.shares, [0.025, 0.975], method="inverted_cdf")
            error = float(np.std(figures.shares)) if math.isfinite(high) else math.inf
            return (Reading("noise", figures.share, (float(low), float(high)), error),)
        if self.kind == "answers":
            assert figures.changed is not None
            share = float(figures.changed.mean())
            interval = wilson_interval(round(share * figures.samples), figures.samples)
            return (Reading("changed", share, interval, _error(figures.changed)),)
        measured = self._measured(figures)
        if figures.lost is None:
            return (measured,)
        lost = figures.lost
        return Reading("expected", float(lost.mean()), mean_interval(lost), _error(lost)), measured

    def verdict(self, figures: Figures) -> Verdict:
        """What the samples say."""
        readings, limit = self.readings(figures), self.max_drop + _SLACK
        within = [item.value <= limit for item in readings]
        if all(within):
            return Verdict.SHOWN if all(item.interval[1] <= limit for item in readings) else Verdict.REACHED
        if len(readings) > 1 and within[0] and all(item.interval[0] <= limit for item in readings[1:]):
            return Verdict.OPEN
        return Verdict.MISSED

    def holds(self, figures: Figures) -> bool:
        """Whether it is likely to hold on other samples, too: with a standard error to spare."""
        first = self.readings(figures)[0]
        return self.verdict(figures) is not Verdict.MISSED and first.value + first.error <= self.max_drop + _SLACK

    def is_worse(self, before: Figures, after: Figures) -> bool:
        """Whether more is lost than before, by more than chance."""
        name = {"answers": "changed", "points": "lost"}.get(self.kind, "")
        old, new = getattr(before, name, None), getattr(after, name, None)
        return old is not None and new is not None and mean_interval(new - old)[0] > 0

    def _measured(self, figures: Figures) -> Reading:
        """The change of the metric as a drop."""
        assert figures.change is not None
        assert figures.score is not None
        (low, high), value = figures.change.interval, figures.change.value
        if self.kind == "points":
            value, low, high = -value, -high, -low
        else:
            unit = max(abs(figures.score), _TINY)
            value, low, high = value / unit, low / unit, high / unit
            if self.metric != "mse":  # which way is better is not known: any change counts
                value, low, high = abs(value), max(low, -high, 0.0), max(abs(low), abs(high))
        return Reading("measured", value, (low, high), (high - low) / (2 * 1.959964))


def goal_of(max_drop: float, metric: str | None, *, has_classes: bool) -> Goal:
    """The goal that fits the data: see `Goal.kind`. Raises RecipeError for a drop that is none."""
    if not 0 <= max_drop <= _LARGEST:
        raise RecipeError(
            f"a drop of {100 * max_drop:g} %: it must be between 0 and {100 * _LARGEST:g} %; half a percent is 0.5% or "
            "0.005"
        )
    if metric is not None:
        return Goal(max_drop, "points" if metric in POINTS else "relative", metric)
    return Goal(max_drop, "answers" if has_classes else "noise")


def standard_of(
    float_path: Path, tuning: Sequence[Sample], metric: str | None, max_drop: float, engine: Engine
) -> tuple[str | None, Reference, Goal]:
    """The metric, what the float model answers to the tuning samples, and the goal that follows from both.

    Raises RecipeError for a drop that is none, DataError for labels that do not fit.
    """
    chosen = metric_of(metric, tuning[0])
    reference = Reference(float_path, tuning, chosen, engine)
    return chosen, reference, goal_of(max_drop, chosen, has_classes=reference.classes is not None)


def parse_drop(text: str) -> float:
    """A share that is written as 0.5% or as 0.005. Raises RecipeError."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(%?)\s*", text)
    if match is None:
        raise RecipeError(f"--max-drop {text!r} is not a share: give 0.5% or 0.005")
    return float(match[1]) / (100 if match[2] else 1)


def _error(values: Array) -> float:
    """Standard error of a mean."""
    return float(np.std(values, ddof=1)) / math.sqrt(values.size) if values.size > 1 else math.inf


def _db(share: float) -> str:
    return f"{-10 * math.log10(share):.1f}" if share > 0 else "infinite"
