"""Float model + target -> the same network of operators that the target takes: what does not map is rewritten.

A target names the passes that may help it (`REWRITES`). Each is applied to the operators that break one of the target's
rules, and kept only if fewer operators break one then. What is computed stays the same.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from types import ModuleType

from tersor import registry
from tersor.ir.check import check_graph
from tersor.ir.graph import Graph, Model, Op
from tersor.ir.placement import OpPlacement, Placement
from tersor.ir.work import macs
from tersor.passes import deduplicate_constants, merge_reshapes, remove_identity, remove_unused
from tersor.stages.best_cut import best_cut
from tersor.stages.fitted import Fitted, Rewrite
from tersor.stages.optimize import optimize
from tersor.stages.rough_quantize import rough_quantize
from tersor.stages.thin import thinned

_CLEANING = (merge_reshapes.apply, remove_identity.apply, remove_unused.apply)
"""Run behind each rewrite, which may leave reshapes that undo each other."""

_ROUNDS = 3
"""How often the passes are gone through: what one leaves another may take further."""


def fit(model: Model, target: str, *, is_split: bool = False) -> Fitted:
    """Simplify a float model, and rewrite what a target's accelerator does not take.

    Args:
        model: a float model.
        target: a plugin of the rib `targets`; nothing is rewritten for one without `REWRITES`.
        is_split: whether the quantized network is cut in files: then the accelerator also runs what comes after an
            operator that it does not take, and that is rewritten, too.

    Raises RecipeError for an unknown target, ModelError, and PlanError for a model that cannot be planned.
    """
    given = optimize(model)
    if not _passes(target):
        return Fitted(target, (given,), (), None, None)
    before, quantized = _forecast(registry.plugin("targets", target), given)
    return _fitted(given, target, before, quantized, is_split=is_split)[0]


def _fitted(
    given: Model, target: str, before: Placement, quantized: Graph, *, is_split: bool
) -> tuple[Fitted, Graph, bool]:
    """What was done, the quantized form, and whether something was left alone since rewriting it would not help.

    Args:
        given: a float model, simplified.
        target: as of `fit`.
        before: where its operators run without.
        quantized: its quantized form.
        is_split: as of `fit`.
    """
    module, passes = registry.plugin("targets", target), _passes(target)
    useless: set[str] = set()
    while True:
        models, rewrites, after, made = _gone_through(module, passes, given, (before, quantized), useless)
        left = _left_by_cut(module, made) if is_split else {item.name for item in after.left}
        idle = {name for item in rewrites for name in item.operators if name in left}
        if not idle:
            if rewrites:
                models[-1] = optimize(models[-1], [deduplicate_constants.apply])
            return Fitted(target, tuple(models), tuple(rewrites), before, after), made, bool(useless)
        useless |= idle


def _gone_through(
    module: ModuleType,
    passes: Mapping[str, ModuleType],
    given: Model,
    before: tuple[Placement, Graph],
    useless: Container[str],
) -> tuple[list[Model], list[Rewrite], Placement, Graph]:
    """The model after each pass that helps, without touching the operators named as useless, and where it runs then.

    Last comes the quantized form of the last model.
    """
    placement, quantized = before
    models, rewrites = [given], list[Rewrite]()
    for _ in range(_ROUNDS):
        count = len(rewrites)
        for name, own in passes.items():
            for alike in dict.fromkeys((item.rule, item.op) for item in _breaking(placement)):
                breaking = _breaking(placement)
                chosen = [item for item in breaking if (item.rule, item.op) == alike and item.name not in useless]
                found = _rewritten(own, models[-1], chosen)
                if found is None:
                    continue
                then, made = _forecast(module, found[0])
                if len(_breaking(then)) < len(breaking):
                    models.append(found[0])
                    rewrites.append(replace(found[1], name=name))
                    placement, quantized = then, made
        if len(rewrites) == count:
            break
    return models, rewrites, placement, quantized


def _left_by_cut(module: ModuleType, graph: Graph) -> set[str]:
    """The operators that the CPU runs once the quantized network is cut in files."""
    cut = best_cut(graph, [reason is None for reason in module.obstacles(graph)])
    taken = set() if cut is None else {graph.ops[place].name for place in cut.taken}
    return {op.name for op in graph.ops} - taken


def promise(given: Model, target: str, before: Placement, quantized: Graph) -> tuple[str, ...]:
    """Sentences on what would map after rewriting, and after splitting; none where nothing is won.

    Args:
        given: a float model, simplified; outlines suffice.
        target: as of `fit`.
        before: where its operators run without.
        quantized: its quantized form.

    Raises what `fit` does.
    """
    fitted, quantized, leaves_some = _fitted(given, target, before, quantized, is_split=False)
    if fitted.after is None:
        return ()
    module = registry.plugin("targets", target)
    command, rest = f"tersor quantize --target {target} --split", "on the CPU and in float"
    split = promise_of_split(quantized, module, command, 0, rest, is_least=leaves_some)
    if not fitted.rewrites:
        return split
    done = ", ".join(map(str, fitted.rewrites))
    share = f"{len(fitted.after.mapped)} of {len(fitted.after.operators)}"
    return (
        f"tersor quantize --target {target} rewrites what does not map ({done}): {share} operators run there then",
        *split,
    )


def promise_of_split(
    graph: Graph, module: ModuleType, command: str, least: int, rest: str, *, is_least: bool = False
) -> tuple[str, ...]:
    """A sentence on what runs on the accelerator once a network is cut in files, if that multiplies enough.

    Args:
        graph: quantized.
        module: the target; nothing is said of one that networks are not split for.
        command: what cuts it.
        least: multiply-accumulates from which that is worth a word.
        rest: where the other operators run then.
        is_least: whether the command rewrites more than was done to the network, so that more may run there.
    """
    if not hasattr(module, "obstacles"):
        return ()
    cut = best_cut(graph, [reason is None for reason in module.obstacles(graph)])
    work = [macs(graph, op) for op in graph.ops]
    on_device = 0 if cut is None else sum(work[place] for place in cut.taken)
    if cut is None or cut.is_whole or on_device < least:
        return ()
    share = f" and {100 * on_device / sum(work):.1f} % of MACs" if any(work) else ""
    count = f"at least {len(cut.taken)}" if is_least else str(len(cut.taken))
    return (f"with {command}, {count} of {len(work)} operators{share} run on the {module.DEVICE}, the rest {rest}",)


def _passes(target: str) -> dict[str, ModuleType]:
    names: Sequence[str] = getattr(registry.plugin("targets", target), "REWRITES", ())
    return {name: registry.plugin("passes", name) for name in names}


def _forecast(module: ModuleType, model: Model) -> tuple[Placement, Graph]:
    """Where operators would run as integers, and these."""
    quantized = rough_quantize(thinned(model), module.FLAVOUR)
    return module.place(quantized), quantized.graph


def _breaking(placement: Placement) -> list[OpPlacement]:
    """The operators that break a rule themselves."""
    return [item for item in placement.left if item.rule is not None]


def _rewritten(own: ModuleType, model: Model, breaking: Sequence[OpPlacement]) -> tuple[Model, Rewrite] | None:
    """The model with a pass applied to some operators, and what was done; None if it refuses all of them."""
    graph, names = model.graph, {item.name for item in breaking}
    chosen = [op for op in graph.ops if op.name in names and own.refusal(graph, op) is None]
    if not chosen:
        return None
    changed: Graph = own.apply(graph, {op.name for op in chosen})
    check_graph(changed)
    first = next(item for item in breaking if item.name == chosen[0].name)
    operators = tuple(op.name for op in chosen)
    made = Rewrite("", first.op, operators, _parts(changed, chosen[0]), first.rule or "", first.reason or "")
    return optimize(replace(model, graphs=(changed, *model.graphs[1:])), _CLEANING), made


def _parts(graph: Graph, op: Op) -> tuple[str, ...]:
    """The kinds of the operators that took an operator's place: all are called after its results."""
    return tuple(
        item.kind
        for item in graph.ops
        if any(item.name == name or item.name.startswith(f"{name}/") for name in (op.name, *op.outputs))
    )
