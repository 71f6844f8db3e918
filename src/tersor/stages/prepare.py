"""Model + recipe + calibration data -> `Corrected`: all that comes before writing, shared between recipes.

Recipes of one model have much in common: the ranges that an observer saw, the network as algorithms rewrite it, and
sometimes the whole result but for the door. `Preparation` does each of these once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tersor.data.dataset import Dataset
from tersor.errors import PlanError, RuntimeFailure
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.ir.plan import Plan
from tersor.recipe import Recipe, Scheme, left_in_float
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.correct import SAMPLES as CORRECTION_SAMPLES
from tersor.stages.correct import Corrected, averaged, correct, float_means, most_samples, rewrite, split_kinds
from tersor.stages.evaluate import as_sample
from tersor.stages.fine_tuning import SAMPLES as TUNING_SAMPLES
from tersor.stages.fine_tuning import FineTunes, required
from tersor.stages.fitted import Fitted
from tersor.stages.plan import plan
from tersor.stages.statistics import Statistics
from tersor.stages.trained import training_of, without_training
from tersor.stages.verify import SAMPLES as VERIFICATION_SAMPLES

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many samples are done, and how many there are (None if unknown)."""


_MEMORY = 64 << 20
"""Bytes of outputs that are kept."""

_UNCORRECTED = (
    "without --data, rounding is not corrected: the model states no statistics of batch normalizations "
    "(a .tflite file has them folded; the .keras or .h5 file that it was made of keeps them). On MobileNetV1 0.25 "
    "either took dynamic from 75 to 97 % of float's answers"
)


