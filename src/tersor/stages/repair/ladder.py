"""The rungs that change a whole recipe: first those that cost a device nothing, from cheap to dear in the time here.

Each starts from the recipe that the rungs before it left, and returns it as it is where there is nothing to change.
The rungs that give single operators more bits are in `widening`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from tersor.ir.dtypes import DType
from tersor.recipe import Recipe

NOTHING, BYTES, LATENCY, BYTES_AND_LATENCY = "nothing", "bytes", "latency", "bytes and latency"
"""What a rung costs on the device."""

_ORDER = (
    "zero_dead_channels",
    "cross_layer_equalization",
    "outlier_splitting",
    "staggered_copies",
    "least_squares_refit",
    "fit_scales",
    "gptq",
    "coordinate_descent",
    "bias_correction",
    "activation_correction",
)
"""The order in which algorithms are applied where rungs add some."""

_WIDE_FAN_IN = 1024
"""As in the recipes for 4-bit weights: the covariance of a layer with more inputs costs more than it brings."""


@dataclass(frozen=True)
class Rung:
    """One thing to try.

    Attributes:
        name: what it is called in tables.
        does: what it changes, in words.
        change: from a recipe to the one to try.
        needs_integers: whether it does nothing for recipes that quantize no activations.
        cost: what it costs on the device.
    """

    name: str
    does: str
    change: Callable[[Recipe], Recipe]
    needs_integers: bool = True
    cost: str = NOTHING


def with_algorithms(recipe: Recipe, *added: str, fan_in_limit: int = 0) -> Recipe:
    """A recipe with further algorithms; those that it has stay as they are."""
    names = dict.fromkeys((*recipe.algorithms, *added))
    if len(names) == len(recipe.algorithms):
        return _with_fan_in(recipe, fan_in_limit)
    known = [name for name in _ORDER if name in names]
    return _with_fan_in(
        replace(recipe, algorithms=(*known, *(name for name in names if name not in known))), fan_in_limit
    )


def without_algorithms(recipe: Recipe, removed: Collection[str]) -> Recipe:
    """A recipe without some algorithms."""
    return replace(recipe, algorithms=tuple(name for name in recipe.algorithms if name not in removed))


def _with_fan_in(recipe: Recipe, limit: int) -> Recipe:
    return replace(recipe, fan_in_limit=max(limit, recipe.fan_in_limit))


def _is_coarse(recipe: Recipe) -> bool:
    """Whether scales of weights are what there is too little of: one per tensor, or 4 bits."""
    return recipe.scheme.granularity == "per_tensor" or recipe.scheme.weights.is_packed


def _corrections(recipe: Recipe) -> Recipe:
    if recipe.scheme.granularity == "per_tensor":  # a scale of its own makes a dead channel harmless
        return with_algorithms(recipe, "zero_dead_channels", "bias_correction")
    return with_algorithms(recipe, "bias_correction")


def _simpler(recipe: Recipe) -> Recipe:
    found = without_algorithms(recipe, {"least_squares_refit", "fit_scales", "activation_correction"})
    return with_algorithms(found, "coordinate_descent", "bias_correction") if found != recipe else recipe


def _observer(name: str) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, observer=name)


def _weight_ranges(recipe: Recipe) -> Recipe:
    return replace(recipe, weight_observer="mse")


def _rounding(recipe: Recipe) -> Recipe:
    names = ("coordinate_descent",) if "fit_scales" in recipe.algorithms else ("gptq", "coordinate_descent")
    return with_algorithms(recipe, *names, fan_in_limit=_WIDE_FAN_IN)  # fit_scales rounds as gptq does


def _refit(recipe: Recipe) -> Recipe:
    return with_algorithms(recipe, "least_squares_refit", fan_in_limit=_WIDE_FAN_IN)


def _scales(recipe: Recipe) -> Recipe:
    return with_algorithms(recipe, "fit_scales", fan_in_limit=_WIDE_FAN_IN) if _is_coarse(recipe) else recipe


def _means(recipe: Recipe) -> Recipe:
    return with_algorithms(recipe, "activation_correction")


def _equalization(recipe: Recipe) -> Recipe:
    if recipe.scheme.granularity != "per_tensor":
        return recipe  # a scale per channel does the same, and better
    return with_algorithms(recipe, "cross_layer_equalization")


def _outliers(recipe: Recipe) -> Recipe:
    return with_algorithms(recipe, "outlier_splitting")


def _copies(recipe: Recipe) -> Recipe:
    if recipe.scheme.activations is not DType.INT8:
        return recipe
    return with_algorithms(recipe, "staggered_copies")


def _trained(recipe: Recipe) -> Recipe:
    return replace(recipe, finetune=True)


LADDER = (
    Rung("corrections", "zeroes dead channels, corrects biases", _corrections),
    Rung("simpler", "leaves out the refit of weights, which follows few samples too closely", _simpler),
    Rung("ranges: min_max", "leaves the rarest values of activations whole", _observer("min_max")),
    Rung("ranges: percentile", "cuts off the rarest values of activations", _observer("percentile")),
    Rung("ranges: mse", "ranges of activations with the least squared error", _observer("mse")),
    Rung("weight ranges: mse", "ranges of weights with the least squared error", _weight_ranges, False),
    Rung("refit", "fits weights to the float outputs before they are rounded", _refit),
    Rung("rounding", "rounds the weights of all layers together (gptq, coordinate descent)", _rounding),
    Rung("scales", "chooses scales of weights by the error of the outputs", _scales),
    Rung("means", "keeps means behind activation functions, too", _means),
    Rung("equalization", "makes channels of neighbouring layers alike", _equalization),
)
"""In the order in which they are tried. Each candidate is measured: a rung that harms is not kept."""

COSTLY = (
    Rung("outliers", "computes outlying channels several times", _outliers, cost=BYTES_AND_LATENCY),
    Rung("copies", "computes the first channels twice, half a step apart", _copies, cost=BYTES_AND_LATENCY),
)
"""Tried behind those, and before operators get more bits, where the goal is not reached."""

TRAINED = (Rung("fine-tuning", "trains the rounded network against the float one", _trained),)
"""Tried last of all, where the goal is not reached: it costs a device nothing, and minutes here."""
