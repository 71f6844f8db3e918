"""What a candidate does on samples for which the float model's outputs are known: figures sample by sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tersor.data.feed import Sample
from tersor.errors import VerificationError
from tersor.ir.graph import Array
from tersor.numerics.metrics import noise_shares, softmax, worst_share
from tersor.runtimes.engine import Engine, available_threads
from tersor.stages.compare import batches, real_outputs
from tersor.stages.evaluate import Change, Score, Scorer, as_sample

_TOP = {"top1": 1, "top5": 5}
"""Metrics of classifiers, and how many answers each looks at."""


@dataclass(frozen=True, eq=False)
class Figures:
    """How far a quantized model is from the float one.

    Attributes:
        signal: sums of squares of the float outputs, [samples, outputs].
        noise: of the differences from them, likewise.
        changed: share of each sample's answers that are not the float model's, [samples]; None without classes.
        lost: the float model's confidence in its own answer less its confidence in the quantized model's, [samples]:
            if it knows how often it is right, its mean is the drop to expect. None without classes.
        change: of the metric, from the float model's on the same samples; None without a metric.
        score: of the float model, in the metric.
        scores: of the float model and of this one, with their intervals; None without a metric.
    """

    signal: Array
    noise: Array
    changed: Array | None = None
    lost: Array | None = None
    change: Change | None = None
    score: float | None = None
    scores: tuple[Score, Score] | None = None

    @property
    def samples(self) -> int:
        """How many samples they are of."""
        return len(self.signal)

    @property
    def share(self) -> float:
        """Noise over signal of the worst output."""
        return float(worst_share(self.signal.sum(axis=0), self.noise.sum(axis=0)))

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise ratio of the worst output, in dB."""
        return -_decibel(self.share)

    @property
    def agreement(self) -> float | None:
        """Share of the float model's answers that are kept; None without classes."""
        return None if self.changed is None else 1.0 - float(self.changed.mean())

    @cached_property
    def shares(self) -> Array:
        """`share` for samples drawn anew, [draws]."""
        return noise_shares(self.signal, self.noise)


def gain_db(before: Figures, after: Figures, level: float = 0.95) -> Change:
    """How many dB of SQNR were won, with a paired interval of that level."""
    value = after.sqnr_db - before.sqnr_db
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = 10 * (np.log10(before.shares) - np.log10(after.shares))
    drawn = np.where(before.shares == after.shares, 0.0, drawn)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")  # never between two infinities
    return Change(0.0 if before.share == after.share else value, (float(low), float(high)))


def _decibel(share: float) -> float:
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(share))


@dataclass(frozen=True)
class Classes:
    """Where a model's answer lies.

    Attributes:
        place: of the output that holds classes over its last axis.
        top: how many of the best classes count as the answer's.
        are_logits: whether a softmax makes probabilities of them.
    """

    place: int
    top: int
    are_logits: bool


def classes_of(outputs: Sequence[Sequence[Array]], metric: str | None) -> Classes | None:
    """Where the answer lies: in the first output if the metric is of classes, else in one that holds probabilities.

    Args:
        outputs: the float model's, for some samples.
        metric: see `evaluate.Scorer`; None where labels are missing.
    """
    if metric in _TOP:
        logits = not all(_are_probabilities(own[0]) for own in outputs)
        return Classes(0, _TOP[metric], logits)
    places = range(len(outputs[0])) if metric is None else ()
    found = (place for place in places if all(_are_probabilities(own[place]) for own in outputs))
    place = next(found, None)
    return None if place is None else Classes(place, 1, are_logits=False)


