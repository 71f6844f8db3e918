"""What the model's door looks like: the types of its inputs and outputs."""

from __future__ import annotations

from dataclasses import replace

from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph
from tersor.ir.plan import TensorPlan
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import asymmetric_params, symmetric_params
from tersor.ops import OPS
from tersor.recipe import Recipe
from tersor.stages.plan.margins import with_margin
from tersor.stages.statistics import Statistics

_INSIDE = {DType.INT8: DType.INT8, DType.UINT8: DType.INT8, DType.INT16: DType.INT16}
"""The activation type that a door type goes with."""


def plan_interface(
    graph: Graph, recipe: Recipe, tensors: dict[str, TensorPlan], statistics: Statistics
) -> tuple[dict[str, TensorPlan], list[str]]:
    """Numbers of the graph's float inputs and outputs as the recipe wants them, and warnings."""
    doors: dict[str, TensorPlan] = {}
    warnings: list[str] = []
    wanted = recipe.interface
    for name in dict.fromkeys((*graph.inputs, *graph.outputs)):
        if graph.tensors[name].dtype is not DType.FLOAT32:
            continue
        if wanted is DType.FLOAT32:
            doors[name] = TensorPlan(DType.FLOAT32, None, f"float32 by recipe {recipe.name}")
            continue
        if recipe.split and tensors.get(name) is None:
            doors[name] = TensorPlan(DType.FLOAT32, None, "float32: the CPU computes with it, in float")
            continue
        params = _inner_params(graph, name, recipe, tensors, statistics)
        if params is None:
            warnings.append(f"{name!r} stays float32 at the model's door: calibration saw no values of it")
            continue
        doors[name] = TensorPlan(wanted, _at_door(params, wanted), f"{wanted} by recipe {recipe.name}")
    return doors, warnings


def _inner_params(
    graph: Graph, name: str, recipe: Recipe, tensors: dict[str, TensorPlan], statistics: Statistics
) -> QuantParams | None:
    inside = _INSIDE[recipe.interface]
    plan = tensors.get(name)
    if plan is not None and plan.params is not None:
        if plan.dtype is inside:
            return plan.params
        if name not in statistics.observers:
            raise RecipeError(f"an {recipe.interface} door does not go with {plan.dtype} activations ({name!r})")
    if name not in statistics.observers:
        return None
    producer = graph.producers.get(name)
    fixed = OPS[producer.kind].fixed.get(inside) if producer is not None and producer.kind in OPS else None
    if fixed is not None:
        return QuantParams((fixed[0],), (fixed[1],), inside)
    choose = symmetric_params if inside is DType.INT16 else asymmetric_params
    seen, _ = with_margin(graph, statistics, [name], statistics.range(name, inside), inside)
    return choose(*seen, inside)


def _at_door(params: QuantParams, wanted: DType) -> QuantParams:
    if wanted is not DType.UINT8:
        return params
    return replace(params, dtype=DType.UINT8, zero_points=tuple(zero_point + 128 for zero_point in params.zero_points))
