"""What each target runs: the recipes that are tried for it, and the rule that they follow from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: what it is called.
        rule: what it runs, in words.
        flavours: presets to try, the quickest to make first.
        repaired: of which of them repair is tried where they lose too much, and what it may widen operators to; ""
            for those that have a twin which is repaired instead, and only get what costs the device nothing.
        adjust: what the target changes in a preset.
        is_this_machine: whether time on this machine says something about the target.
        is_micro: whether its runtime is TensorFlow Lite Micro, in which a file can be run here.
    """

    name: str
    rule: str
    flavours: tuple[str, ...]
    repaired: Mapping[str, str] = field(default_factory=dict)
    adjust: Callable[[Recipe], Recipe] = lambda recipe: recipe
    is_this_machine: bool = False
    is_micro: bool = False

    def recipes(self) -> dict[str, Recipe]:
        """The recipes to try, by their names."""
        return {name: self.adjust(load_recipe(name)) for name in self.flavours}


def _integers_only(recipe: Recipe) -> Recipe:
    """16-bit integers at the door, too, and no operator in float."""
    if recipe.scheme.activations is DType.INT16:
        return replace(recipe, interface=DType.INT16, float_fallback=False)
    return recipe


TARGETS = {
    target.name: target
    for target in (
        Target(
            "cpu",
            "runs every flavour",
            ("float32", "float16", "weight_only", "dynamic", "int8_float_io", "int8", "int8_w4", "int16x8"),
            {"int8_float_io": "float", "int8": "", "int8_w4": "float"},
            is_this_machine=True,
        ),
        Target("edge_tpu", "runs 8-bit integers only", ("int8", "uint8"), {"int8": "none"}),
        Target(
            "ethos_u",
            "runs integers only, with activations of 8 or 16 bits",
            ("int8", "int16x8"),
            {"int8": "none", "int16x8": "none"},
            _integers_only,
        ),
        Target(
            "micro",
            "runs integers (activations of 8 or 16 bits), or float32",
            ("float32", "int8", "int16x8"),
            {"int8": "none", "int16x8": "none"},
            _integers_only,
            is_micro=True,
        ),
    )
}
"""By name. What a device makes of single operators is not forecast here: see the reasons of a plan."""

_LATER = {"tensorrt": "is not built yet"}


def target_of(name: str) -> Target:
    """A target by its name. Raises RecipeError that says what there is."""
    if name in TARGETS:
        return TARGETS[name]
    known = ", ".join(TARGETS)
    raise RecipeError(f"--target {name}: {_LATER.get(name, 'there is no such target')}; there are {known}")
