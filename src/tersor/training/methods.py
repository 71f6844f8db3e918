"""What a recipe asks to train for: its phases, one after the other, each on what the one before left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tersor.errors import RecipeError
from tersor.ir.graph import Model
from tersor.recipe import Recipe, load_recipe
from tersor.training.network import Network
from tersor.training.qat import prepare


@dataclass(frozen=True)
class Start:
    """What a phase begins with.

    Attributes:
        model: a float model.
        samples: some of those that are trained on, for ranges.
        steps: how many there are going to be.
        freeze_after: the step from which on batch normalization uses its moving statistics.
        learned: whether ranges are learned by their gradients.
    """

    model: Model
    samples: Sequence[object]
    steps: int
    freeze_after: int
    learned: bool = False


@dataclass(frozen=True)
class Phase:
    """One training.

    Attributes:
        name: in messages.
        prepare: makes the network.
        recipe: what the file of the network is; None for a float file.
        stands_untrained: whether the network is worth keeping before its first epoch.
    """

    name: str
    prepare: Callable[[Start], Network]
    recipe: Recipe | None
    stands_untrained: bool


def phases_of(name: str) -> tuple[Phase, ...]:
    """The phases of a recipe: a preset's name, or the path of a TOML file. Raises RecipeError."""
    recipe = load_recipe(name)
    if not recipe.needs_calibration:
        raise RecipeError(
            f"{recipe.name} rounds no activations, so there is nothing to train for: tersor quantize --as {name}"
        )
    return (_qat(recipe),)


def _qat(recipe: Recipe) -> Phase:
    def start(given: Start) -> Network:
        return prepare(
            given.model, recipe, data=given.samples, freeze_after=given.freeze_after, learned=given.learned
        )

    return Phase(recipe.name, start, recipe, stands_untrained=True)

