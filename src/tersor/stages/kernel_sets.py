"""One file on several kernel sets: what each makes of the same samples, and the first layer where they part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tersor.data.dataset import Dataset
from tersor.data.feed import Sample, fit
from tersor.errors import DataError, RecipeError, RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import Port
from tersor.runtimes.reference import KERNELS, Reference
from tersor.stages.compare import batches, real_outputs, to_real
from tersor.stages.evaluate import Score, Scorer, as_sample, metric_of

_TRACED = 8
"""Samples that are computed layer by layer."""


@dataclass(frozen=True)
class Seen:
    """What one kernel set answers.

    Attributes:
        kernels: its name.
        by_reference: whether the integer reference stands in for it, which is not installed.
        score: on the samples; None without a metric.
        equal: share of samples whose outputs are the first set's, bit for bit.
        agreement: share of samples with the first set's arg-max; None for outputs with one value.
        worst: the largest difference from the first set in steps of the output's scale, or in its own unit.
    """

    kernels: str
    by_reference: bool
    score: Score | None
    equal: float
    agreement: float | None
    worst: float


@dataclass(frozen=True)
class Parting:
    """Where a kernel set parts from the first one: all before it is equal, so that it is this layer's own doing.

    Attributes:
        kernels: the set.
        index: of the operator in the file; None where all activations are equal.
        operator: its name.
        kind: its kind.
        share: of its values that differ, over all traced samples.
        worst: by how many steps at most.
    """

    kernels: str
    index: int | None = None
    operator: str = ""
    kind: str = ""
    share: float = 0.0
    worst: int = 0


@dataclass(frozen=True)
class KernelSets:
    """A file on several kernel sets.

    Attributes:
        samples: how many were run.
        metric: see `evaluate.Scorer`; None without labels.
        seen: a row per set, the first is what the others are compared with.
        partings: for each other set; empty where layers could not be compared.
        traced: samples that were computed layer by layer.
        exact: of these, those for which the reference answered what the kernels do, on every set.
        untraced: why layers were not compared; None if they were.
    """

    samples: int
    metric: str | None
    seen: tuple[Seen, ...]
    partings: tuple[Parting, ...]
    traced: int
    exact: int
    untraced: str | None


def names_of(text: str) -> tuple[str, ...]:
    """Kernel sets as "xnnpack,builtin,micro" gives them. Raises RecipeError for others, or fewer than two."""
    names = tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))
    unknown = [name for name in names if name not in KERNELS]
    if unknown:
        raise RecipeError(f"--kernels: unknown kernels {unknown[0]!r}: there are {', '.join(sorted(KERNELS))}")
    if len(names) < 2:
        raise RecipeError("--kernels: two or more kernel sets are compared, such as xnnpack,builtin,micro")
    return names


def on_kernel_sets(
    path: Path,
    kernels: Sequence[str],
    data: Dataset,
    engine: Engine,
    *,
    metric: str | None = None,
    samples: int = 1000,
    progress: Callable[[str, int, int | None], None] = lambda _what, _done, _total: None,
) -> KernelSets:
    """Run a file on each kernel set.

    Args:
        path: a `.tflite` file.
        kernels: names, two or more.
        data: samples, with labels if there are any.
        engine: the process to run in.
        metric: see `evaluate.Scorer`; by default top1 where there are labels.
        samples: at most so many are used.
        progress: told what is going on.

    Raises RuntimeFailure for a set that refuses the file, DataError for samples or labels that do not fit.
    """
    drawn = [as_sample(item) for item in data.spread(samples)]
    if not drawn:
        raise DataError(f"{data.what}: no samples to compare on")
    metric, model = metric_of(metric, drawn[0]), tflite.read(path)
    runs = [_Run(path, model, name, engine) for name in kernels]
    first: list[list[Array]] = []
    seen = []
    for run in runs:
        outputs: list[list[Array]] = []
        for batch in batches(drawn):
            outputs.extend(run.outputs(batch, len(outputs)))
            progress(run.kernels, len(outputs), len(drawn))
        first = first or outputs
        seen.append(_seen(run, outputs, first, drawn, metric))
        run.close()
    fitted = [fit(sample, runs[0].inputs, number) for number, sample in enumerate(drawn[:_TRACED])]
    try:
        partings, exact = _trace(path, model, kernels, fitted, engine)
    except (UnsupportedError, RuntimeFailure) as error:
        return KernelSets(len(drawn), metric, tuple(seen), (), 0, 0, str(error))
    return KernelSets(len(drawn), metric, tuple(seen), partings, len(fitted), exact, None)


class _Run:
    """A file loaded on a kernel set, or on the reference where TensorFlow Lite Micro is not installed."""

    def __init__(self, path: Path, model: Model, kernels: str, engine: Engine) -> None:
        self.kernels, self.by_reference = kernels, kernels == "micro" and not tflite_micro.is_installed()
        self._handle = engine.open(str(path), "builtin" if self.by_reference else kernels)
        self._reference = Reference(model, kernels) if self.by_reference else None
        self.inputs: tuple[Port, ...] = self._handle.inputs
        self.outputs_of: tuple[Port, ...] = self._handle.outputs
        self.close = self._handle.close

    def outputs(self, batch: Sequence[object], first: int) -> Iterator[list[Array]]:
        """Real outputs of each sample."""
        if self._reference is None:
            yield from real_outputs(self._handle, batch, first)
            return
        for number, sample in enumerate(batch):
            found = self._reference.run(fit(sample, self.inputs, first + number))
            yield [to_real(values, port) for values, port in zip(found, self.outputs_of, strict=True)]


def _seen(
    run: _Run, outputs: list[list[Array]], first: list[list[Array]], samples: Sequence[Sample], metric: str | None
) -> Seen:
    steps = [port.scale or 1.0 for port in run.outputs_of]
    worst, equal, agreeing = 0.0, 0, 0.0
    for own, other in zip(outputs, first, strict=True):
        apart = [
            float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0)) / step
            for a, b, step in zip(own, other, steps, strict=True)
        ]
        worst, equal = max(worst, *apart), equal + (max(apart) == 0)
        agreeing += float(np.mean(own[0].argmax(-1) == other[0].argmax(-1))) if own[0].ndim else 0.0
    has_classes = bool(outputs[0][0].ndim and outputs[0][0].shape[-1] > 1)
    score = None
    if metric is not None:
        scorer = Scorer(metric)
        for own, sample in zip(outputs, samples, strict=True):
            scorer.add(own, sample.label, sample.source)
        score = scorer.score()
    count = len(outputs)
    return Seen(run.kernels, run.by_reference, score, equal / count, agreeing / count if has_classes else None, worst)


def _trace(
    path: Path, model: Model, kernels: Sequence[str], samples: Sequence[list[Array]], engine: Engine
) -> tuple[tuple[Parting, ...], int]:
    """Where each set parts from the first, and on how many samples the reference equals all kernels."""
    traces = {name: [Reference(model, name).values(sample) for sample in samples] for name in kernels}
    exact = np.ones(len(samples), np.bool_)
    for name in kernels:
        if name == "micro" and not tflite_micro.is_installed():
            continue
        handle = engine.open(str(path), name)
        for number, outputs in enumerate(handle.run_all(samples)):
            mine = [traces[name][number][output] for output in model.graph.outputs]
            exact[number] &= all(np.array_equal(a, b) for a, b in zip(mine, outputs, strict=True))
        handle.close()
    partings = tuple(_parting(model, name, traces[kernels[0]], traces[name]) for name in kernels[1:])
    return partings, int(exact.sum())


def _parting(model: Model, name: str, first: list[dict[str, Array]], other: list[dict[str, Array]]) -> Parting:
    for index, op in enumerate(model.graph.ops):
        apart = [
            np.abs(one[output].astype(np.float64) - two[output].astype(np.float64))
            for one, two in zip(first, other, strict=True)
            for output in op.outputs
        ]
        count = sum(int(np.sum(item > 0)) for item in apart)
        if count:
            worst = max(float(item.max(initial=0.0)) for item in apart)
            return Parting(name, index, op.name, op.label, count / sum(item.size for item in apart), round(worst))
    return Parting(name)
