"""A model's score on labelled data, with its confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tersor.data.feed import Sample
from tersor.data.python import accepts, find_function
from tersor.errors import DataError, RecipeError
from tersor.ir.graph import Array
from tersor.numerics.metrics import (
    auc_interval,
    mean_interval,
    paired_auc_interval,
    paired_proportion_interval,
    roc_auc,
    wilson_interval,
)
from tersor.runtimes.engine import Engine, available_threads
from tersor.stages.compare import batches, real_outputs, taken_at_once

METRICS = ("top1", "top5", "mse", "auc")
SHARES = ("top1", "top5")
"""Those that are shares of the samples."""

POINTS = (*SHARES, "auc")
"""Those that end at 1, so that a difference of a hundredth is a point; others have no end to measure a change by."""


def metric_of(asked: str | None, sample: object) -> str | None:
    """What to measure: what was asked for, else top1 where samples have labels; None for nothing."""
    return asked or ("top1" if as_sample(sample).label is not None else None)


@dataclass(frozen=True)
class Score:
    """A measured figure.

    Attributes:
        metric: its name.
        value: the figure over all samples.
        interval: 95 % confidence interval.
        samples: how many it was measured on.
        chance: the figure that guessing gets; None where that is not known.
    """

    metric: str
    value: float
    interval: tuple[float, float]
    samples: int
    chance: float | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is a share of the samples, said in percent."""
        return self.metric in SHARES

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.metric} {self.value:.4g} [{low:.4g}, {high:.4g}] on {self.samples} samples"


_SKILL, _HARDLY = 0.2, 0.1
"""Of the way from guessing to always right. A trained model gets further than the first; one that gets no further than
the second may do a little better than guessing, as models do on samples that are normalized wrongly."""