class Tally:
    """Takes both models' outputs sample by sample and gives the `Figures`."""

    def __init__(self, classes: Classes | None, metric: str | None) -> None:
        self._classes = classes
        self._scorers = None if metric is None else (Scorer(metric), Scorer(metric))
        self._signal: list[list[float]] = []
        self._noise: list[list[float]] = []
        self._changed: list[float] = []
        self._lost: list[float] = []

    def add(self, sample: Sample, reference: Sequence[Array], other: Sequence[Array]) -> None:
        """Take one sample. Raises VerificationError for outputs that are not finite where the float model's are."""
        self._signal.append([float(np.sum(np.square(item, dtype=np.float64))) for item in reference])
        self._noise.append([_noise(a, b) for a, b in zip(reference, other, strict=True)])
        if self._classes is not None:
            changed, lost = _answers(self._classes, reference[self._classes.place], other[self._classes.place])
            self._changed.append(changed)
            self._lost.append(lost)
        for scorer, outputs in zip(self._scorers or (), (reference, other), strict=False):
            scorer.add(outputs, sample.label, sample.source)

    def figures(self) -> Figures:
        """What was seen."""
        changed, lost = (np.array(self._changed), np.array(self._lost)) if self._classes is not None else (None, None)
        change = score = scores = None
        if self._scorers is not None:
            reference, other = self._scorers
            change, scores = other.change_from(reference), (reference.score(), other.score())
            score = scores[0].value
        return Figures(np.array(self._signal), np.array(self._noise), changed, lost, change, score, scores)


class Reference:
    """The float model's outputs for some samples, which candidates are compared with.

    Args:
        float_path: the float model.
        samples: kept, with the outputs.
        metric: see `evaluate.Scorer`; None for none.
        engine: the process to run in.

    Attributes:
        classes: where the answer lies; None if the outputs are not known to hold classes.
    """

    def __init__(self, float_path: Path, samples: Sequence[Sample], metric: str | None, engine: Engine) -> None:
        self._samples = samples
        self._metric = metric
        self._engine = engine
        self._outputs = list(_run(float_path, samples, engine))
        self.classes = classes_of(self._outputs, metric)

    def figures(self, path: Path) -> Figures:
        """Run a file on the samples. Raises RuntimeFailure, and VerificationError for outputs that are not finite."""
        tally = Tally(self.classes, self._metric)
        for sample, reference, other in zip(
            self._samples, self._outputs, _run(path, self._samples, self._engine), strict=True
        ):
            tally.add(sample, reference, other)
        return tally.figures()


def compared(
    float_path: Path, path: Path, samples: Iterable[Sample], classes: Classes | None, metric: str | None, engine: Engine
) -> Figures:
    """`Reference.figures` for samples that are not kept."""
    tally = Tally(classes, metric)
    for batch in batches(samples):
        drawn = [as_sample(item) for item in batch]
        for sample, *outputs in zip(drawn, _run(float_path, drawn, engine), _run(path, drawn, engine), strict=True):
            tally.add(sample, *outputs)
    return tally.figures()


def _run(path: Path, samples: Sequence[Sample], engine: Engine) -> Iterator[list[Array]]:
    handle = engine.open(str(path), copies=available_threads())
    try:
        yield from list(real_outputs(handle, samples))
    finally:
        handle.close()


def _answers(classes: Classes, reference: Array, other: Array) -> tuple[float, float]:
    """`Figures.changed` and `Figures.lost` of one sample."""
    changed = float(np.mean(reference.argmax(-1) != other.argmax(-1)))
    confidence = softmax(reference) if classes.are_logits else reference.astype(np.float64)
    best = (_best(item, classes.top) for item in (reference, other))
    mine, others = (np.take_along_axis(confidence, places, -1).sum(-1) for places in best)
    return changed, float(np.mean(mine - others))


def _best(scores: Array, count: int) -> Array:
    """Places of the largest values over the last axis, [..., count]."""
    if count == 1:
        return np.asarray(scores.argmax(-1)[..., None])
    return np.asarray(np.argsort(scores, axis=-1)[..., -count:])


def _are_probabilities(values: Array) -> bool:
    """Whether values over the last axis are at least two, none negative, with a sum of 1."""
    if values.ndim == 0 or values.shape[-1] < 2:
        return False
    return bool(values.min() >= 0 and np.allclose(values.sum(axis=-1), 1, atol=0.01))


def _noise(reference: Array, other: Array) -> float:
    if not np.isfinite(other).all() and np.isfinite(reference).all():
        raise VerificationError("an output is not finite where the float model's is")
    return float(np.sum((reference.astype(np.float64) - other.astype(np.float64)) ** 2))
