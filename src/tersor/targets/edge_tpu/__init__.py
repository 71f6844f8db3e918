"""Google Coral's Edge TPU, as its compiler 16.0 places operators.

The compiler is closed. What is known of it is Coral's table of operations, logs in public reports, and models before
and after it: each rule says which. It compiles one piece of a network: the first that runs without a break. Operators
that wait for one that does not map stay on the CPU even if they would map; with `--multiple-subgraphs` (the compiler's
`-a`) they are mapped, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tersor.errors import UnsupportedError
from tersor.ir.graph import Graph, Model, Op
from tersor.ir.placement import CPU, OpPlacement, Placement
from tersor.ir.sharing import Segment, Share
from tersor.recipe import Recipe
from tersor.recipe import Rule as RecipeRule
from tersor.targets._partition import pieces
from tersor.targets._placing import open_inputs, placed
from tersor.targets._rules import Rule, broken
from tersor.targets._target import Target
from tersor.targets.edge_tpu import every, layers, memory, shapes, statuses
from tersor.targets.edge_tpu.compiler import SUFFIX as SUFFIX
from tersor.targets.edge_tpu.compiler import compile as compile  # noqa: A004
from tersor.targets.edge_tpu.refusals import refusal, refused
from tersor.targets.edge_tpu.segments import cut
from tersor.targets.edge_tpu.sharing import shares

NAME = "edge_tpu"
DEVICE = "Edge TPU"
FLAVOUR = "int8"
WEIGHTS_MATTER = 0


def _fitted(recipe: Recipe) -> Recipe:
    """Rewritten to what the compiler takes; it is older than the kernel for dense layers with a scale per channel."""
    if recipe.target == NAME:
        return recipe
    dense = RecipeRule((("granularity", "per_tensor"),), operators=("FULLY_CONNECTED",))
    return replace(recipe, target=NAME, rules=(*recipe.rules, dense))


TARGET = Target(
    NAME,
    "runs 8-bit integers only",
    ("int8", "uint8"),
    {"int8": "none"},
    _fitted,
    also=("int8_float_io",),
)
OPTIONS = frozenset({"multiple_subgraphs"})
COMPILED = "edgetpu-custom-op"
"""The custom operator that holds what was compiled."""

REWRITES = (
    "form_reshape",
    "split_hard_swish",
    "split_gelu",
    "form_prelu",
    "split_abs",
    "split_activation",
    "form_slices",
    "split_mirror_pad",
    "form_transpose_conv",
    "merge_axes",
    "split_mean",
    "form_pointwise_convolution",
    "split_concatenation",
    "fill_dilation",
    "split_resize",
)
"""Passes that put what the compiler takes in place of what it does not, in the order in which they are tried."""

RULES: tuple[Rule, ...] = (*every.RULES, *layers.RULES, *shapes.RULES)


def place(model: Model, *, multiple_subgraphs: bool = False) -> Placement:
    """Where the operators of the main graph run.

    Args:
        model: quantized to 8 bits; a float model's operators all stay on the CPU.
        multiple_subgraphs: as with the compiler's option `-a`: every piece that maps is mapped, not only the first.
    """
    graph = model.graph
    if any(op.custom_code == COMPILED for op in graph.ops):
        return _compiled(graph)
    whole = refusal(model)
    if whole is not None:
        operators = tuple(placed(graph, place, CPU, statuses.NOT_COMPILED, whole) for place in range(len(graph.ops)))
        return Placement(NAME, DEVICE, operators, refusal=whole)
    found = [broken(RULES, op, graph) for op in graph.ops]
    cut = pieces(graph, [item is None for item in found])
    taken = [piece for piece in cut if piece.taken][: None if multiple_subgraphs else 1]
    mapped = {place for piece in taken for place in piece.members}
    blockers = _blockers(graph, found, mapped)
    operators = tuple(
        placed(graph, place, NAME, statuses.MAPPED)
        if place in mapped
        else _left(graph, place, found[place], blockers[place])
        for place in range(len(graph.ops))
    )
    estimate = memory.forecast([graph.ops[place] for place in sorted(mapped)], graph)
    return Placement(NAME, DEVICE, operators, parts=len(taken), resources=estimate, notes=_notes(model))


def obstacles(graph: Graph) -> list[str | None]:
    """For each operator why the device runs it nowhere, whatever stands before it; None for those that it can run."""
    return [refused(op, graph) or _obstacle(op, graph) for op in graph.ops]


def _obstacle(op: Op, graph: Graph) -> str | None:
    found = broken(RULES[::-1], op, graph)  # that there is no such operator says more than that its values are float
    if found is None:
        return None
    rule, seen = found
    return seen if op.label in seen else f'{seen} breaks the rule "{rule.statement.partition(". ")[0]}"'


def share(models: Sequence[Model], placements: Sequence[Placement]) -> tuple[Share, ...]:
    """What each of several models gets of the memory, compiled together in this order: see `sharing`."""
    _refuse_compiled(models)
    mapped = [[item.index for item in placement.mapped] for placement in placements]
    return shares([model.graph for model in models], mapped)


def segments(model: Model, count: int) -> tuple[Segment, ...]:
    """Where to cut a model for so many devices in a row: see `segments`.

    Raises RecipeError if it cannot be cut in so many, UnsupportedError for a model that the compiler does not take.
    """
    _refuse_compiled([model])
    whole = refusal(model)
    if whole is not None:
        raise UnsupportedError(f"{model.source or 'the model'}: the compiler refuses it: {whole}")
    takes = [broken(RULES, op, model.graph) is None for op in model.graph.ops]

    def mapped(part: Graph) -> list[int]:
        return [item.index for item in place(replace(model, graphs=(part,))).mapped]

    return cut(model.graph, takes, count, mapped)


def _refuse_compiled(models: Sequence[Model]) -> None:
    for model in models:
        if any(op.custom_code == COMPILED for op in model.graph.ops):
            where = model.source or "the model"
            raise UnsupportedError(f"{where}: already compiled, by itself; give the model that went into the compiler")


def _left(graph: Graph, place: int, found: tuple[Rule, str] | None, blocker: int | None) -> OpPlacement:
    if found is not None:
        rule, seen = found
        remedy = rule.remedy or every.advice(graph.ops[place], graph)
        return placed(graph, place, CPU, rule.status, seen, rule.statement, remedy)
    option = "--multiple-subgraphs (the compiler's -a) maps it in a piece of its own"
    if blocker is None:
        return placed(graph, place, CPU, statuses.MORE_THAN_ONE_SUBGRAPH, "not in the first piece", remedy=option)
    cause = f"operator {blocker} ({graph.ops[blocker].label})"
    remedy = f"change {cause}; or {option}"
    return placed(graph, place, CPU, statuses.MORE_THAN_ONE_SUBGRAPH, f"comes after {cause}", remedy=remedy)


def _blockers(graph: Graph, found: list[tuple[Rule, str] | None], mapped: set[int]) -> list[int | None]:
    """For each operator the first one behind the cut, on a way to it, that breaks a rule.

    Behind the cut is what reads a mapped operator's result, or what such an operator computed.
    """
    behind: set[str] = set()
    first: dict[str, int] = {}
    blockers: list[int | None] = []
    for place, op in enumerate(graph.ops):
        before = min((first[name] for name in op.present_inputs if name in first), default=None)
        blockers.append(before)
        is_behind = place in mapped or any(name in behind for name in op.present_inputs)
        if is_behind:
            behind.update(op.outputs)
        mine = place if before is None and is_behind and found[place] is not None else before
        if mine is not None:
            first.update(dict.fromkeys(op.outputs, mine))
    return blockers


def _compiled(graph: Graph) -> Placement:
    """A file that the compiler wrote: what it mapped is inside the custom operator."""
    reason = "the compiler left it on the CPU; its log says why"
    operators = tuple(
        placed(graph, place, NAME, statuses.MAPPED)
        if op.custom_code == COMPILED
        else placed(graph, place, CPU, statuses.LEFT, reason, remedy="place the file from before the compiler")
        for place, op in enumerate(graph.ops)
    )
    operators = tuple(replace(item, macs=0) for item in operators)  # of what was compiled nobody knows them
    count = sum(op.custom_code == COMPILED for op in graph.ops)
    note = f"this file is already compiled for the Edge TPU ({count} piece{'s' if count > 1 else ''})"
    return Placement(NAME, DEVICE, operators, parts=count, notes=(note,))


def _notes(model: Model) -> tuple[str, ...]:
    """What a forecast of the main graph leaves open."""
    notes = []
    if len(model.graphs) > 1:
        notes.append(f"the model has {len(model.graphs)} graphs; only the main one can run on the Edge TPU")
    scaled = [place for place, op in enumerate(model.graph.ops) if _per_channel_dense(op, model.graph)]
    if scaled:
        notes.append(
            f"FULLY_CONNECTED (operator {scaled[0]}) has a scale per channel, for which there was no kernel when the "
            "compiler was made; what it does with them is not known: one scale is safe (tersor quantize --per-tensor)"
        )
    notes.extend(open_inputs(model.graph))
    return tuple(notes)


def _per_channel_dense(op: Op, graph: Graph) -> bool:
    weights = graph.operand(op, 1)
    return (
        op.kind == "FULLY_CONNECTED"
        and weights is not None
        and weights.quant is not None
        and len(weights.quant.scales) > 1
    )
