"""What was done so that a target takes a network, as values, and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from tersor.ir.graph import Model
from tersor.ir.placement import Placement

if TYPE_CHECKING:
    from tersor.stages.evaluate import Change


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
        split_cost: what it costs that the CPU computes its part of a split network in float; None where that was not
            measured.
    """

    fitted: Fitted
    costs: tuple[Cost, ...]
    placement: Placement
    split_cost: Cost | None = None


def fitting_of(fitted: Fitted, costs: Sequence[Cost], placement: Placement) -> Fitting:
    """Of the costs that `fit_costs` gives: of each rewrite, and last of splitting, where they were measured."""
    count = len(fitted.rewrites)
    return Fitting(fitted, tuple(costs[:count]), placement, next(iter(costs[count:]), None))


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
    apart = fitting.split_cost
    beside = "beside one file that computes in integers where it can"
    split = [] if apart is None else [f"float on the CPU: {beside}, {apart}"]
    return [
        f"forecast: {share} operators run on the {now.device}{instead}{stays}",
        *(
            f"rewritten: {item}, since {item.reason} ({item.name}){cost}"
            for item, cost in zip(own.rewrites, costs, strict=True)
        ),
        *split,
    ]
