"""Float model + data + what may be lost -> a file that loses no more, by the cheapest cures that do it.

A ladder from cheap to dear: each rung is a change of the recipe, tried on samples that nothing was calibrated on, and
kept only if it helps. What is said of the result comes from further samples that played no part. The recipe that was
found is written beside the file, which is made by it as by any other.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersor.data.dataset import Dataset
from tersor.errors import PlanError, TersorError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.recipe import Recipe, load_recipe, presets, to_toml
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import Scorer
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.load_data import dataset_of
from tersor.stages.outcome import Options, Outcome
from tersor.stages.plan.refusals import refuse_finished
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.produce import prepared, produce, refuse_batch, refuse_outputs
from tersor.stages.repair.climb import Climb, Step
from tersor.stages.repair.figures import Figures, compared
from tersor.stages.repair.goal import Goal, Verdict, goal_of, parse_drop, standard_of
from tersor.stages.repair.ladder import TRAINED
from tersor.stages.repair.samples import Samples, divided
from tersor.stages.repair.trial import Bench, Trial
from tersor.stages.repair.widening import Mixture, Widening, widenings
from tersor.stages.save import atomic, require_writable

if TYPE_CHECKING:
    from tersor.stages.mixed_precision import Mixture as CostedMixture

__all__ = ["Goal", "Repair", "Step", "Verdict", "parse_drop", "repair", "repair_each", "together"]

MINUTES = 10.0
"""After so many minutes nothing further is tried, unless more are given."""


@dataclass(frozen=True)
class Repair:
    """What was found.

    Attributes:
        asked: the recipe to start from.
        recipe: the one that was found.
        goal: what may be lost.
        verdict: what the samples that are reported on say about it.
        figures: on these samples.
        steps: everything that was tried, in order.
        tuning_samples: how many samples candidates were compared on.
        elsewhere: where the goal was missed, what other flavours do on the tuning samples.
        slowdown: time of one run on this machine over that of the recipe as it was asked for, where something was kept
            that costs time; None elsewhere.
        outcome: of `produce`.
        recipe_path: where the recipe lies, as TOML.
    """

    asked: Recipe
    recipe: Recipe
    goal: Goal
    verdict: Verdict
    figures: Figures
    steps: tuple[Step, ...]
    tuning_samples: int
    elsewhere: tuple[Trial, ...]
    slowdown: float | None
    outcome: Outcome
    recipe_path: Path

    @property
    def reached(self) -> bool:
        """Whether nothing speaks against the goal."""
        return self.verdict is not Verdict.MISSED


def repair(
    model: Model,
    recipe: Recipe,
    output: str | Path,
    data: Dataset | Iterable[object],
    evaluation: Dataset | Iterable[object] | None = None,
    *,
    max_drop: float,
    islands: str | None = None,
    options: Options | None = None,
    minutes: float = MINUTES,
    progress: Progress | None = None,
    engine: Engine | None = None,
    batched: Model | None = None,
) -> Repair:
    """Find the cheapest change of a recipe that loses no more than asked, write the file, and say what was tried.

    The file is written also if the goal is missed; it is then the one that comes nearest.

    Args:
        model: a float model.
        recipe: what to start from.
        output: the file to write; the recipe goes beside it, as ``.recipe.toml``.
        data: samples to calibrate on; of the others half is tuned on and half reported on.
        evaluation: samples to report on; all others of `data` are tuned on then.
        max_drop: what may be lost, a share: 0.005 are half a percent. See `Goal`.
        islands: what operators may be widened to, "int16", "float" or "none"; see `widening.widenings`.
        options: see `produce`.
        minutes: after so many nothing further is tried.
        progress: told what is going on.
        engine: the process to run in; by default one of its own.
        batched: see `produce`.

    Raises:
        RecipeError: `max_drop` or `islands` make no sense.
        DataError: too few samples are left to tune and to report on.
        PlanError, UnsupportedError, VerificationError, RuntimeFailure, OutputError: as `produce` does, for the recipe
            as it was asked for.
    """
    options, output = options or Options(), Path(output)
    deadline = time.monotonic() + 60 * minutes
    allowed = widenings(recipe, islands)
    recipe_path = output.with_suffix(".recipe.toml")
    _refuse(model, recipe, output, recipe_path, max_drop, options)
    refuse_batch([recipe], batched)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        float_model, float_path = prepared(model, folder)
        given = dataset_of(data, model)
        assert given is not None  # only where there was none to begin with
        own = divided(float_model, given, dataset_of(evaluation, model), options.calibration_samples)
        metric, reference, goal = standard_of(float_path, own.tuning, options.metric, max_drop, runner)
        preparation = Preparation(float_model, float_path, own.calibration, runner, progress, options.finetune)
        climb = Climb(Bench(preparation, reference, folder), goal, deadline, _told(progress))
        climbed(climb, recipe, allowed, preparation, own, runner, progress)
        found = climb.kept.recipe
        outcome = produce(
            model, {found: output}, own.calibration, own.reporting, options, progress, runner, batched, preparation
        )
        drawn = own.reporting.spread(options.evaluation_samples)
        figures = compared(float_path, output, drawn, reference.classes, metric, runner)
        verdict = goal.verdict(figures)
        elsewhere = _elsewhere(climb, found) if verdict is Verdict.MISSED else ()
        slowdown = climb.slowdown(own.tuning[0], folder, runner)
    _write(recipe_path, found, goal, verdict, own.calibration)
    steps, tuned = tuple(climb.steps), len(own.tuning)
    return Repair(recipe, found, goal, verdict, figures, steps, tuned, elsewhere, slowdown, outcome, recipe_path)


def _refuse(model: Model, recipe: Recipe, output: Path, recipe_path: Path, max_drop: float, options: Options) -> None:
    """Raise now what would be raised after a long search."""
    goal_of(max_drop, None, has_classes=False)
    refuse_finished(model)
    refuse_outputs(model, {recipe: output})
    require_writable(recipe_path)
    if options.metric is not None:
        Scorer(options.metric)


def repair_each(
    model: Model,
    outputs: Mapping[Recipe, Path],
    data: Dataset | Iterable[object] | None,
    evaluation: Dataset | Iterable[object] | None = None,
    **asked: Any,
) -> tuple[Repair, ...]:
    """`repair` for several recipes, each by itself, on the same samples; `asked` goes to each.

    What was written stays if a later one fails.
    """
    if data is None:
        raise PlanError("repair measures what it does: give --data")
    refuse_outputs(model, outputs)
    return tuple(repair(model, recipe, output, data, evaluation, **asked) for recipe, output in outputs.items())


def together(repairs: Sequence[Repair]) -> Outcome:
    """The outcomes of several repairs of one model as one."""
    first = repairs[0].outcome
    products = tuple(product for found in repairs for product in found.outcome.products)
    calibrated = max(found.outcome.calibration_samples for found in repairs)
    return replace(first, products=products, calibration_samples=calibrated)


def _told(progress: Progress | None) -> Callable[[int], None]:
    return lambda count: None if progress is None else progress("repairing: candidates", count, None)


def climbed(
    climb: Climb,
    recipe: Recipe,
    allowed: Sequence[Widening],
    preparation: Preparation,
    own: Samples,
    engine: Engine,
    progress: Progress | None = None,
    largest: int | None = None,
) -> None:
    """The whole ladder: the recipe as it was asked for, what costs nothing, what costs little, what may be widened, and
    training, where there is something that trains.

    What would make the file larger than `largest` bytes is left out.
    """
    climb.start(recipe)
    climb.free_rungs()
    climb.costly_rungs(largest)
    for widening in allowed:
        find = _mixtures(preparation, own, widening.widen, engine, progress)
        climb.widen(widening, find if largest is None else _within(largest, climb, find))
    if preparation.can_fine_tune:
        climb.costly_rungs(largest, TRAINED)


def _within(
    largest: int, climb: Climb, find: Callable[[Recipe], Sequence[CostedMixture]]
) -> Callable[[Recipe], Sequence[Mixture]]:
    return lambda recipe: [item for item in find(recipe) if climb.kept.size_bytes + item.extra_bytes <= largest]


def _mixtures(
    preparation: Preparation, samples: Samples, widen: str, engine: Engine, progress: Progress | None
) -> Callable[[Recipe], Sequence[CostedMixture]]:
    """Finds mixtures for a recipe, measured on samples of the calibration data: others than candidates are."""

    def find(recipe: Recipe) -> Sequence[CostedMixture]:
        from tersor.stages.mixed_precision import mixtures

        model, statistics, _ = preparation.drafted(recipe)
        assert statistics is not None  # only recipes of integers are widened
        return mixtures(
            model,
            recipe,
            statistics,
            samples.calibration,
            widen=widen,
            engine=engine,
            progress=None if progress is None else lambda done, total: progress("measuring operators", done, total),
        )

    return find


def _elsewhere(climb: Climb, found: Recipe) -> tuple[Trial, ...]:
    """What other numbers would do: a scale per channel where there is one per tensor, 16-bit activations everywhere."""
    if not found.needs_calibration:
        return ()
    others = []
    if found.scheme.granularity == "per_tensor" and found.name in presets():
        others.append(replace(load_recipe(found.name), interface=found.interface))
    if found.scheme.activations is not DType.INT16:
        others.append(load_recipe("int16x8"))
    trials = []
    for other in others:
        with suppress(TersorError):
            trials.append(climb.aside(other))
    return tuple(trials)


def _write(path: Path, recipe: Recipe, goal: Goal, verdict: Verdict, data: Dataset) -> None:
    remarks = (f"goal: {goal}; {verdict.value}", f"calibrated on {data.what}")
    with atomic(path) as temporary:
        temporary.write_text(to_toml(recipe, remarks), "utf-8")
