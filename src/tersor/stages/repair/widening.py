"""The rungs that cost the device something: more bits for the fewest operators that reach the goal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.recipe import Recipe
from tersor.stages.repair.ladder import BYTES, LATENCY


class Mixture(Protocol):
    """A recipe with more bits for some operators, as `mixed_precision` makes it."""

    @property
    def recipe(self) -> Recipe: ...
    @property
    def operators(self) -> tuple[str, ...]: ...


ISLANDS = ("int16", "float", "none")


@dataclass(frozen=True)
class Widening:
    """A way to give operators more bits.

    Attributes:
        widen: what it is called by `mixed_precision.mixtures`.
        name: what it is called in tables.
        cost: what it costs on the device.
    """

    widen: str
    name: str
    cost: str


_WEIGHTS = Widening("int8_weights", "8-bit weights", BYTES)
_ISLANDS = {
    "int16": Widening("int16", "16-bit operators", LATENCY),
    "float": Widening("float", "float operators", LATENCY),
}


def widenings(recipe: Recipe, islands: str | None) -> tuple[Widening, ...]:
    """What may be widened, the cheapest first.

    Args:
        recipe: what is wanted.
        islands: "int16", "float" or "none"; by default none for an accelerator of 8 bits, float where the recipe allows
            it, which CPUs run faster than 16 bits, and 16 bits where it does not.

    Raises RecipeError for float islands in a network of integers only.
    """
    if islands is not None and islands not in ISLANDS:
        raise RecipeError(f"--islands {islands}: it must be one of {', '.join(ISLANDS)}")
    if islands == "float" and not recipe.float_fallback:
        raise RecipeError(
            f"--islands float: {recipe.name} is integer only, and float islands would break that; allow them with "
            "--allow-float, or take --islands int16"
        )
    if recipe.target and islands is None:
        islands = "none"  # they would stay on the CPU, and most of what comes after them
    if recipe.scheme.compute != "integer":
        return ()
    found = [_WEIGHTS] if recipe.scheme.weights is DType.INT4 else []
    chosen = islands or ("float" if recipe.float_fallback else "int16")
    if chosen == "none" or (chosen == "int16" and recipe.scheme.activations is DType.INT16):
        return tuple(found)
    return (*found, _ISLANDS[chosen])


def cheapest(count: int, reaches: Callable[[int], bool]) -> int | None:
    """The first place of a sequence with growing cost that reaches a goal, by bisection; the last is tried first.

    So a goal out of reach is known at once, and a search that is cut short has something to show. Takes it that what
    reaches the goal still does with more; where that is wrong the result reaches it all the same, but something cheaper
    might, too.

    Args:
        count: of places.
        reaches: tries one.

    Returns the place, None if the last one does not reach it.
    """
    if not count or not reaches(count - 1):
        return None
    failed, place = -1, count - 1
    while place - failed > 1:
        middle = (failed + place) // 2
        if reaches(middle):
            place = middle
        else:
            failed = middle
    return place
