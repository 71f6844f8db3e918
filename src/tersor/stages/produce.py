"""Model + data + recipes -> verified files and what each of them costs: the whole spine in one call."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tersor.data.batch import stacked
from tersor.data.dataset import Dataset
from tersor.data.feed import fit
from tersor.errors import DataError, OutputError, RecipeError, RuntimeFailure
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.ir.plan import Plan
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine, Handle, available_threads
from tersor.runtimes.memory import return_freed_memory
from tersor.stages.benchmark import Timing, benchmark
from tersor.stages.calibrate import FEW_SAMPLES
from tersor.stages.compare import Accumulator, OutputDistance, batches, real_outputs, taken_at_once
from tersor.stages.correct import Corrected
from tersor.stages.evaluate import METRICS, SHARES, Change, Score, Scorer, as_sample, doubt
from tersor.stages.examine import examine
from tersor.stages.load import admit_tensorflow_ops, runs_as_it_is
from tersor.stages.load_data import dataset_of
from tersor.stages.optimize import optimize
from tersor.stages.plan.refusals import refuse_finished
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.quantize import quantize
from tersor.stages.save import atomic, require_writable
from tersor.stages.verify import SAMPLES, Verified, verify_against
from tersor.stages.widen import Wide

_SLOWER = 1.15
"""A result is called slower than float from this ratio; below, it may be noise."""


@dataclass(frozen=True)
class Options:
    """How to go about it.

    Attributes:
        calibration_samples: at most so many samples are used to calibrate; the others are left to measure on.
        evaluation_samples: at most so many samples are measured on.
        metric: see `evaluate.Scorer`; None for top1 where there are labels and no score where there are none.
        latency: whether to time the results.
    """

    calibration_samples: int = 100
    evaluation_samples: int = 1000
    metric: str | None = None
    latency: bool = False


@dataclass(frozen=True)
class Product:
    """One file that was made, and what it costs.

    Attributes:
        recipe: what it was made by.
        path: where it lies; None for the float model itself.
        plan: what was decided and why; None for the float model.
        size_bytes: of the file.
        verified: what was seen when it was loaded and run on each kernel set.
        score: on the evaluation samples, where these have labels.
        change: how much that differs from the float model's score on the same samples; None for the float model.
        distances: of each output from the float model's, on the evaluation samples.
        timing: on this machine, where asked for.
    """

    recipe: str
    path: Path | None
    plan: Plan | None
    size_bytes: int
    verified: tuple[Verified, ...] = ()
    score: Score | None = None
    distances: tuple[OutputDistance, ...] = ()
    timing: Timing | None = None
    change: Change | None = None

    @property
    def agreement(self) -> float | None:
        """Share of samples with the float model's arg-max, of the first output that has classes."""
        return next((item.agreement for item in self.distances if item.agreement is not None), None)

    @property
    def sqnr_db(self) -> float | None:
        """The worst output's signal to quantization noise ratio in decibel."""
        return min((item.sqnr_db for item in self.distances), default=None)


@dataclass(frozen=True)
class Outcome:
    """Everything that `produce` made and measured.

    Attributes:
        reference: the float model's own size, score and timing.
        products: in the order of the recipes.
        calibration_samples: how many samples the ranges come from.
        evaluation_samples: how many samples the figures come from.
        disjoint: whether these are other samples than those.
        batch: samples that the files take at once; timings are of one such run.
        remarks: what was seen of the samples, see `examine`.
    """

    reference: Product
    products: tuple[Product, ...]
    calibration_samples: int
    evaluation_samples: int
    disjoint: bool
    batch: int = 1
    remarks: tuple[str, ...] = ()


