"""`Fitted` + recipe + samples -> what each rewrite costs: the same recipe with and without it, measured."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tersor.data.dataset import Dataset
from tersor.data.feed import Sample
from tersor.errors import TersorError
from tersor.formats import tflite
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine
from tersor.stages.fitted import Cost, Fitted
from tersor.stages.prepare import Preparation
from tersor.stages.repair.figures import Figures, Reference, gain_db
from tersor.stages.repair.trial import Bench

SAMPLES = 200
"""How many samples costs are measured on, at most."""


def fit_costs(
    fitted: Fitted,
    recipe: Recipe,
    preparation: Preparation,
    calibration: Dataset,
    samples: Sequence[Sample],
    engine: Engine,
    folder: Path,
    *,
    is_split: bool = False,
) -> tuple[Cost, ...]:
    """Make the file by the same recipe without any rewrite, with the first, the first two, and so on.

    Where the network is split, a last cost is what that does.

    Args:
        fitted: what was done.
        recipe: what the files are made by; without a rewrite operators may stay in float.
        preparation: of the float model.
        calibration: samples to calibrate on.
        samples: to measure on.
        engine: the process to run in.
        folder: for files that are not kept.
        is_split: whether the recipe splits the network, and there is something to split off.

    Raises RuntimeFailure for a float model that does not run.
    """
    reference = Reference(preparation.written, samples, None, engine)
    plain = replace(recipe, target="", split=False, float_fallback=True)
    seen: list[tuple[Figures, int] | None] = []
    trials = [(model, plain) for model in fitted.models[:-1]]
    whole = [(fitted.model, replace(recipe, split=False, float_fallback=True))] if is_split else []
    for number, (model, asked) in enumerate([*trials, *whole, (fitted.model, recipe)]):
        own = preparation
        if number < len(trials):
            path = folder / f"step{number}.tflite"
            tflite.write(model, path)
            own = Preparation(model, path, calibration, engine)
        seen.append(None)
        with suppress(TersorError):  # a step between that cannot be made is not what the user asked for
            figures = Bench(own, reference, folder).trial(asked).figures
            seen[-1] = figures, len(own.corrected(asked).plan.left_in_float())
    names = [*(rewrite.name for rewrite in fitted.rewrites), *(["split"] if is_split else [])]
    return tuple(_cost(name, *pair) for name, *pair in zip(names, seen[:-1], seen[1:], strict=True))


def _cost(name: str, before: tuple[Figures, int] | None, after: tuple[Figures, int] | None) -> Cost:
    if before is None or after is None:
        return Cost(name)
    (old, left), (new, _) = before, after
    agreement = None if old.agreement is None or new.agreement is None else (old.agreement, new.agreement)
    return Cost(name, old.samples, (old.sqnr_db, new.sqnr_db), gain_db(old, new), agreement, left)
