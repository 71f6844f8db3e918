"""Which layers are too small for 4 bits to save anything: they keep 8."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import accumulate

from tersor.ir.graph import Graph
from tersor.ops import OPS, WEIGHT
from tersor.recipe import Recipe, Rule
from tersor.stages.plan.modes import weight_type


def with_small_layers(graph: Graph, recipe: Recipe) -> Recipe:
    """The recipe with its `small_layers_share` spelt out for a graph, as a rule that all others overrule.

    Layers are counted from the smallest on, as long as together they hold no more than that share of the weights that
    the recipe stores in 4 bits; those weights grow by no more than that share then. Layers of one size go together.
    """
    if recipe.small_layers_share <= 0:
        return recipe
    sizes = _sizes(graph, recipe)
    room = recipe.small_layers_share * sum(sizes.values())
    alike = sorted(Counter(sizes.values()).items())
    held = accumulate(size * count for size, count in alike)
    largest = max((size for (size, _), total in zip(alike, held, strict=True) if total <= room), default=0)
    small = tuple(name for name, size in sizes.items() if size <= largest)
    rules = (Rule((("weights", "int8"),), names=small),) if small else ()
    return replace(recipe, small_layers_share=0.0, rules=(*rules, *recipe.rules))


def _sizes(graph: Graph, recipe: Recipe) -> dict[str, int]:
    """How many weights each layer has whose weights are stored in 4 bits, by the operator's name."""
    found: dict[str, int] = {}
    for op in graph.ops:
        spec = OPS.get(op.kind)
        index = spec.operand_index(WEIGHT) if spec is not None else None
        weights = graph.operand(op, index) if index is not None else None
        if spec is None or weights is None or weights.data is None:
            continue
        if weight_type(spec, recipe.scheme_of(op.kind, op.name)).is_packed:
            found[op.name] = weights.data.size
    return found