def produce(
    model: Model,
    outputs: Mapping[Recipe, Path],
    data: Dataset | Iterable[object] | None = None,
    evaluation: Dataset | Iterable[object] | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
    batched: Model | None = None,
    preparation: Preparation | None = None,
) -> Outcome:
    """Quantize a float model by each recipe, verify and measure the results, and write them.

    Args:
        model: a float model.
        outputs: for each recipe the file to write.
        data: samples to calibrate on; what is left of them is measured on, unless `evaluation` is given.
        evaluation: other samples to measure on.
        options: numbers of samples and what to measure.
        progress: told what is going on.
        engine: the process to run in; by default one of its own.
        batched: the same network for several samples at once, `load(path, batch=N)`. It is what is written then, by
            the plan that is made for `model`, and every sample has to come out as it does alone.
        preparation: what is known of this model and just these samples to calibrate on, so that it is not done again.

    Raises:
        PlanError, UnsupportedError, DataError, VerificationError, RuntimeFailure, OutputError: see the stages.
        Nothing is written for a recipe that fails, and nothing is written after it.
    """
    options = options or Options()
    refuse_finished(model)
    refuse_outputs(model, outputs)
    if options.metric is not None:
        Scorer(options.metric)  # raises for an unknown one before anything is done
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        if preparation is None:
            float_model, float_path = prepared(model, folder)
        else:
            float_model, float_path = preparation.model, preparation.written
        wide = None if batched is None else Wide(float_model, optimize(batched), folder, runner)
        production = _Production(model, float_model, float_path, outputs, options, progress, runner, wide, preparation)
        return production.run(dataset_of(data, model), dataset_of(evaluation, model))


def prepared(model: Model, folder: Path) -> tuple[Model, Path]:
    """The optimized float model, and its file: the one that it was read from, or one in the folder.

    Raises ModelError.
    """
    found = optimize(model)
    if found is model and runs_as_it_is(Path(model.source)):
        return model, Path(model.source)
    tflite.write(found, folder / "float.tflite")
    return found, folder / "float.tflite"


def refuse_outputs(model: Model, outputs: Mapping[Recipe, Path]) -> None:
    """Raise OutputError if a file would replace the float model or another result, or cannot be written at all."""
    if not outputs:
        raise RecipeError("no flavour is asked for")
    seen: dict[Path, str] = {Path(model.source).resolve(): "the float model itself"} if model.source else {}
    for recipe, path in outputs.items():
        place = Path(path).resolve()
        if place in seen:
            raise OutputError(f"{path}: {recipe.name} would replace {seen[place]}; give another --output")
        seen[place] = f"the result of {recipe.name}"
        require_writable(path)


class _Production:
    def __init__(
        self,
        loaded: Model,
        model: Model,
        float_path: Path,
        outputs: Mapping[Recipe, Path],
        options: Options,
        progress: Progress | None,
        engine: Engine,
        wide: Wide | None,
        preparation: Preparation | None,
    ) -> None:
        self._loaded = loaded
        self._model = model
        self._float_path = float_path
        self._outputs = outputs
        self._options = options
        self._progress = progress
        self._engine = engine
        self._wide = wide
        self._preparation = preparation

    def run(self, data: Dataset | None, evaluation: Dataset | None) -> Outcome:
        calibration, rest = (None, None) if data is None else data.split(self._options.calibration_samples)
        preparation = self._preparation or Preparation(
            self._model, self._float_path, calibration, self._engine, self._progress
        )
        drafts = {recipe: preparation.corrected(recipe) for recipe in self._outputs}
        disjoint = evaluation is not None or _has_samples(rest)
        measured_on = evaluation if evaluation is not None else rest if disjoint else calibration
        with self._written(drafts) as temporary:
            reference, products, count = self._measure(drafts, temporary, measured_on, disjoint=disjoint)
        calibrated = preparation.samples
        batch = 1 if self._wide is None else self._wide.batch
        remarks = self._remarks(calibration, measured_on if disjoint else None) if calibrated else ()
        return Outcome(reference, products, calibrated, count, disjoint or not calibrated, batch, remarks)

    def _remarks(self, calibration: Dataset | None, measured_on: Dataset | None) -> tuple[str, ...]:
        if calibration is None:
            return ()
        return examine(calibration, measured_on, self._loaded, self._options.evaluation_samples)

    @contextmanager
    def _written(self, drafts: Mapping[Recipe, Corrected]) -> Iterator[dict[Recipe, Path]]:
        """Every result under a temporary name; they get their own only if all goes well."""
        with ExitStack() as stack:
            written = {}
            for recipe, draft in drafts.items():
                written[recipe] = stack.enter_context(atomic(self._outputs[recipe]))
                whole = draft.model if self._wide is None else self._wide.with_constants_of(draft.model)
                tflite.write(quantize(whole, draft.plan), written[recipe])
            return_freed_memory()
            yield written

    def _measure(
        self, drafts: Mapping[Recipe, Corrected], files: Mapping[Recipe, Path], data: Dataset | None, *, disjoint: bool
    ) -> tuple[Product, tuple[Product, ...], int]:
        reference = self._engine.open(str(self._float_path), copies=available_threads())
        few = _first(data, SAMPLES) if data is not None else random_samples(reference)
        if data is not None and not few:
            raise DataError(f"{data.what}: no samples to measure on")
        wanted = list(real_outputs(reference, few))
        reference.close()
        seen = {recipe: verify_against(path, wanted, few, self._engine) for recipe, path in files.items()}
        if self._wide is not None:
            for recipe, path in files.items():
                self._wide.require_alike(drafts[recipe].model, drafts[recipe].plan, path, few)
        scores: list[Score | None] = [None] * (len(files) + 1)
        changes: list[Change | None] = [None] * (len(files) + 1)
        distances: list[list[OutputDistance]] = [[] for _ in files]
        timings: list[Timing | None] = [None] * (len(files) + 1)
        count = 0
        if data is not None and (disjoint or self._options.metric or as_sample(few[0]).label is not None):
            scores, changes, distances, count = self._compare(self._open(files, self._float_path), data)
        elif data is not None:  # a longer look at samples that the ranges come from would not be worth more
            distances, count = [list(own[0].outputs) for own in seen.values()], len(few)
        if self._options.latency:
            timed = self._float_path if self._wide is None else self._wide.float_path
            timings = self._time(self._open(files, timed, copies=1), few[0])
        source = Path(self._model.source) if self._model.source else self._float_path
        given = source if runs_as_it_is(source) else self._float_path
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
                scorers = self._scorers(samples[0].label is not None, len(handles))
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

    def _scorers(self, labelled: bool, count: int) -> list[Scorer]:
        metric = self._options.metric or ("top1" if labelled else None)
        return [] if metric is None else [Scorer(metric) for _ in range(count)]

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


