"""Training as the last thing that is done about rounding: what a stage needs of it, which it does not do itself.

Training needs Keras and stands above the stages, so it is handed down to them: `tersor.training.finetune`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from tersor.data.feed import Sample
from tersor.errors import PlanError
from tersor.ir.graph import Model
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine
from tersor.stages.correct import Corrected

SAMPLES = 1000
"""Samples to train on, at most."""

_MISSING = (
    "{name} is fine-tuned, which trains the network: give --finetune on the command line, or "
    "Options(finetune=tersor.training.finetune.FineTuner()), with pip install 'tersor[train]'"
)


class FineTunes(Protocol):
    """Trains a rounded network."""

    def __call__(
        self,
        model: Model,
        written: Path,
        made: Corrected,
        recipe: Recipe,
        samples: Sequence[Sample],
        *,
        engine: Engine,
        progress: Callable[[int], None] | None = None,
    ) -> Corrected:
        """What was made, trained; or as it was, with a warning in its plan that says why.

        Args:
            model: the float model, which teaches.
            written: its file.
            made: what was made of it by the recipe.
            recipe: the recipe.
            samples: to train on, and to judge by.
            engine: the process to run in.
            progress: called with how many rounds are done.
        """
        ...


def required(tuner: FineTunes | None, recipe: Recipe) -> FineTunes:
    """What trains. Raises PlanError if nothing does."""
    if tuner is None:
        raise PlanError(_MISSING.format(name=recipe.name))
    return tuner
