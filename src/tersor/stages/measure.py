"""Files that were written -> what each costs: beside the float model, on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from tersor.data.batch import stacked
from tersor.data.dataset import Dataset
from tersor.data.feed import fit
from tersor.errors import DataError, RuntimeFailure
from tersor.ir.graph import Array
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine, Handle, available_threads
from tersor.runtimes.made_up import FEW, samples_of
from tersor.stages.benchmark import Timing, benchmark
from tersor.stages.compare import Accumulator, OutputDistance, batches, real_outputs, taken_at_once
from tersor.stages.correct import Corrected
from tersor.stages.evaluate import Change, Score, Scorer, as_sample, metric_of
from tersor.stages.load import runs_as_it_is
from tersor.stages.outcome import Options, Product
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.verify import SAMPLES, verify_against
from tersor.stages.widen import Wide


class Measurement:
    """Verifies and measures what was made of one model.

    Args:
        preparation: the float model, and its file.
        outputs: for each recipe the name that its file will have.
        options: how many samples to measure on, and what.
        progress: told what is going on.
        engine: the process to run in.
        wide: the network for several samples at once, where that is what was written.
    """

    def __init__(
        self,
        preparation: Preparation,
        outputs: Mapping[Recipe, Path],
        options: Options,
        progress: Progress | None,
        engine: Engine,
        wide: Wide | None,
    ) -> None:
        self._preparation = preparation
        self._outputs = outputs
        self._options = options
        self._progress = progress
        self._engine = engine
        self._wide = wide

    def products(
        self,
        drafts: Mapping[Recipe, Corrected],
        files: Mapping[Recipe, Path],
        data: Dataset | None,
        *,
        disjoint: bool,
        known: Sequence[Sequence[Array]] = (),
    ) -> tuple[Product, tuple[Product, ...], int]:
        """The float model itself, a product per file, and how many samples the figures come from.

        Args:
            drafts: what each file was made of.
            files: where each lies now.
            data: samples to measure on; without any, what is random is run, and no figure comes of it.
            disjoint: whether these are other samples than ranges come from.
            known: what the float model answers to the first of the data, as far as that is known.

        Raises VerificationError, RuntimeFailure, DataError.
        """
        few, wanted = self._references(data, known)
        seen = {recipe: verify_against(path, wanted, few, self._engine) for recipe, path in files.items()}
        if self._wide is not None:
            for recipe, path in files.items():
                self._wide.require_alike(drafts[recipe].model, drafts[recipe].plan, path, few)
        scores: list[Score | None] = [None] * (len(files) + 1)
        changes: list[Change | None] = [None] * (len(files) + 1)
        distances: list[list[OutputDistance]] = [[] for _ in files]
        timings: list[Timing | None] = [None] * (len(files) + 1)
        count = 0
        if data is not None and (disjoint or metric_of(self._options.metric, few[0]) is not None):
            scores, changes, distances, count = self._compare(self._open(files, self._preparation.written), data)
        elif data is not None:  # a longer look at samples that the ranges come from would not be worth more
            distances, count = [list(own[0].outputs) for own in seen.values()], len(few)
        if self._options.latency:
            timed = self._preparation.written if self._wide is None else self._wide.float_path
            timings = self._time(self._open(files, timed, copies=1), few[0])
        given = Path(self._preparation.model.source or "")
        if not runs_as_it_is(given):
            given = self._preparation.written
        original = Product("float", None, None, given.stat().st_size, score=scores[0], timing=timings[0])
        products = tuple(
            Product(
                recipe=recipe.name,
                path=self._outputs[recipe],
                plan=drafts[recipe].plan,
                size_bytes=files[recipe].stat().st_size,
                verified=seen[recipe],
                score=scores[number],
                distances=tuple(distances[number - 1]),
                timing=timings[number],
                change=changes[number],
            )
            for number, recipe in enumerate(files, start=1)
        )
        return original, products, count

    def _references(
        self, data: Dataset | None, known: Sequence[Sequence[Array]]
    ) -> tuple[list[object], list[Sequence[Array]]]:
        """Samples to verify on, and the float model's answers to them."""
        few = [] if data is None else first_samples(data, SAMPLES)
        if data is not None and not few:
            raise DataError(f"{data.what}: no samples to measure on")
        if few and len(known) >= len(few):
            return few, list(known[: len(few)])
        reference = self._engine.open(str(self._preparation.written), copies=available_threads())
        few = few or samples_of(reference.inputs, FEW)
        wanted: list[Sequence[Array]] = list(real_outputs(reference, few))
        reference.close()
        return few, wanted

    def _compare(
        self, handles: Sequence[Handle], data: Dataset
    ) -> tuple[list[Score | None], list[Change | None], list[list[OutputDistance]], int]:
        """One pass over the data, every model on every sample; the first model is the float one."""
        limit = self._options.evaluation_samples
        sums = [[Accumulator(port.name) for port in handles[0].outputs] for _ in handles[1:]]
        scorers: list[Scorer] | None = None
        total = None if data.size is None else min(len(data), limit)
        report = self._report("measuring", total)
        count = 0
        for batch in batches(data.spread(limit), max(map(taken_at_once, handles))):
            samples = [as_sample(item) for item in batch]
            if scorers is None:
                metric = metric_of(self._options.metric, samples[0])
                scorers = [] if metric is None else [Scorer(metric) for _ in handles]
            outputs = [list(real_outputs(handle, samples, count)) for handle in handles]
            for place, own in enumerate(outputs):
                for number, values in enumerate(own):
                    if scorers:
                        scorers[place].add(values, samples[number].label, samples[number].source)
                    if place:
                        for item, a, b in zip(sums[place - 1], outputs[0][number], values, strict=True):
                            item.add(a, b)
            count += len(batch)
            report(count)
        if not count:
            raise DataError(f"{data.what}: no samples to measure on")
        distances = [[item.distance() for item in own] for own in sums]
        if not scorers:
            return [None] * len(handles), [None] * len(handles), distances, count
        changes = [None, *(scorer.change_from(scorers[0]) for scorer in scorers[1:])]
        return [scorer.score() for scorer in scorers], changes, distances, count

    def _open(self, files: Mapping[Recipe, Path], float_path: Path, copies: int | None = None) -> list[Handle]:
        """The float model and the results, loaded side by side."""
        paths = (float_path, *files.values())
        return [self._engine.open(str(path), copies=copies or available_threads()) for path in paths]

    def _time(self, handles: Sequence[Handle], sample: object) -> list[Timing | None]:
        timings: list[Timing | None] = [None] * len(handles)
        with suppress(RuntimeFailure):
            inputs = [next(stacked([fit(sample, item.inputs)], taken_at_once(item)))[0] for item in handles]
            timings = list(benchmark(handles, inputs))
        return timings

    def _report(self, what: str, total: int | None) -> Callable[[int], None]:
        def report(done: int) -> None:
            if self._progress is not None:
                self._progress(what, done, total)

        return report


def first_samples(data: Dataset, count: int) -> list[object]:
    """The first so many, or as many as there are."""
    return list(islice(iter(data), count))