def warnings(outcome: Outcome) -> list[str]:
    """What the user should know about results that are otherwise usable."""
    found = list(outcome.remarks)
    if outcome.reference.score is not None and (text := doubt(outcome.reference.score)) is not None:
        found.append(f"float: {text}")
    if 0 < outcome.calibration_samples < FEW_SAMPLES:
        few = outcome.calibration_samples
        count = f"only {few} calibration sample{'s' if few > 1 else ''}"
        found.append(f"{count}: ranges are unreliable below {FEW_SAMPLES}, 100 is usual")
    for product in outcome.products:
        found += [f"{product.recipe}: {text}" for text in (product.plan.warnings if product.plan is not None else ())]
        if product.score is not None and product.change is not None and product.change.is_significant:
            found += _worse(product.recipe, product.score.metric, product.change)
        if product.timing is not None and product.timing.ratio > _SLOWER:
            found.append(f"{product.recipe}: {product.timing.ratio:.1f} times SLOWER than float on this machine")
    return found


def _worse(recipe: str, metric: str, change: Change) -> list[str]:
    """The sentence that says that a score is worse than float's (or other, for a metric of the user's own)."""
    if metric in METRICS and (change.value > 0) != (metric == "mse"):
        return []
    low, high = sorted(abs(bound) for bound in change.interval)
    if metric in SHARES:
        text = f"{100 * abs(change.value):.1f} points below float (95 %: {100 * low:.1f}..{100 * high:.1f})"
    else:
        kind = "worse than" if metric in METRICS else "away from"
        text = f"{abs(change.value):.4g} {kind} float (95 %: {low:.4g}..{high:.4g})"
    return [f"{recipe}: {metric} is {text}; tersor debug says why"]


def _first(data: Dataset, count: int) -> list[object]:
    return list(_limited(data, count))


def _limited(data: Dataset, count: int) -> Iterator[object]:
    from itertools import islice

    return islice(iter(data), count)


def _has_samples(data: Dataset | None) -> bool:
    if data is None:
        return False
    return len(data) > 0 if data.size is not None else bool(_first(data, 1))


def random_samples(reference: Handle) -> list[object]:
    """Two random samples, to run a file that was made without data."""
    import numpy as np

    generator = np.random.default_rng(0)
    samples: list[object] = []
    for _ in range(2):
        arrays: list[Array] = []
        for port in reference.inputs:
            if port.dtype == "string":
                raise DataError(f"input {port.name!r} takes strings; tersor runs models on numbers")
            shape = tuple(1 if size < 0 else size for size in port.shape)
            values: Array = generator.uniform(-1, 1, shape)
            arrays.append(
                values.astype(port.dtype) if np.dtype(port.dtype).kind == "f" else np.zeros(shape, port.dtype)
            )
        samples.append(tuple(arrays))
    return samples
