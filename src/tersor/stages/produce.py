"""Model + data + recipes -> verified files and what each of them costs: the whole spine in one call."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.data.dataset import Dataset
from tersor.errors import OutputError, RecipeError
from tersor.formats import tflite
from tersor.ir.graph import Model
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine
from tersor.runtimes.memory import return_freed_memory
from tersor.stages.correct import Corrected
from tersor.stages.evaluate import Scorer, as_sample
from tersor.stages.examine import examine
from tersor.stages.fitted import Cost, fitting_of
from tersor.stages.load import admit_tensorflow_ops, runs_as_it_is
from tersor.stages.load_data import dataset_of
from tersor.stages.measure import Measurement, first_samples
from tersor.stages.optimize import optimize
from tersor.stages.outcome import Options, Outcome, Product
from tersor.stages.plan.refusals import refuse_finished
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.quantize import quantize
from tersor.stages.save import atomic, require_writable
from tersor.stages.widen import Wide

if TYPE_CHECKING:
    from tersor.stages.save_split import SplitFiles


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
    refuse_batch(outputs, batched)
    if options.metric is not None:
        Scorer(options.metric)  # raises for an unknown one before anything is done
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        float_model = optimize(model) if preparation is None else preparation.model
        wide = None if batched is None else Wide(float_model, optimize(batched), folder, runner)
        given, evaluation = dataset_of(data, model), dataset_of(evaluation, model)
        calibration, rest = (None, None) if given is None else given.split(options.calibration_samples)
        preparation = preparation or Preparation(
            float_model,
            _path_of(float_model, model, folder),
            calibration,
            runner,
            progress,
            options.finetune,
        )
        drafts = {recipe: preparation.corrected(recipe) for recipe in outputs}
        disjoint = evaluation is not None or _has_samples(rest)
        measured_on = evaluation if evaluation is not None else rest if disjoint else calibration
        measurement = Measurement(preparation, outputs, options, progress, runner, wide)
        with _written(drafts, outputs, wide) as temporary, ExitStack() as parts:
            known = () if disjoint else preparation.outputs
            reference, products, count = measurement.products(
                drafts, temporary, measured_on, disjoint=disjoint, known=known
            )
            cut = {
                recipe: parts.enter_context(
                    _in_parts(temporary[recipe], path, model.source, recipe, measured_on, runner)
                )
                for recipe, path in outputs.items()
                if recipe.split
            }
        calibrated = preparation.samples
        remarks: tuple[str, ...] = ()
        if calibrated and calibration is not None:
            remarks = examine(calibration, measured_on if disjoint else None, model, options.evaluation_samples)
        products = tuple(
            _with_fitting(
                replace(product, split=cut.get(recipe)), recipe, preparation, calibration, measured_on, runner, folder
            )
            for recipe, product in zip(outputs, products, strict=True)
        )
        batch = 1 if wide is None else wide.batch
        return Outcome(reference, products, calibrated, count, disjoint or not calibrated, batch, remarks)


def _with_fitting(
    product: Product,
    recipe: Recipe,
    preparation: Preparation,
    calibration: Dataset | None,
    data: Dataset | None,
    engine: Engine,
    folder: Path,
) -> Product:
    """The product with what was done for its target, and what that costs."""
    if not recipe.target or product.path is None:
        return product
    from tersor.stages.fit_costs import SAMPLES, fit_costs  # it stands on repair, which stands on this module
    from tersor.stages.place import place  # imports all targets

    fitted = preparation.fitted(recipe)
    costs: tuple[Cost, ...] = ()
    is_split = product.split is not None and bool(product.split.paths)
    if (fitted.rewrites or is_split) and calibration is not None and data is not None:
        samples = [as_sample(item) for item in data.spread(SAMPLES)]
        costs = fit_costs(fitted, recipe, preparation, calibration, samples, engine, folder, is_split=is_split)
    return replace(product, fitting=fitting_of(fitted, costs, place(tflite.read(product.path), recipe.target)))


@contextmanager
def _in_parts(
    written: Path, path: Path, source: str, recipe: Recipe, data: Dataset | None, engine: Engine
) -> Iterator[SplitFiles]:
    """The parts of a file that lies under a temporary name; they get theirs only if all goes well."""
    from tersor.stages.chain import SAMPLES  # few are split, and this imports all targets
    from tersor.stages.save_split import split_files
    from tersor.stages.split import split

    samples = [] if data is None else first_samples(data, SAMPLES)
    whole = replace(tflite.read(written), source=source)  # what the user knows it by, and what no part may replace
    with split_files(split(whole, recipe.target), path, samples, engine, written) as found:
        yield found


def prepared(model: Model, folder: Path) -> tuple[Model, Path]:
    """The optimized float model, and its file: the one that it was read from, or one in the folder.

    Raises ModelError.
    """
    found = optimize(model)
    path = _path_of(found, model, folder)
    if path.parent == folder:
        tflite.write(found, path)
    return found, path


def _path_of(found: Model, model: Model, folder: Path) -> Path:
    """Where the optimized form of a model lies, or may be written."""
    return Path(model.source) if found is model and runs_as_it_is(Path(model.source)) else folder / "float.tflite"


def refuse_batch(outputs: Iterable[Recipe], batched: Model | None) -> None:
    """Raise RecipeError for several samples at once on an accelerator that runs one."""
    target = next((recipe.target for recipe in outputs if recipe.target), None)
    if batched is not None and target is not None:
        raise RecipeError(f"--batch-size: {target} runs one sample at a time; leave it out, or leave out the target")


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


@contextmanager
def _written(
    drafts: Mapping[Recipe, Corrected], outputs: Mapping[Recipe, Path], wide: Wide | None
) -> Iterator[dict[Recipe, Path]]:
    """Every result under a temporary name; they get their own only if all goes well."""
    with ExitStack() as stack:
        written = {}
        for recipe, draft in drafts.items():
            written[recipe] = stack.enter_context(atomic(outputs[recipe]))
            whole = draft.model if wide is None else wide.with_constants_of(draft.model)
            tflite.write(quantize(whole, draft.plan), written[recipe])
        return_freed_memory()
        yield written


def _has_samples(data: Dataset | None) -> bool:
    if data is None:
        return False
    return len(data) > 0 if data.size is not None else bool(first_samples(data, 1))
