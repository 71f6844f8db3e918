"""Float model + target -> the same network of operators that the target takes: what does not map is rewritten.

A target names the passes that may help it (`REWRITES`). Each is applied to the operators that break one of the target's
rules, and kept only if fewer operators break one then. What is computed stays the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import ModuleType

from tersor import registry
from tersor.ir.check import check_graph
from tersor.ir.graph import Graph, Model, Op
from tersor.ir.placement import OpPlacement, Placement
from tersor.passes import deduplicate_constants, merge_reshapes, remove_identity, remove_unused
from tersor.stages.evaluate import Change
from tersor.stages.optimize import optimize
from tersor.stages.rough_quantize import rough_quantize

_CLEANING = (merge_reshapes.apply, remove_identity.apply, remove_unused.apply)
"""Run behind each rewrite, which may leave reshapes that undo each other."""

_ROUNDS = 3
"""How often the passes are gone through: what one leaves another may take further."""


@dataclass(frozen=True)
class Rewrite:
    """A pass that was kept.

    Attributes:
        name: of the pass.
        kind: the operators that it replaced.
        operators: their names.
        into: the operators that take the place of the first of them.
        rule: the target's rule that they break.
        seen: what was seen of the first.
    """

    name: str
    kind: str
    operators: tuple[str, ...]
    into: tuple[str, ...]
    rule: str
    seen: str

    def __str__(self) -> str:
        runs = [(kind, len(list(alike))) for kind, alike in groupby(self.into)]
        into = ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in runs)
        return f"{len(self.operators)} {self.kind} as {into}"

    @property
    def reason(self) -> str:
        """Why, in words."""
        return self.seen if self.kind in self.seen else f'{self.seen} breaks the rule "{self.rule.removesuffix(".")}"'


@dataclass(frozen=True, eq=False)
class Fitted:
    """A float model as a target can have it.

    Attributes:
        target: what it is made for.
        models: the simplified float model, and what it is after each rewrite.
        rewrites: what was done, in order.
        before: where operators would run without, as integers.
        after: where they would run.
    """

    target: str
    models: tuple[Model, ...]
    rewrites: tuple[Rewrite, ...]
    before: Placement | None
    after: Placement | None

    @property
    def model(self) -> Model:
        """The float model to quantize; it answers as the one that was given."""
        return self.models[-1]


@dataclass(frozen=True)
class Cost:
    """What a file loses by a rewrite.

    Attributes:
        rewrite: the pass.
        samples: how many it was measured on; 0 where one of the two files could not be made.
        sqnr_db: of the files without it and with it.
        change: of the SQNR in dB, with a paired interval of 95 %; below 0 where something is lost.
        agreement: with the float model, without it and with it; None without classes.
        left: how many operators stay in float without it, for which there is no integer kernel.
    """

    rewrite: str
    samples: int = 0
    sqnr_db: tuple[float, float] = (float("nan"), float("nan"))
    change: Change | None = None
    agreement: tuple[float, float] | None = None
    left: int = 0

    def __str__(self) -> str:
        if self.change is None:
            return "what it costs is not known, as there is no integer file to compare with"
        low, high = self.change.interval
        interval = f"95 %: {min(abs(low), abs(high)):.1f}..{max(abs(low), abs(high)):.1f}; {self.samples} samples"
        if not self.change.is_significant:
            verdict = f"costs nothing that {self.samples} samples show"
        else:
            verdict = f"{'costs' if self.change.value < 0 else 'gains'} {abs(self.change.value):.1f} dB ({interval})"
        figures = f"SQNR {self.sqnr_db[0]:.1f} dB without it, {self.sqnr_db[1]:.1f} with it"
        if self.agreement is not None:
            figures += f"; agreement {100 * self.agreement[0]:.1f} % and {100 * self.agreement[1]:.1f} %"
        several = "operators" if self.left > 1 else "operator"
        beside = f", beside a file with {self.left} {several} in float" if self.left else ""
        return f"it {verdict}{beside}: {figures}"


@dataclass(frozen=True, eq=False)
class Fitting:
    """What was done for a file so that its target takes it.

    Attributes:
        fitted: the rewrites.
        costs: what each of them costs; empty where there was nothing to measure on.
        placement: where the file's operators would run.
    """

    fitted: Fitted
    costs: tuple[Cost, ...]
    placement: Placement


def sentences(fitting: Fitting) -> list[str]:
    """Where the file would run, and for each rewrite what it does, why, and what it costs."""
    own, now = fitting.fitted, fitting.placement
    instead = ""
    if own.rewrites and own.before is not None:
        instead = f", without rewriting {len(own.before.mapped)} of {len(own.before.operators)}"
    share = f"{len(now.mapped)} of {len(now.operators)}"
    left = Counter(item.op for item in now.left if item.rule is not None)
    stays = f"; {', '.join(f'{count} {op}' for op, count in left.most_common())} cannot run there" if left else ""
    costs = [f"; {item}" for item in fitting.costs] or [""] * len(own.rewrites)
    return [
        f"forecast: {share} operators run on the {now.device}{instead}{stays}",
        *(
            f"rewritten: {item}, since {item.reason} ({item.name}){cost}"
            for item, cost in zip(own.rewrites, costs, strict=True)
        ),
    ]


def fit(model: Model, target: str) -> Fitted:
    """Simplify a float model, and rewrite what a target's accelerator does not take.

    Args:
        model: a float model.
        target: a plugin of the rib `targets`; nothing is rewritten for one without `REWRITES`.

    Raises RecipeError for an unknown target, ModelError, and PlanError for a model that cannot be planned.
    """
    given = optimize(model)
    passes = _passes(target)
    if not passes:
        return Fitted(target, (given,), (), None, None)
    module = registry.plugin("targets", target)
    before = _forecast(module, given)
    useless: set[str] = set()
    while True:
        models, rewrites, after = _gone_through(module, passes, given, before, useless)
        idle = _idle(rewrites, after)
        if not idle:
            if rewrites:
                models[-1] = optimize(models[-1], [deduplicate_constants.apply])
            return Fitted(target, tuple(models), tuple(rewrites), before, after)
        useless |= idle


def _gone_through(
    module: ModuleType, passes: Mapping[str, ModuleType], given: Model, placement: Placement, useless: Container[str]
) -> tuple[list[Model], list[Rewrite], Placement]:
    """The model after each pass that helps, without touching the operators named as useless, and where it runs then."""
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
                then = _forecast(module, found[0])
                if len(_breaking(then)) < len(breaking):
                    models.append(found[0])
                    rewrites.append(replace(found[1], name=name))
                    placement = then
        if len(rewrites) == count:
            break
    return models, rewrites, placement


def _idle(rewrites: Sequence[Rewrite], after: Placement) -> set[str]:
    """Operators that were rewritten and stay on the CPU all the same: something before them does not map."""
    left = {item.name for item in after.left}
    return {name for item in rewrites for name in item.operators if name in left}


def promise(model: Model, target: str) -> tuple[str, ...]:
    """A sentence on how many operators would map after rewriting; none where none is. Raises what `fit` does."""
    fitted = fit(model, target)
    if not fitted.rewrites or fitted.after is None:
        return ()
    done = ", ".join(map(str, fitted.rewrites))
    share = f"{len(fitted.after.mapped)} of {len(fitted.after.operators)}"
    return (f"tersor quantize --target {target} rewrites what does not map ({done}): {share} operators run there then",)


def _passes(target: str) -> dict[str, ModuleType]:
    names: Sequence[str] = getattr(registry.plugin("targets", target), "REWRITES", ())
    return {name: registry.plugin("passes", name) for name in names}


def _forecast(module: ModuleType, model: Model) -> Placement:
    """Where operators would run as integers."""
    placement: Placement = module.place(rough_quantize(model, module.FLAVOUR))
    return placement


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