def doubt(score: Score) -> str | None:
    """What to say of a model that is no better than guessing, where there are samples enough to know it."""
    low, high = score.interval
    chance = score.chance
    if chance is None or chance >= 1:
        return None
    if high >= chance + (_SKILL if low <= chance else _HARDLY) * (1 - chance):
        return None
    return (
        f"{score.metric} is {_percent(score.value)} on {score.samples} samples, and guessing gets "
        f"{_percent(chance)}: are samples normalized as in training (--rescale, --mean, --std), and classes in the "
        "model's order?"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


@dataclass(frozen=True)
class Change:
    """How much a score differs from another one on the same samples.

    Attributes:
        value: this score less the other.
        interval: 95 % confidence interval of the difference, sample by sample.
    """

    value: float
    interval: tuple[float, float]

    @property
    def is_significant(self) -> bool:
        """Whether there is a difference that is more than chance."""
        low, high = self.interval
        return not low <= 0 <= high


class Scorer:
    """Takes outputs and labels one by one and gives the score.

    Args:
        metric: "top1", "top5", "mse", "auc", or "module:function" with function(output, label) -> float per sample.

    Raises RecipeError for an unknown metric.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._function: Callable[..., Any] | None = None
        if metric not in METRICS:
            if not accepts(metric):
                raise RecipeError(f"unknown metric {metric!r}: there are {', '.join(METRICS)}, or module:function")
            self._function = find_function(metric)
        self._values: list[float] = []
        self._positive: list[bool] = []
        self._chance: float | None = None

    def add(self, outputs: Sequence[Array], label: object, source: str = "") -> None:
        """Take one sample's outputs, real numbers. Raises DataError if the label does not fit the output."""
        output = outputs[0]
        if self._function is not None:
            try:
                self._values.append(float(self._function(output, label)))
            except Exception as error:
                where = source or f"sample {len(self._values)}"
                told = f"{type(error).__name__}: {error}"
                raise DataError(f"the metric {self._metric} fails on {where}: {told}") from error
            if not np.isfinite(self._values[-1]):
                where = source or f"sample {len(self._values) - 1}"
                raise DataError(f"the metric {self._metric} gives {self._values[-1]} for {where}")
            return
        if label is None:
            raise DataError(f"the metric {self._metric} needs labels; {source or 'the data'} has none")
        if self._metric in SHARES:
            count = int(self._metric[3:])
            self._values.append(float(_in_top(output, label, count, source)))
            self._chance = count / output.size
        elif self._metric == "mse":
            wanted = _real_label(label, output.size, source)
            self._values.append(float(np.mean((output.astype(np.float64).ravel() - wanted.ravel()) ** 2)))
        else:
            flat = output.ravel()
            if flat.size > 2:
                raise DataError(f"auc is of two classes, and the output has {flat.size} values")
            self._values.append(float(flat[-1]))
            self._positive.append(class_index(label, 2, source) > 0)

    def score(self) -> Score:
        """The figure over everything taken so far. Raises DataError if there was nothing."""
        if not self._values:
            raise DataError("the data has no samples to evaluate on")
        values = np.asarray(self._values)
        if self._metric == "auc":
            positive = np.asarray(self._positive)
            try:
                area = roc_auc(values, positive)
            except ValueError as error:
                raise DataError(str(error)) from error
            return Score("auc", area, auc_interval(area, int(positive.sum()), int((~positive).sum())), len(values), 0.5)
        value = float(values.mean())
        if self._metric in SHARES:
            return Score(
                self._metric, value, wilson_interval(int(values.sum()), len(values)), len(values), self._chance
            )
        return Score(self._metric, value, mean_interval(values), len(values))

    def change_from(self, reference: Scorer) -> Change:
        """The difference from what another model scored on the very same samples."""
        own, other = np.asarray(self._values), np.asarray(reference._values)
        value = self.score().value - reference.score().value
        if self._metric in SHARES:
            gained, lost = int(np.sum(own > other)), int(np.sum(own < other))
            return Change(value, paired_proportion_interval(gained, lost, len(own)))
        if self._metric == "auc":
            return Change(value, paired_auc_interval(other, own, np.asarray(self._positive)))
        return Change(value, mean_interval(own - other))


def evaluate(
    path: str | Path,
    samples: Iterable[object],
    metric: str = "top1",
    kernels: str = "xnnpack",
    *,
    engine: Engine | None = None,
    progress: Callable[[int], None] | None = None,
) -> Score:
    """Run a file on labelled samples: the score; see `scored`."""
    return scored(path, samples, metric, kernels, engine=engine, progress=progress).score()


def scored(
    path: str | Path,
    samples: Iterable[object],
    metric: str = "top1",
    kernels: str = "xnnpack",
    *,
    engine: Engine | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scorer:
    """Run a file on labelled samples; what was taken can be compared with another file's.

    Args:
        path: a `.tflite` file; integer inputs and outputs are quantized and dequantized by its own scales.
        samples: `Sample`s with labels, or (inputs, label) pairs.
        metric: see `Scorer`.
        kernels: "xnnpack", "builtin", or "micro", which needs the package `tflite-micro`.
        engine: the process to run in; by default one of its own.
        progress: called with the number of samples done.

    Raises DataError for data without labels or labels that do not fit the output; RuntimeFailure.
    """
    scorer = Scorer(metric)
    own = None if engine else Engine()
    try:
        runner = engine or own
        assert runner is not None
        handle = runner.open(str(path), kernels, copies=available_threads())
        done = 0
        for batch in batches(samples, taken_at_once(handle)):
            pairs = [as_sample(item) for item in batch]
            for sample, outputs in zip(pairs, real_outputs(handle, pairs, done), strict=True):
                scorer.add(outputs, sample.label, sample.source)
            done += len(batch)
            if progress is not None:
                progress(done)
        handle.close()
    finally:
        if own is not None:
            own.close()
    return scorer


def as_sample(item: object) -> Sample:
    """A `Sample` from what a library user may yield: one, or an (inputs, label) pair."""
    if isinstance(item, Sample):
        return item
    if isinstance(item, tuple) and len(item) == 2:
        return Sample(*item)
    return Sample(item)


def _real_label(label: object, size: int, source: str) -> Array:
    values = np.asarray(label)
    where = source or "a sample"
    if values.size != size:
        raise DataError(f"{where}: the label has {values.size} values, the output {size}")
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DataError(f"{where}: the label is not made of finite numbers")
    return values.astype(np.float64)


_SHOWN = 40
"""Characters of a label that are shown."""


def class_index(label: object, classes: int, source: str) -> int:
    """A label as an index; one value per class (one-hot) stands for the largest."""
    values = np.asarray(label)
    if values.dtype.kind in "fiub" and np.isfinite(values).all():
        if values.size == classes > 1:
            return int(values.argmax())
        if values.size == 1 and float(values.flat[0]).is_integer():
            return int(values.flat[0])
    shown = repr(label.tolist() if isinstance(label, np.ndarray | np.generic) else label)
    shown, where = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}...", source or "a sample"
    raise DataError(f"{where}: label {shown} is no class index, nor one value for each of {classes} classes")


def _in_top(output: Array, label: object, count: int, source: str) -> bool:
    scores = output.reshape(-1)
    index = class_index(label, scores.size, source)
    if not 0 <= index < scores.size:
        raise DataError(f"{source}: label {index} is not one of the output's {scores.size} classes")
    if count == 1:
        return bool(scores.argmax() == index)
    return bool(index in np.argsort(scores)[-count:])
