"""What training for a recipe left known, as it travels with the float model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tersor.errors import FormatError, RecipeError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.ir.quant import PerChannel, PerTensor, QuantParams
from tersor.observers._extremes import Extremes, ExtremesAlone, Pair
from tersor.recipe import Recipe, parse_recipe, to_toml
from tersor.stages.statistics import Statistics

_NAME = "TERSOR_TRAINING"
"""Of the metadata that hold it."""


@dataclass
class _Left(ExtremesAlone):
    """A range as training left it."""

    def range(self, dtype: DType) -> Pair:  # noqa: ARG002 (of the contract)
        """See the contract of observers."""
        return self.extremes.bounds

    def method(self, dtype: DType) -> str:  # noqa: ARG002 (likewise)
        """See the contract of observers."""
        return "trained"


def statistics_of(ranges: Mapping[str, Pair]) -> Statistics:
    """Ranges by an activation's name, as a plan is made of them."""
    return Statistics({name: _Left(Extremes(*bounds, samples=1)) for name, bounds in ranges.items()}, 1)


@dataclass(frozen=True)
class Training:
    """What a network was trained for.

    Attributes:
        recipe: what its file is to be.
        ranges: of its activations, by name.
        weights: scales of layers' weights that were learned, by the operator's name.
    """

    recipe: Recipe
    ranges: Mapping[str, Pair]
    weights: Mapping[str, QuantParams] = field(default_factory=dict)

    def fitted(self, recipe: Recipe) -> Recipe:
        """A recipe as the network's file is made by it: what was trained needs no corrections."""
        if not recipe.needs_calibration:
            return recipe
        return replace(recipe, weight_observer=self.recipe.weight_observer, algorithms=())

    @property
    def statistics(self) -> Statistics:
        """The ranges, as a plan is made of them."""
        return statistics_of(self.ranges)


def with_training(model: Model, training: Training) -> Model:
    """A copy that states what it was trained for."""
    weights = {name: [own.dtype.value, own.axis, list(own.scales)] for name, own in training.weights.items()}
    stated = {"recipe": to_toml(training.recipe), "name": training.recipe.name, "ranges": dict(training.ranges)}
    stated["weights"] = weights
    kept = without_training(model).metadata
    return replace(model, metadata=(*kept, (_NAME, json.dumps(stated).encode())))


def without_training(model: Model) -> Model:
    """A copy that does not, for what is made of it."""
    kept = tuple(item for item in model.metadata if item[0] != _NAME)
    return model if len(kept) == len(model.metadata) else replace(model, metadata=kept)


def training_of(model: Model) -> Training | None:
    """What a model states that it was trained for. Raises FormatError for a statement that is none."""
    held = dict(model.metadata).get(_NAME)
    if held is None:
        return None
    try:
        stated = json.loads(held)
        ranges = {str(name): (float(low), float(high)) for name, (low, high) in stated["ranges"].items()}
        recipe = parse_recipe(str(stated["recipe"]), str(stated["name"]))
        weights = {str(name): _numbers(*own) for name, own in stated["weights"].items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, RecipeError) as error:
        raise FormatError(f"{model.source or 'the model'}: what it was trained for cannot be read ({error})") from error
    if not all(math.isfinite(low) and math.isfinite(high) and low <= high for low, high in ranges.values()):
        raise FormatError(f"{model.source or 'the model'}: a range that training left is not finite: train anew")
    if not all(math.isfinite(scale) and scale > 0 for own in weights.values() for scale in own.scales):
        raise FormatError(f"{model.source or 'the model'}: a scale that training left is not positive: train anew")
    return Training(recipe, ranges, weights)


def _numbers(dtype: str, axis: int | None, scales: list[float]) -> QuantParams:
    granularity = PerTensor() if axis is None else PerChannel(int(axis))
    return QuantParams(tuple(map(float, scales)), (0,) * len(scales), DType(dtype), granularity)
