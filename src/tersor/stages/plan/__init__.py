"""Recipe + statistics -> `Plan`: what every tensor becomes, and why.

Six steps, a module each: which operators compute in integers (`modes`), which values share a scale (`groups`), which
kernels cannot do with these scales (`limits`; then the first two again), what the constants become (`constants`), what
layers with state need besides (`recurrent`), and what the model's door looks like (`interface`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tersor.errors import PlanError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.plan import INTEGER, OpPlan, Plan
from tersor.ir.quant import QuantParams
from tersor.ops import OPS
from tersor.recipe import Recipe
from tersor.stages.plan.activations import Activations
from tersor.stages.plan.constants import plan_constants
from tersor.stages.plan.groups import plan_activations
from tersor.stages.plan.interface import plan_interface
from tersor.stages.plan.limits import beyond_kernels
from tersor.stages.plan.modes import long_sums, plan_modes, without
from tersor.stages.plan.recurrent import plan_recurrent
from tersor.stages.plan.refusals import refuse_finished, refuse_float, refuse_nothing
from tersor.stages.plan.remarks import float_warnings, gain_warnings, rule_warnings, sum_warnings
from tersor.stages.plan.small_layers import with_small_layers
from tersor.stages.statistics import Statistics

__all__ = ["plan"]


def plan(
    model: Model,
    recipe: Recipe,
    statistics: Statistics | None = None,
    weights: Mapping[str, QuantParams] | None = None,
) -> Plan:
    """Decide what every tensor of the main graph becomes.

    Args:
        model: a float model.
        recipe: what is wanted.
        statistics: ranges of the activations, from `calibrate`; needed if the recipe quantizes activations.
        weights: scales of layers' weights that are given and not to be chosen, by the name of the operator.

    Raises:
        UnsupportedError: the model is already quantized or compiled for a device.
        PlanError: the recipe forbids float and operators have no integer kernel (all are named, with the reason), or
            statistics are missing.
    """
    graph = model.graph
    refuse_finished(model)
    if recipe.needs_calibration and statistics is None:
        raise PlanError(f"{recipe.name} quantizes activations: it needs representative data (--data)")
    statistics = statistics or Statistics({}, 0)
    recipe = with_small_layers(graph, recipe)
    modes, activations = _settled(graph, recipe, statistics)
    refuse_float(recipe, modes)
    refuse_nothing(recipe, modes)
    constants = plan_constants(graph, recipe, modes, activations, weights or {})
    recurrent = plan_recurrent(graph, modes, activations, statistics)
    interface, warnings = plan_interface(graph, recipe, activations.tensors, statistics)
    return Plan(
        recipe=recipe.name,
        tensors=activations.tensors,
        operands=activations.operands | constants | recurrent.operands,
        ops=modes | _upscaling(graph, modes, activations),
        interface=interface,
        intermediates=recurrent.intermediates,
        groups=activations.groups,
        warnings=(
            *activations.warnings,
            *recurrent.warnings,
            *warnings,
            *float_warnings(graph, modes),
            *sum_warnings(long_sums(graph, modes, statistics)),
            *rule_warnings(graph, recipe),
            *gain_warnings(recipe, constants),
        ),
    )


def _settled(graph: Graph, recipe: Recipe, statistics: Statistics) -> tuple[dict[str, OpPlan], Activations]:
    """Modes and scales that fit each other: an operator left in float may change the scales of others."""
    modes = plan_modes(graph, recipe, statistics)
    while True:
        activations = plan_activations(graph, recipe, modes, statistics)
        beyond = beyond_kernels(graph, modes, activations, statistics)
        if not beyond:
            return modes, activations
        modes = without(graph, recipe, statistics, modes, beyond)


def _upscaling(graph: Graph, modes: dict[str, OpPlan], activations: Activations) -> dict[str, OpPlan]:
    """Operators that need a later version because their products are scaled up to the result and not down."""
    found: dict[str, OpPlan] = {}
    for op in graph.ops:
        version = OPS[op.kind].int8_upscaling if modes[op.name].compute == INTEGER else None
        result = activations.tensors[op.outputs[0]] if version is not None else None
        if result is not None and result.params is not None and result.dtype is DType.INT8:
            product = math.prod(activations.read_by(op, index).scale for index in range(len(op.inputs)))
            if product >= result.params.scale:
                found[op.name] = replace(modes[op.name], version=version)
    return found
