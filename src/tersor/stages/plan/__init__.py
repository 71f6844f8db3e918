"""Recipe + statistics -> `Plan`: what every tensor becomes, and why.

Five steps, a module each: which operators compute in integers (`modes`), which values share a scale (`groups`), what
the constants become (`constants`), what layers with state need besides (`recurrent`), and what the model's door looks
like (`interface`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tersor.errors import PlanError, UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.plan import FLOAT, INTEGER, OpPlan, Plan, TensorPlan
from tersor.ir.text import short
from tersor.ops import OPS
from tersor.recipe import Recipe
from tersor.stages.calibrate import Statistics
from tersor.stages.plan.activations import Activations
from tersor.stages.plan.constants import plan_constants
from tersor.stages.plan.groups import plan_activations
from tersor.stages.plan.interface import plan_interface
from tersor.stages.plan.modes import plan_modes
from tersor.stages.plan.recurrent import plan_recurrent

__all__ = ["plan"]

_COMPILED = {"edgetpu-custom-op": "the Edge TPU", "ethos-u": "an Ethos-U"}


def plan(model: Model, recipe: Recipe, statistics: Statistics | None = None) -> Plan:
    """Decide what every tensor of the main graph becomes.

    Args:
        model: a float model.
        recipe: what is wanted.
        statistics: ranges of the activations, from `calibrate`; needed if the recipe quantizes activations.

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
    modes = plan_modes(graph, recipe, statistics)
    _refuse_float(recipe, modes)
    _refuse_nothing(recipe, modes)
    activations = plan_activations(graph, recipe, modes, statistics)
    constants = plan_constants(graph, recipe, modes, activations)
    recurrent = plan_recurrent(graph, modes, activations, statistics)
    interface, warnings = plan_interface(graph, recipe, activations.tensors, statistics)
    return Plan(
        recipe=recipe.name,
        tensors=activations.tensors,
        operands=activations.operands | constants | recurrent.operands,
        ops=modes | _upscaling(graph, modes, activations),
        interface=interface,
        intermediates=recurrent.intermediates,
        warnings=(
            *activations.warnings,
            *recurrent.warnings,
            *warnings,
            *_float_warnings(graph, modes),
            *_rule_warnings(graph, recipe),
            *_gain_warnings(recipe, constants),
        ),
    )


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


def refuse_finished(model: Model) -> None:
    """Raise UnsupportedError for a model that a compiler or a quantizer has already been at."""
    where = model.source or "the model"
    for op in model.graph.ops:
        device = _COMPILED.get(op.custom_code or "")
        if device:
            raise UnsupportedError(
                f"{where}: already compiled for {device} ({op.custom_code}); quantize the float model it was made from"
            )
    quantized = [t.name for t in model.graph.tensors.values() if t.quant is not None and t.dtype is not DType.FLOAT32]
    if quantized:
        raise UnsupportedError(
            f"{where}: already quantized ({len(quantized)} tensors, {quantized[0]!r} the first); "
            "quantize the float model it was made from"
        )


def _refuse_float(recipe: Recipe, modes: dict[str, OpPlan]) -> None:
    if recipe.float_fallback:
        return
    blamed = {name: op for name, op in modes.items() if op.compute == FLOAT}
    if blamed:
        lines = [f"  {kind}: {why}: {', '.join(names)}" for (kind, why), names in _alike(blamed).items()]
        raise PlanError(
            f"{recipe.name} is integer only, and {len(blamed)} operator{'s' if len(blamed) > 1 else ''} cannot be:\n"
            + "\n".join(lines)
            + "\nAllow float for them with --allow-float, or change the model."
        )


def _refuse_nothing(recipe: Recipe, modes: dict[str, OpPlan]) -> None:
    """A float model under the name of an integer flavour would be a lie."""
    left = {name: op for name, op in modes.items() if op.compute == FLOAT}
    if recipe.needs_calibration and left and not any(op.compute == INTEGER for op in modes.values()):
        lines = [f"  {len(names)} {kind}: {why}" for (kind, why), names in _alike(left).items()]
        raise PlanError(f"nothing of this model can be {recipe.name}:\n" + "\n".join(lines))


def _gain_warnings(recipe: Recipe, constants: Mapping[tuple[str, int], TensorPlan]) -> list[str]:
    """A sentence if a flavour that makes weights smaller finds none: the file is then the float model."""
    if constants or recipe.needs_calibration or recipe.scheme.weights is DType.FLOAT32:
        return []
    least = recipe.minimum_elements
    return [f"NOTHING is stored in fewer bits: no float weights that it applies to, of {least} values or more"]


def _alike(ops: dict[str, OpPlan]) -> dict[tuple[str, str], list[str]]:
    """Names of operators in short, by kind and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, op in ops.items():
        found.setdefault((op.kind, op.why), []).append(repr(short(name)))
    return found


def _rule_warnings(graph: Graph, recipe: Recipe) -> list[str]:
    """A sentence for each rule that speaks of no operator: most likely a name is misspelt."""
    idle = [rule for rule in recipe.rules if not any(rule.matches(op.kind, op.name) for op in graph.ops)]
    return [
        f"no operator matches {', '.join((*rule.operators, *rule.names, rule.pattern)).strip(', ')}" for rule in idle
    ]


def _float_warnings(graph: Graph, modes: dict[str, OpPlan]) -> list[str]:
    """One sentence about the operators left behind, by kind and reason."""
    left = {name: op for name, op in modes.items() if op.compute == FLOAT and not op.wanted}
    if not left:
        return []
    parts = [
        f"{len(names)} {kind}, {names[0]} the first ({why})" if len(names) > 1 else f"{kind} {names[0]} ({why})"
        for (kind, why), names in _alike(left).items()
    ]
    return [f"{len(left)} of {len(graph.ops)} operators stay in float: {'; '.join(parts)}"]
