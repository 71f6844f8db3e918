"""Model + statistics + samples -> how much each operator matters: quantized alone, and alone left in float.

The first says what an operator's rounding does to the outputs of an otherwise exact network; the second what is won if
just this operator is spared. Corrections are left out: they repair what this is to find.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tersor.cache import Cache, digest
from tersor.errors import DataError, PlanError
from tersor.ir.graph import Array, Model
from tersor.ir.plan import INTEGER
from tersor.ops import OPS, SAME
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine
from tersor.stages.correct import fitted_inputs
from tersor.stages.plan import plan
from tersor.stages.plan.small_layers import with_small_layers
from tersor.stages.sensitivity.measure import WHOLE, Figures, Measure, side_by_side
from tersor.stages.statistics import Statistics

SAMPLES = 32
"""Samples that outputs are compared on."""


@dataclass(frozen=True)
class Sensitivity:
    """How much one operator matters.

    Attributes:
        name: of the operator.
        kind: its kind.
        alone_db: SQNR of the worst output if nothing else is quantized.
        spared_db: SQNR of the worst output if everything else is quantized.
        gain_db: what is won by sparing it.
    """

    name: str
    kind: str
    alone_db: float
    spared_db: float
    gain_db: float


@dataclass(frozen=True)
class Ranking:
    """What was measured.

    Attributes:
        whole_db: SQNR of the worst output with everything quantized, in dB.
        operators: the one whose sparing wins most first.
        samples: how many samples the outputs were compared on.
    """

    whole_db: float
    operators: tuple[Sensitivity, ...]
    samples: int


def sensitivity(
    model: Model,
    recipe: Recipe,
    statistics: Statistics,
    samples: Iterable[object],
    *,
    engine: Engine | None = None,
    jobs: int = 1,
    cache: Cache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Measure every operator that a recipe quantizes and that does more than move values.

    Args:
        model: a float model.
        recipe: what is wanted; float islands are allowed here whatever it says.
        statistics: from `calibrate`.
        samples: at most `SAMPLES` are used; others than those of the statistics tell more.
        engine: the process to run in if there is one job; by default one of its own.
        jobs: processes that measure side by side; the figures do not depend on their number.
        cache: where figures are looked up and kept, so that nothing is measured twice and an interrupted run goes on.
        progress: called with how many operators were measured, and how many there are.

    Raises:
        PlanError: the recipe quantizes no operator.
        DataError: there are no samples, or one does not fit.
        RuntimeFailure: the runtime refuses the float model.
    """
    wanted = replace(with_small_layers(model.graph, recipe), float_fallback=True)
    base = plan(model, wanted, statistics)
    ops = [op for op in model.graph.ops if base.ops[op.name].compute == INTEGER and OPS[op.kind].scale != SAME]
    if not ops:
        raise PlanError(f"{recipe.name} quantizes no operator of this model")
    drawn = fitted_inputs(model.graph, islice(samples, SAMPLES))
    if not drawn:
        raise DataError("there are no samples to compare on")
    work = _Work(model, wanted, statistics, drawn, engine, jobs)
    known = _Known(cache, work)
    figures = {name: kept for name in (WHOLE, *(op.name for op in ops)) if (kept := known.get(name)) is not None}
    missing = [name for name in (WHOLE, *(op.name for op in ops)) if name not in figures]
    for name, own in work.measured(missing):
        figures[name] = own
        known.put(name, own)
        if progress is not None and name != WHOLE:
            progress(len(figures.keys() - {WHOLE}), len(ops))
    whole, _ = figures[WHOLE]
    rows = [Sensitivity(op.name, op.kind, *figures[op.name], figures[op.name][1] - whole) for op in ops]
    return Ranking(whole, tuple(sorted(rows, key=lambda row: -row.gain_db)), len(drawn))


@dataclass(frozen=True)
class _Work:
    """What is measured on what, and where."""

    model: Model
    recipe: Recipe
    statistics: Statistics
    samples: Sequence[list[Array]]
    engine: Engine | None
    jobs: int

    def measured(self, names: Sequence[str]) -> Iterator[tuple[str, Figures]]:
        """The figures of operators as they come."""
        given = (self.model, self.recipe, self.statistics, self.samples)
        if self.jobs > 1 and len(names) > 1:
            yield from side_by_side(self.jobs, *given, names)
        elif names:
            with (
                tempfile.TemporaryDirectory(prefix="tersor-") as folder,
                Measure(*given, Path(folder), self.engine) as measure,
            ):
                yield from ((name, measure.of(name)) for name in names)


class _Known:
    """Figures in a cache, by everything that they follow from."""

    def __init__(self, cache: Cache | None, work: _Work) -> None:
        self._cache = cache
        given = (work.model, work.recipe, work.statistics, work.samples)
        self._key = "" if cache is None else digest("sensitivity", *given)

    def get(self, name: str) -> Figures | None:
        """The figures of an operator, None if they are not known."""
        match self._cache and self._cache.get(f"{self._key} {name}"):
            case [float(alone), float(spared)]:
                return alone, spared
        return None

    def put(self, name: str, figures: Figures) -> None:
        """Keep figures."""
        if self._cache is not None:
            self._cache.put(f"{self._key} {name}", figures)
