"""Float model -> its quantized form with ranges that are made up: operators, types and shapes, for forecasts."""

from __future__ import annotations

from dataclasses import replace

from tersor.ir.dtypes import DType
from tersor.ir.graph import Model
from tersor.observers._extremes import Extremes
from tersor.observers.min_max import Observer
from tersor.recipe import load_recipe
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from tersor.stages.statistics import Statistics


def rough_quantize(prepared: Model, flavour: str) -> Model:
    """The model as quantization would leave it; no value of it means anything.

    Operators without an integer kernel stay in float. Raises what `plan` does.

    Args:
        prepared: a float model, simplified.
        flavour: the preset.
    """
    graph = prepared.graph
    names = [*graph.inputs, *(name for op in graph.ops for name in op.outputs)]
    floats = [name for name in names if graph.tensors[name].dtype is DType.FLOAT32]
    made_up = Statistics({name: Observer(Extremes(-1.0, 1.0, samples=1)) for name in floats}, 1)
    recipe = load_recipe(flavour)
    scheme = replace(recipe.scheme, granularity="per_tensor")  # quicker, and no rule asks for it
    recipe = replace(recipe, scheme=scheme, float_fallback=True, algorithms=())
    return quantize(prepared, plan(prepared, recipe, made_up))