class Preparation:
    """Plans and corrects a model by one recipe after the other.

    Args:
        model: a float model, optimized; one that was trained for a recipe brings its ranges, and needs no corrections.
        written: its `.tflite` file, which is written when it is asked for if it is not there.
        calibration: samples for ranges and corrections; None where no recipe needs any.
        engine: the process to run in.
        progress: told what is going on.
        finetune: trains what was made by recipes that ask for it.
    """

    def __init__(
        self,
        model: Model,
        written: Path,
        calibration: Dataset | None,
        engine: Engine,
        progress: Progress | None = None,
        finetune: FineTunes | None = None,
    ) -> None:
        self.model = without_training(model)
        self._training = training_of(model)
        self._written = written
        self._calibration = calibration
        self._engine = engine
        self._progress = progress
        self._finetune = finetune
        self._tuned: dict[Recipe, Corrected] = {}
        self._fitted: dict[tuple[str, bool], Fitted] = {}
        self._run_by_cpu: dict[str, tuple[str, ...]] = {}
        self._rewritten: dict[tuple[str, tuple[str, ...], Scheme, str], Model] = {}
        self._statistics: dict[tuple[int, str], Statistics] = {}
        self._means: dict[tuple[int, int], Mapping[str, Array]] = {}
        self._drafts: dict[Recipe, tuple[Model, Statistics | None, Corrected]] = {}
        self._found: dict[Recipe, tuple[Corrected, Corrected]] = {}

    @property
    def written(self) -> Path:
        """The model's file. Raises what `tflite.write` does."""
        if not self._written.exists():
            tflite.write(self.model, self._written)
        return self._written

    @property
    def samples(self) -> int:
        """How many samples ranges, or else corrections, were taken from; 0 if none were needed."""
        seen = [item.samples for item in self._statistics.values()]
        return max(seen or [found.samples for _, found in self._found.values()], default=0)

    @property
    def outputs(self) -> Sequence[Sequence[Array]]:
        """What the model answers to the first samples, as far as calibration has kept it."""
        same = {id(self.model), *(id(item.model) for item in self._fitted.values())}
        return next((found.outputs for (key, _), found in self._statistics.items() if key in same), ())

    def fitted(self, recipe: Recipe) -> Fitted:
        """What a recipe's target makes of the model. Raises what `fit` does."""
        key = recipe.target, recipe.split
        if key not in self._fitted:
            from tersor.stages.fit import fit  # few have a target, and this imports all

            self._fitted[key] = fit(self.model, recipe.target, is_split=recipe.split)
        return self._fitted[key]

    def _fitting(self, recipe: Recipe) -> Model:
        """The model, as the recipe's target can have it."""
        return self.fitted(recipe).model if recipe.target else self.model

    def _with_cpu_in_float(self, recipe: Recipe) -> Recipe:
        """The recipe with a rule for what the CPU runs of a network that is split."""
        if not recipe.split:
            return recipe
        if recipe.target not in self._run_by_cpu:
            from tersor.stages.split import run_by_cpu

            self._run_by_cpu[recipe.target] = run_by_cpu(self._fitting(recipe), recipe.target)
        names = self._run_by_cpu[recipe.target]
        return replace(recipe, rules=(*recipe.rules, left_in_float(names))) if names else recipe

    def drafted(self, recipe: Recipe) -> tuple[Model, Statistics | None, Corrected]:
        """The float model as the recipe's algorithms rewrite it, its ranges, and its plan without corrections.

        Raises what `calibrate` and `plan` do.
        """
        if recipe not in self._drafts:
            self._drafts[recipe] = self._draft(recipe)
        return self._drafts[recipe]

    def _draft(self, recipe: Recipe) -> tuple[Model, Statistics | None, Corrected]:
        given = model = self._fitting(recipe)
        if not recipe.needs_calibration:
            return model, None, Corrected(model, plan(model, recipe, None))
        if self._training is not None:
            statistics = self._training.statistics
            decided = plan(model, self._with_cpu_in_float(recipe), statistics, self._training.weights)
            return model, statistics, Corrected(model, decided)
        refused = None
        names = tuple(split_kinds(recipe.algorithms)[0])
        try:
            model = self._rewrite(names, recipe)
        except RuntimeFailure as error:
            refused = f"not rewritten by {', '.join(names)}: {error}"
        statistics = self._calibrate(model, recipe)
        decided = plan(model, self._with_cpu_in_float(recipe), statistics)
        draft = Corrected(model, _with_copies(given, model, decided))
        return model, statistics, draft if refused is None else _warned(draft, refused)

    def corrected(self, recipe: Recipe) -> Corrected:
        """What the recipe's algorithms make of the model; recipes that differ at the door only share it."""
        if recipe.finetune:
            if recipe not in self._tuned:
                self._tuned[recipe] = self._tune(recipe)
            return self._tuned[recipe]
        if recipe in self._found:
            return self._found[recipe][1]
        _, _, draft = self.drafted(recipe)
        if self._training is not None and recipe.needs_calibration:
            return draft
        if self._calibration is None:
            return self._correct_without_data(recipe, draft)
        if not recipe.algorithms:
            return draft
        same = (found for other, (drafted, found) in self._found.items() if _alike(recipe, draft, other, drafted))
        if (twin := next(same, None)) is not None:
            found = replace(twin, plan=replace(draft.plan, operands=twin.plan.operands))
        else:
            found = self._correct(recipe, draft, self._calibration)
        self._found[recipe] = draft, found
        return found

    @property
    def can_fine_tune(self) -> bool:
        """Whether there is something that trains."""
        return self._finetune is not None

    def _tune(self, recipe: Recipe) -> Corrected:
        """What the recipe makes, trained. Raises PlanError where nothing can train it."""
        tuner, plain = required(self._finetune, recipe), replace(recipe, finetune=False)
        if self._calibration is None or not recipe.needs_calibration:
            raise PlanError(f"{recipe.name} cannot be fine-tuned: that needs integer activations, and --data")
        return tuner(
            self._fitting(recipe),
            self.written,
            self.corrected(plain),
            self._with_cpu_in_float(plain),
            list(map(as_sample, islice(self._calibration, TUNING_SAMPLES))),
            engine=self._engine,
            progress=self._report(f"fine-tuning {recipe.name}", None),
        )

    def forget_all_but(self, recipe: Recipe) -> None:
        """Keep the result of one recipe only: each holds weights of its own, and a plan of every tensor."""
        self._drafts = {other: draft for other, draft in self._drafts.items() if other == recipe}
        self._found = {other: found for other, found in self._found.items() if other == recipe}
        self._tuned = {other: found for other, found in self._tuned.items() if other == recipe}

    def _rewrite(self, names: tuple[str, ...], recipe: Recipe) -> Model:
        model = self._fitting(recipe)
        if not names or self._calibration is None:
            return model
        key = recipe.target, names, recipe.scheme, recipe.observer
        if key not in self._rewritten:
            self._rewritten[key] = rewrite(
                model, self._calibration, names, scheme=recipe.scheme, observer=recipe.observer, engine=self._engine
            )
        return self._rewritten[key]

    def _calibrate(self, model: Model, recipe: Recipe) -> Statistics:
        if self._calibration is None:
            raise PlanError("these flavours need representative data: give --data")
        key = id(model), recipe.observer  # models are kept in `_rewritten`, so that no other takes the place of one
        if key not in self._statistics:
            total = None if self._calibration.size is None else len(self._calibration)
            report = self._report("calibrating", total)
            answer = sum(model.graph.tensors[name].byte_size for name in model.graph.outputs)
            self._statistics[key] = calibrate(
                model,
                self._calibration,
                recipe.observer,
                engine=self._engine,
                progress=report,
                keep_outputs=VERIFICATION_SAMPLES if VERIFICATION_SAMPLES * answer <= _MEMORY else 0,
                keep_means=most_samples(recipe.fan_in_limit) if split_kinds(recipe.algorithms)[1] else 0,
            )
        return self._statistics[key]

    def _means_of(self, model: Model, inputs: Sequence[Sequence[Array]]) -> Mapping[str, Array]:
        """The `float_means` of a model over the first samples to correct on, from calibration if it has taken them."""
        key = id(model), len(inputs)
        if key not in self._means:
            taken = (found.means for (other, _), found in self._statistics.items() if other == id(model))
            known = [item for item in taken if item and min(map(len, item.values())) >= len(inputs)]
            data = self._calibration
            are_first = data is not None and (data.size is None or len(data) <= CORRECTION_SAMPLES)
            self._means[key] = (
                averaged(known[0], len(inputs)) if known and are_first else float_means(model, inputs, self._engine)
            )
        return self._means[key]

    def _correct(self, recipe: Recipe, draft: Corrected, calibration: Dataset) -> Corrected:
        try:
            return correct(
                draft.model,
                draft.plan,
                calibration.split(CORRECTION_SAMPLES)[0],
                recipe.algorithms,
                fan_in_limit=recipe.fan_in_limit,
                engine=self._engine,
                means=lambda inputs: self._means_of(draft.model, inputs),
                progress=self._report(f"correcting {recipe.name}", None),
            )
        except RuntimeFailure as error:
            return _warned(draft, f"not corrected by {', '.join(recipe.algorithms)}: {error}")

    def _correct_without_data(self, recipe: Recipe, draft: Corrected) -> Corrected:
        if not recipe.algorithms_without_data:
            return draft
        found = correct(draft.model, draft.plan, None, recipe.algorithms_without_data)
        if found.layers:
            return found
        stated = any(tensor.normal is not None for tensor in draft.model.graph.tensors.values())
        idle = f"without --data, {', '.join(recipe.algorithms_without_data)} changed nothing"
        return _warned(draft, idle if stated else _UNCORRECTED)

    def _report(self, what: str, total: int | None) -> Callable[[int], None]:
        def report(done: int) -> None:
            if self._progress is not None:
                self._progress(what, done, total)

        return report


