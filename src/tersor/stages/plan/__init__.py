"""Recipe + statistics -> `Plan`: what every tensor becomes, and why.

Four steps, a module each: which operators compute in integers (`modes`), which values share a scale (`groups`), what the
constants become (`constants`), and what the model's door looks like (`interface`).
"""

from __future__ import annotations

from tersor.errors import PlanError, UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.plan import FLOAT, OpPlan, Plan
from tersor.recipe import Recipe
from tersor.stages.calibrate import Statistics
from tersor.stages.plan.constants import plan_constants
from tersor.stages.plan.groups import plan_activations
from tersor.stages.plan.interface import plan_interface
from tersor.stages.plan.modes import plan_modes

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
    activations = plan_activations(graph, recipe, modes, statistics)
    constants = plan_constants(graph, recipe, modes, activations)
    interface, warnings = plan_interface(graph, recipe, activations.tensors, statistics)
    return Plan(
        recipe=recipe.name,
        tensors=activations.tensors,
        operands=activations.operands | constants,
        ops=modes,
        interface=interface,
        warnings=(*activations.warnings, *warnings, *_float_warnings(graph, modes)),
    )


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
    blamed = [f"  {op.kind} {name!r}: {op.why}" for name, op in modes.items() if op.compute == FLOAT]
    if blamed:
        raise PlanError(
            f"{recipe.name} is integer only, and {len(blamed)} operator{'s' if len(blamed) > 1 else ''} cannot be:\n"
            + "\n".join(blamed)
            + "\nAllow float for them with --allow-float, or change the model."
        )


def _float_warnings(graph: Graph, modes: dict[str, OpPlan]) -> list[str]:
    left = [(name, op) for name, op in modes.items() if op.compute == FLOAT and not op.wanted]
    if not left:
        return []
    names = ", ".join(f"{op.kind} {name!r} ({op.why})" for name, op in left[:5])
    more = f" and {len(left) - 5} more" if len(left) > 5 else ""
    return [f"{len(left)} of {len(graph.ops)} operators stay in float: {names}{more}"]
