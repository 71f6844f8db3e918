"""What a target says of the recipes that are tried for it, and the rule that they follow from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.recipe import Recipe, load_recipe, presets


@dataclass(frozen=True)
class Target:
    """A kind of device, as a search sees it.

    Attributes:
        name: what it is called.
        rule: what it runs, in words.
        flavours: presets to try, the quickest to make first.
        repaired: of which of them repair is tried where they lose too much, and what it may widen operators to; ""
            for those that have a twin which is repaired instead, and only get what costs the device nothing.
        adjust: what the target changes in a preset.
        is_this_machine: whether time on this machine says something about the target.
        is_micro: whether its runtime is TensorFlow Lite Micro, in which a file can be run here.
        also: presets that it runs, too, but that are not worth a try of their own.
    """

    name: str
    rule: str
    flavours: tuple[str, ...]
    repaired: Mapping[str, str] = field(default_factory=dict)
    adjust: Callable[[Recipe], Recipe] = lambda recipe: recipe
    is_this_machine: bool = False
    is_micro: bool = False
    also: tuple[str, ...] = ()

    def recipes(self) -> dict[str, Recipe]:
        """The recipes to try, by their names."""
        return {name: self.adjust(load_recipe(name)) for name in self.flavours}

    def fitted(self, recipe: Recipe) -> Recipe:
        """A recipe as the target has it. Raises RecipeError for a preset that it does not run."""
        if recipe.name in presets() and recipe.name not in (*self.flavours, *self.also):
            raise RecipeError(
                f"--target {self.name} {self.rule}, and not {recipe.name}: there are {', '.join(self.flavours)}"
            )
        return self.adjust(recipe)


def integers_only(recipe: Recipe) -> Recipe:
    """16-bit integers at the door, too, and no operator in float."""
    if recipe.scheme.activations is DType.INT16:
        return replace(recipe, interface=DType.INT16, float_fallback=False)
    return recipe
