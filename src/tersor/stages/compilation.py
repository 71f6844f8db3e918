"""What a target's compiler made of a model, beside what was forecast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tersor.ir.graph import Graph
from tersor.ir.placement import CPU, OpPlacement, Placement, Resource
from tersor.stages.plan.refusals import COMPILERS
from tersor.targets._compiler import Compiled


@dataclass(frozen=True)
class Difference:
    """Operators of which the forecast and the compiler do not say the same.

    Attributes:
        kind: of the operators.
        status: in the compiler's words.
        forecast: how many the forecast gives that status.
        compiler: how many the compiler does.
    """

    kind: str
    status: str
    forecast: int
    compiler: int


@dataclass(frozen=True)
class Compilation:
    """A compiled model.

    Attributes:
        path: the compiled file.
        log: what the compiler printed.
        made: how it was made.
        forecast: of the model that went in.
        mapped: for each operator of that model, whether the accelerator runs it now.
        pieces: in how many pieces.
        resources: what the compiled file takes of the device, where that can be read out of it.
        was_forecast: whether `forecast` was one: some compilers say themselves what becomes of each operator.
    """

    path: Path
    log: Path
    made: Compiled
    forecast: Placement
    mapped: tuple[bool, ...]
    pieces: int
    resources: tuple[Resource, ...]
    was_forecast: bool = True

    @property
    def wrong(self) -> tuple[OpPlacement, ...]:
        """The operators that the forecast puts elsewhere than the compiler did."""
        pairs = zip(self.forecast.operators, self.mapped, strict=True)
        return tuple(item for item, mapped in pairs if (item.on != CPU) != mapped)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Where the compiler's statuses are not the forecast's; nothing where it printed none."""
        if not self.made.counts:
            return ()
        forecast, own = self.forecast.counts(), self.made.counts
        rows = sorted({*forecast, *own})
        found = (Difference(*row, forecast.get(row, 0), own.get(row, 0)) for row in rows)
        return tuple(item for item in found if item.forecast != item.compiler)


def was_mapped(before: Graph, after: Graph, target: str = "edge_tpu") -> tuple[bool, ...]:
    """For each operator of a graph whether it is gone from the compiled graph, other than into the custom operator."""
    codes = _codes(target)
    left = {name for op in after.ops if op.custom_code not in codes for name in op.outputs}
    return tuple(not left.intersection(op.outputs) for op in before.ops)


def _codes(target: str) -> frozenset[str]:
    """The custom operators that a target's compiler writes."""
    return frozenset(code for code, compiler in COMPILERS.items() if compiler.target == target)


def pieces(graph: Graph, target: str) -> int:
    """How many custom operators of a target's compiler there are."""
    return sum(op.custom_code in _codes(target) for op in graph.ops)
