"""A recipe that loses too much -> the changed one that repair finds, where it finds one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tersor.recipe import Recipe, parse_recipe, to_toml
from tersor.runtimes.engine import Engine
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.repair import Step, climbed
from tersor.stages.repair.climb import Climb
from tersor.stages.repair.trial import Bench
from tersor.stages.repair.widening import widenings
from tersor.stages.search.evidence import Evidence
from tersor.stages.search.journal import Journal, tried_from
from tersor.stages.search.result import Candidate, Tried

SUFFIX = ".repaired"
"""What the name of a repaired candidate ends with."""


class Improvement:
    """Climbs the ladder of repair for candidates of one model.

    Args:
        preparation: of the model and the calibration samples.
        evidence: what is measured on, and the goal.
        engine: the process to run in.
        folder: for the files, one after the other.
        deadline: by `time.monotonic`; nothing is begun after it.
        minutes: that the whole search may take: with more, what was cut short is tried again.
        journal: what is known from an earlier run.
        progress: told what is going on.
    """

    def __init__(
        self,
        preparation: Preparation,
        evidence: Evidence,
        engine: Engine,
        folder: Path,
        deadline: float,
        minutes: float,
        journal: Journal,
        progress: Progress,
    ) -> None:
        self._preparation = preparation
        self._evidence = evidence
        self._engine = engine
        self._bench = Bench(preparation, evidence.reference, folder)
        self.deadline = deadline
        self._minutes = minutes
        self._journal = journal
        self._progress = progress

    def of(
        self, base: Candidate, recipe: Recipe, islands: str, largest: int | None = None
    ) -> tuple[Recipe, tuple[Tried, ...]]:
        """The recipe that was found, and everything that was tried; the recipe itself where nothing helps.

        Args:
            base: what was made by the recipe.
            recipe: what to start from.
            islands: what operators may be widened to, see `repair`; "none" for what costs the device nothing only.
            largest: bytes of a file that would still be of use.

        Raises what `repair` does for the recipe as it is.
        """
        name = f"repair {base.name} {self._evidence.goal} {islands} {largest} {self._minutes:g}"
        if (kept := self._journal.get(name)) is not None:
            return parse_recipe(kept["recipe"], recipe.name), tried_from(kept["tried"])
        climb = Climb(
            self._bench,
            self._evidence.goal,
            self.deadline,
            lambda count: self._progress(f"{base.name}{SUFFIX}: trying changes", count, None),
        )
        climbed(
            climb,
            recipe,
            widenings(recipe, islands),
            self._preparation,
            self._evidence.samples,
            self._engine,
            self._progress,
            largest,
        )
        found, tried = climb.kept.recipe, tuple(_tried(step) for step in climb.steps)
        self._journal.put(name, {"recipe": to_toml(found), "tried": [asdict(step) for step in tried]})
        return found, tried


def _tried(step: Step) -> Tried:
    gain = None if step.gain is None else step.gain.value
    return Tried(step.rung, step.does, step.kept, step.why, gain, step.seconds)
