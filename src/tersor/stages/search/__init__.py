"""Float model + data + target -> every variant that makes sense, measured, and which one to ship, and why."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from tersor import registry
from tersor.cache import digest
from tersor.data.dataset import Dataset
from tersor.errors import OutputError, PlanError, RecipeError
from tersor.formats import tflite
from tersor.ir.graph import Model
from tersor.recipe import Recipe
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import Scorer
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.load_data import dataset_of
from tersor.stages.optimize import optimize
from tersor.stages.outcome import Options
from tersor.stages.plan.refusals import refuse_finished
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.repair.goal import goal_of
from tersor.stages.search.conditions import conditions_of
from tersor.stages.search.course import Course, Standing
from tersor.stages.search.evidence import Evidence, evidence_of, fewer_to_calibrate
from tersor.stages.search.front import Judge
from tersor.stages.search.gauge import Gauge
from tersor.stages.search.improve import Improvement
from tersor.stages.search.journal import Journal
from tersor.stages.search.output_folder import PICK, RECIPE, REPORT, OutputFolder
from tersor.stages.search.reasons import missed, reasons_for, why_out
from tersor.stages.search.remarks import doubts, fitting_remarks, remarks
from tersor.stages.search.result import Candidate, Conditions, Limits, Search
from tersor.stages.search.targets import target_of
from tersor.stages.split import to_be_split
from tersor.targets._target import Target

__all__ = [
    "PICK",
    "RECIPE",
    "REPORT",
    "Candidate",
    "Conditions",
    "Limits",
    "Search",
    "Standing",
    "Wish",
    "search",
]


@dataclass(frozen=True)
class Wish:
    """What is searched for, and how.

    Attributes:
        target: a name of `targets.targets`.
        limits: what the pick has to keep.
        options: numbers of samples and the metric; `latency` is always measured.
        minutes: after so many nothing further is begun.
        threads: of one run that is timed.
        fresh: whether to make everything anew that an earlier run in the same folder made.
        scarce: whether fewer samples may be calibrated on than `options` say, where there are few.
        split: whether the pick is cut in files, of which the target's accelerator runs one and the CPU the others.
    """

    target: str = "cpu"
    limits: Limits = field(default_factory=Limits)
    options: Options = field(default_factory=Options)
    minutes: float = 10.0
    threads: int = 1
    fresh: bool = False
    scarce: bool = True
    split: bool = False


def search(
    model: Model,
    folder: str | Path,
    data: Dataset | Iterable[object] | None = None,
    evaluation: Dataset | Iterable[object] | None = None,
    wish: Wish | None = None,
    *,
    progress: Progress | None = None,
    announce: Callable[[Standing], None] | None = None,
    warn: Callable[[str], None] | None = None,
    engine: Engine | None = None,
) -> Search:
    """Make every variant that makes sense for a target, measure all, and pick one.

    What is done is kept in the folder: the same call goes on from there. A `KeyboardInterrupt` ends it with what there
    is, if there is anything.

    Args:
        model: a float model.
        folder: where everything is written: each variant with its recipe, `pick.tflite`, `recipe.toml`.
        data: samples to calibrate on; of the others half is chosen by, and half reported on. Without data only what
            needs none is made, and what that loses is not known.
        evaluation: samples to report on; all others of `data` are chosen by then.
        wish: target, limits, numbers of samples, time.
        progress: told what is going on.
        announce: told how far it is and what is best so far.
        warn: told at once why figures may not be what they seem; it is part of the result, too.
        engine: the process to run in; by default one of its own.

    Raises:
        RecipeError: an option makes no sense, or the target is not known.
        PlanError: the target forbids every candidate; says by which rule.
        DataError: too few samples, or labels that do not fit.
        UnsupportedError, RuntimeFailure: the float model is not one, or does not run.
        OutputError: the folder cannot be written.
    """
    wish, folder, started = wish or Wish(), Path(folder), time.monotonic()
    target = target_of(wish.target)
    recipes = {name: own for name, own in target.recipes().items() if data is not None or not own.needs_calibration}
    if wish.split:
        recipes = {name: to_be_split(recipe, wish.target) for name, recipe in recipes.items()}
    with ExitStack() as stack:
        output = OutputFolder(model, folder)
        _refuse(model, wish, target, recipes, has_data=data is not None)
        output.require_writable(recipes)
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        float_model, float_path = optimize(model), temporary / "float.tflite"
        tflite.write(float_model, float_path)
        told = progress or (lambda _what, _done, _total: None)
        evidence = _evidence(float_model, float_path, data, evaluation, wish, runner, told)
        doubted = doubts(evidence, model)
        if warn is not None:
            for text in doubted:
                warn(text)
        journal = Journal(folder, _key(float_model, evidence, wish, target), fresh=wish.fresh)
        deadline = started + 60 * wish.minutes
        calibration = None if evidence is None else evidence.samples.calibration
        preparation = Preparation(float_model, float_path, calibration, runner, told)
        gauge = Gauge(preparation, float_path, evidence, runner, wish.threads, deadline, told, is_micro=target.is_micro)
        judge = Judge(target, wish.limits, None if evidence is None else evidence.goal)
        course = Course(judge, gauge, journal, output.of, started, deadline, announce or (lambda _standing: None))
        reference = _reference(journal, gauge)
        try:
            course.flavours(recipes)
            if not course.candidates:
                raise PlanError(_forbidden(target, course.not_tried, is_split=wish.split))
            if evidence is not None:
                left = deadline, wish.minutes
                improvement = Improvement(preparation, evidence, runner, temporary, *left, journal, told)
                course.repairs(recipes, target.repaired, improvement)
        except OutputError as error:
            if not course.candidates:
                raise
            done = f"{len(course.candidates)} candidates are done and kept: make room, and the same command goes on"
            raise OutputError(f"{error}; {done}") from error
        pick = judge.best(course.candidates)
        assert pick is not None
        output.write_recipes(course.candidates, evidence)
        output.write_pick(pick, evidence)
        parts = output.write_parts(wish.target, evidence, runner) if wish.split else None
        fitted = fitting_remarks(pick, preparation, evidence, journal, runner, temporary, deadline, parts)
    found = _Found(wish, output, judge, evidence, course, reference, pick, doubted, fitted)
    return found.search(time.monotonic() - started)


@dataclass(frozen=True)
class _Found:
    """Everything that the result is made of."""

    wish: Wish
    output: OutputFolder
    judge: Judge
    evidence: Evidence | None
    course: Course
    reference: Candidate
    pick: Candidate
    doubts: tuple[str, ...]
    fitted: tuple[str, ...]

    def search(self, seconds: float) -> Search:
        """The result."""
        judge, pick, candidates = self.judge, self.pick, tuple(self.course.candidates)
        out, evidence = why_out(judge, pick, candidates), self.evidence
        calibration = None if evidence is None else evidence.samples.calibration
        used = 0 if calibration is None or calibration.size is None else len(calibration)
        return Search(
            model=self.output.model.source,
            target=self.wish.target,
            limits=self.wish.limits,
            goal=judge.goal,
            reference=self.reference,
            candidates=candidates,
            front=judge.front(candidates, pick),
            pick=pick.name,
            verdict=None if judge.goal is None or pick.reporting is None else judge.goal.verdict(pick.reporting),
            reasons=reasons_for(judge, self.reference, pick, out),
            out=out,
            not_tried=dict(self.course.not_tried),
            missed=missed(judge, pick, candidates),
            conditions=conditions_of(evidence, used, self.wish.threads),
            folder=self.output.folder,
            seconds=seconds,
            interrupted=self.course.interrupted,
            notes=self.fitted + remarks(judge, self.reference, evidence, self.course.journal, self.course.known),
            doubts=self.doubts,
        )


def _refuse(model: Model, wish: Wish, target: Target, recipes: Mapping[str, Recipe], *, has_data: bool) -> None:
    """Raise now what would be raised after a long search."""
    goal_of(wish.limits.max_drop, None, has_classes=False)
    if wish.limits.max_latency_ms is not None and not target.is_this_machine:
        raise RecipeError(
            f"--max-latency: time is measured on this machine's CPU, which says nothing about {target.name}; leave it "
            "out, or take --target cpu"
        )
    if not has_data and not wish.limits.is_default:
        raise RecipeError("--max-drop: what is lost is measured on data: give --data")
    if not recipes:
        raise PlanError(
            f"target {target.name} {target.rule}, and integers need the ranges that values take: give --data"
        )
    refuse_finished(model)
    if wish.options.metric is not None:
        Scorer(wish.options.metric)


def _evidence(
    model: Model,
    float_path: Path,
    data: Dataset | Iterable[object] | None,
    evaluation: Dataset | Iterable[object] | None,
    wish: Wish,
    engine: Engine,
    progress: Progress,
) -> Evidence | None:
    own, other = dataset_of(data, model), dataset_of(evaluation, model)
    if own is None:
        return None
    options = wish.options
    if wish.scarce:
        options = replace(options, calibration_samples=fewer_to_calibrate(own, other, options.calibration_samples))
    return evidence_of(model, float_path, own, other, options, wish.limits.max_drop, engine, progress)


def _key(model: Model, evidence: Evidence | None, wish: Wish, target: Target) -> str:
    """What candidates follow from, but for their recipes: also what the model carries goes into each file."""
    samples = None if evidence is None else (evidence.digest(), evidence.metric)
    carried = model.description, model.signatures, model.metadata, model.attachments
    is_measured = target.is_micro, target.is_micro and tflite_micro.is_installed()
    return digest("search", model.graphs, carried, samples, wish.threads, is_measured)


def _reference(journal: Journal, gauge: Gauge) -> Candidate:
    """The float model, measured now or before."""
    kept = journal.candidate("float")
    found = gauge.reference() if kept is None else kept
    if kept is None:
        journal.put_candidate("float", found)
    return replace(found, path=gauge.float_source)


def _forbidden(target: Target, reasons: Mapping[str, str], *, is_split: bool) -> str:
    can_be = not is_split and hasattr(registry.plugin("targets", target.name), "obstacles")
    hint = "\n--split cuts off what the device does not run, for the CPU" if can_be else ""
    lines = "".join(f"\n  {name}: {why}" for name, why in reasons.items())
    return f"target {target.name} {target.rule}, and this model has no candidate for it:{lines}{hint}"
