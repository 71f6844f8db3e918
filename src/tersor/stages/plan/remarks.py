"""What a user should know of a plan that can be carried out."""

from __future__ import annotations

from collections.abc import Mapping

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph
from tersor.ir.plan import FLOAT, OpPlan, TensorPlan
from tersor.recipe import Recipe
from tersor.stages.plan.refusals import alike


def float_warnings(graph: Graph, modes: dict[str, OpPlan]) -> list[str]:
    """One sentence about the operators left behind, by kind and reason."""
    left = {name: op for name, op in modes.items() if op.compute == FLOAT and not op.wanted}
    if not left:
        return []
    parts = [
        f"{len(names)} {kind}, {names[0]} the first ({why})" if len(names) > 1 else f"{kind} {names[0]} ({why})"
        for (kind, why), names in alike(left).items()
    ]
    return [f"{len(left)} of {len(graph.ops)} operators stay in float: {'; '.join(parts)}"]


def sum_warnings(sums: Mapping[str, str]) -> list[str]:
    """A sentence for each softmax that is coarse in integers, and has to be; see `modes.long_sums`."""
    return [
        f"SOFTMAX {name!r} is coarse: {why}; the order of its results stays. "
        "Let the model end at its logits, or --allow-float"
        for name, why in sums.items()
    ]


def rule_warnings(graph: Graph, recipe: Recipe) -> list[str]:
    """A sentence for each rule that speaks of no operator: most likely a name is misspelt."""
    named = [rule for rule in recipe.rules if not recipe.target or rule.names or rule.pattern]  # a target's: of kinds
    idle = [rule for rule in named if not any(rule.matches(op.kind, op.name) for op in graph.ops)]
    return [
        f"no operator matches {', '.join((*rule.operators, *rule.names, rule.pattern)).strip(', ')}" for rule in idle
    ]


def gain_warnings(recipe: Recipe, constants: Mapping[tuple[str, int], TensorPlan]) -> list[str]:
    """A sentence if a flavour that makes weights smaller finds none: the file is then the float model."""
    if constants or recipe.needs_calibration or recipe.scheme.weights is DType.FLOAT32:
        return []
    least = recipe.minimum_elements
    return [f"NOTHING is stored in fewer bits: no float weights that it applies to, of {least} values or more"]