def _with_copies(given: Model, model: Model, decided: Plan) -> Plan:
    """The plan with a word on channels that a rewritten model has more of."""
    told = {}
    for name, planned in decided.tensors.items():
        before, after = (item.graph.tensors[name].shape[-1:] for item in (given, model))
        if before != after:
            note = f"; {after[0] - before[0]} of its {after[0]} channels are copies of others"
            told[name] = replace(planned, why=planned.why + note)
    return replace(decided, tensors={**decided.tensors, **told}) if told else decided


def _warned(draft: Corrected, warning: str) -> Corrected:
    return replace(draft, plan=replace(draft.plan, warnings=(*draft.plan.warnings, warning)))


def _alike(recipe: Recipe, draft: Corrected, other: Recipe, drafted: Corrected) -> bool:
    """Whether algorithms would come to the same result for two recipes; what rewrites is in the drafts."""
    own, others = ((split_kinds(item.algorithms)[1], item.fan_in_limit) for item in (recipe, other))
    return own == others and _numbers(draft.plan) == _numbers(drafted.plan) and draft.model is drafted.model


def _numbers(plan: Plan) -> object:
    """What a plan decides about values, without the reasons."""
    return tuple({key: (item.dtype, item.params) for key, item in own.items()} for own in (plan.tensors, plan.operands))
