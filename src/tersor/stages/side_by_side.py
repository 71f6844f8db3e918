"""Two files on the same samples and in turn on the same machine: what the second does otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tersor.data.batch import stacked
from tersor.data.dataset import Dataset
from tersor.data.feed import fit
from tersor.errors import DataError, ModelError, RuntimeFailure
from tersor.ir.graph import Array
from tersor.runtimes.engine import Engine, Handle
from tersor.runtimes.made_up import samples_of
from tersor.runtimes.profile import Profile, profile
from tersor.stages.benchmark import ROUNDS, Timing, benchmark
from tersor.stages.compare import real_outputs, taken_at_once
from tersor.stages.evaluate import Score, as_sample, doubt, metric_of
from tersor.stages.repair.figures import Figures, classes_of
from tersor.stages.search.gauge import gzip_bytes, peak_memory
from tersor.stages.search.held import Held

_FEW = 16
"""Samples that tell whether outputs hold classes."""


@dataclass(frozen=True)
class Side:
    """One file.

    Attributes:
        name: what it is called.
        size_bytes: of the file.
        gzip_bytes: of the file compressed by gzip.
        timing: in turn with the first file; None if it could not be timed.
        peak_bytes: see `search.Candidate`.
        score: on the samples; None without a metric.
    """

    name: str
    size_bytes: int
    gzip_bytes: int
    timing: Timing | None
    peak_bytes: int | None
    score: Score | None = None


@dataclass(frozen=True, eq=False)
class Pair:
    """Two files compared.

    Attributes:
        first: what the second is compared with.
        second: the other one.
        figures: of the second against the first.
        metric: see `evaluate.Scorer`; None where labels are missing.
        has_classes: whether an output holds classes.
        doubts: what makes one doubt all figures.
    """

    first: Side
    second: Side
    figures: Figures
    metric: str | None
    has_classes: bool
    doubts: tuple[str, ...] = ()


def timed(
    paths: Sequence[Path],
    names: Sequence[str],
    engine: Engine,
    *,
    kernels: str = "xnnpack",
    threads: int = 1,
    rounds: int = ROUNDS,
    sample: object = None,
) -> list[Side]:
    """Time files in turn; ratios are to the first.

    Args:
        paths: the `.tflite` files.
        names: what they are called.
        engine: the process to run in.
        kernels: "xnnpack" or "builtin".
        threads: of one run.
        rounds: turns.
        sample: what they run on; random numbers by default.

    Memory is not measured with a delegate: most of it is the device's.

    Raises RuntimeFailure for a file that does not run, DataError for a sample that does not fit.
    """
    handles = [engine.open(str(path), kernels, threads=threads) for path in paths]
    inputs = [_inputs(handle, sample) for handle in handles]
    timings = benchmark(handles, inputs, rounds)
    for handle in handles:
        handle.close()
    return [
        Side(
            name,
            path.stat().st_size,
            gzip_bytes(path),
            timing,
            peak_memory(path, kernels) if engine.delegate is None else None,
        )
        for path, name, timing in zip(paths, names, timings, strict=True)
    ]


def profiled(path: Path, engine: Engine, *, threads: int = 1) -> Profile:
    """What the operators of a file take, on random numbers. Raises RuntimeFailure where that is not to be had."""
    handle = engine.open(str(path))
    inputs = _inputs(handle, None)
    handle.close()
    return profile(path, inputs, threads)


def _inputs(handle: Handle, sample: object) -> list[Array]:
    chosen = samples_of(handle.inputs, 1)[0] if sample is None else sample
    return list(next(stacked([fit(chosen, handle.inputs)], taken_at_once(handle)))[0])


def side_by_side(
    first: Path,
    second: Path,
    names: tuple[str, str],
    data: Dataset,
    engine: Engine,
    *,
    metric: str | None = None,
    samples: int = 1000,
    threads: int = 1,
    progress: Callable[[str, int, int | None], None] = lambda _what, _done, _total: None,
) -> Pair:
    """Run both on the same samples, sample by sample, and time them in turn.

    Args:
        first: a `.tflite` file, usually the float model.
        second: another one with the same inputs and outputs.
        names: what they are called.
        data: samples, with labels if there are any.
        engine: the process to run in.
        metric: see `evaluate.Scorer`; by default top1 where there are labels.
        samples: at most so many are used.
        threads: of one run that is timed.
        progress: told what is going on.

    Raises ModelError if they do not answer alike in shape, DataError for samples or labels that do not fit.
    """
    drawn = data.spread(samples)
    few = [as_sample(item) for item in islice(drawn, _FEW)]
    if not few:
        raise DataError(f"{data.what}: no samples to compare on")
    metric = metric_of(metric, few[0])
    outputs = []
    for path in (first, second):
        handle = engine.open(str(path))
        outputs.append(list(real_outputs(handle, few)))
        handle.close()
    shapes = [[tuple(item.shape) for item in own[0]] for own in outputs]
    if shapes[0] != shapes[1]:
        raise ModelError(f"{names[0]} answers {_said(shapes[0])}, {names[1]} {_said(shapes[1])}: nothing to compare")
    classes, total = classes_of(outputs[0], metric), None if drawn.size is None else len(drawn)
    held = Held(first, drawn, classes, metric, engine, lambda done: progress(names[0], done, total))
    figures = held.figures(second, lambda done: progress(names[1], done, total))
    sides = _timed_if_possible(first, second, names, engine, threads, few[0])
    scores = figures.scores or (None, None)
    one, other = (replace(side, score=score) for side, score in zip(sides, scores, strict=True))
    text = None if one.score is None else doubt(one.score)
    doubts = () if text is None else (f"{names[0]}: {text}",)
    return Pair(one, other, figures, metric, classes is not None, doubts)


def _timed_if_possible(
    first: Path, second: Path, names: tuple[str, str], engine: Engine, threads: int, sample: object
) -> list[Side]:
    with suppress(RuntimeFailure):
        return timed((first, second), names, engine, threads=threads, sample=sample)
    return [
        Side(name, path.stat().st_size, gzip_bytes(path), None, None)
        for path, name in zip((first, second), names, strict=True)
    ]


def _said(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) or "a scalar" for shape in shapes)
