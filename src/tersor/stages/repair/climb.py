"""The ladder climbed: what is tried, what is kept, and the log of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tersor.data.feed import Sample, fit
from tersor.errors import PlanError, RuntimeFailure, TersorError, VerificationError
from tersor.numerics.metrics import mean_interval
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine
from tersor.stages.benchmark import benchmark
from tersor.stages.evaluate import Change
from tersor.stages.repair.figures import gain_db, gains_db
from tersor.stages.repair.goal import Goal, Verdict
from tersor.stages.repair.ladder import COSTLY, LADDER, LATENCY, NOTHING, Rung
from tersor.stages.repair.trial import Bench, Trial
from tersor.stages.repair.widening import Mixture, Widening, cheapest

_LATE = "not tried: time is up"

_SURE = 0.99
"""The level of a gain's interval from which on it is more than chance: of some ten rungs that do nothing, one search in
twenty keeps any (Bonferroni)."""

_SURE_Z = 2.575829
"""Standard errors to either side of a mean, for the same level."""

_FAILURES = (PlanError, RuntimeFailure, VerificationError)
"""What a candidate may end with without ending the search."""


@dataclass(frozen=True)
class Step:
    """A line of the log: something that was tried.

    Attributes:
        rung: what it is called.
        does: what it changes, in words.
        cost: what it costs on the device: "nothing", "bytes", "latency" or "bytes and latency".
        before: what it started from; None for the first, the recipe as it was asked for.
        after: what came out; None if it could not be made, or was not tried.
        gain: of SQNR, in dB.
        kept: whether the ladder goes on from it.
        why: why it was kept or not.
        operators: names of the operators that it gives more bits.
        seconds: it took.
    """

    rung: str
    does: str
    cost: str
    before: Trial | None
    after: Trial | None
    gain: Change | None
    kept: bool
    why: str
    operators: tuple[str, ...] = ()
    seconds: float = 0.0


class Climb:
    """The search for a recipe that reaches a goal.

    Args:
        bench: makes and measures candidates.
        goal: what may be lost.
        deadline: by `time.monotonic`; nothing is begun after it.
        progress: called with how many candidates were begun.
    """

    def __init__(self, bench: Bench, goal: Goal, deadline: float, progress: Callable[[int], None]) -> None:
        self._bench = bench
        self._goal = goal
        self._deadline = deadline
        self._progress = progress
        self._begun = 0
        self.steps: list[Step] = []

    @property
    def kept(self) -> Trial:
        """What the ladder has come to."""
        found = next((step.after for step in reversed(self.steps) if step.kept), None)
        assert found is not None  # the first step is kept, or raises
        return found

    def start(self, recipe: Recipe) -> None:
        """Measure the recipe as it was asked for. Raises what `Bench.trial` does."""
        trial = self._trial(recipe)
        verdict = self._goal.verdict(trial.figures)
        why = f"goal {verdict.value}"
        self.steps.append(Step("as asked", "", NOTHING, None, trial, None, True, why, seconds=trial.seconds))

    def free_rungs(self, ladder: Sequence[Rung] = LADDER) -> None:
        """Try what costs the device nothing, until the goal is shown to be reached.

        Also where it is only likely to be: what is free is not left out because samples are few.
        """
        for rung in ladder:
            if self._goal.verdict(self.kept.figures) is Verdict.SHOWN:
                return
            self._climb(rung)

    def costly_rungs(self, largest: int | None = None, ladder: Sequence[Rung] = COSTLY) -> None:
        """Try what makes the file a little larger and slower, unless the goal is likely to hold as it is.

        Files of more than `largest` bytes are not kept.
        """
        for rung in ladder:
            if not self._goal.holds(self.kept.figures):
                self._climb(rung, largest)

    def widen(self, widening: Widening, mixtures: Callable[[Recipe], Sequence[Mixture]]) -> None:
        """Give the fewest operators more bits that reach the goal; if none does, those beyond which more do not help.

        Nothing is done where the goal is likely to hold as it is.
        """
        if self._goal.holds(self.kept.figures):
            return
        base, started = self.kept, time.perf_counter()
        try:
            choices = () if self._is_late else mixtures(base.recipe)
        except TersorError as error:
            spent = time.perf_counter() - started
            self._leave(widening, _failed(error), spent)
            return
        if not choices:
            self._leave(widening, _LATE if self._is_late else "nothing can be widened")
            return
        spent = time.perf_counter() - started
        tried: dict[int, Step] = {}

        def made(place: int) -> Trial | None:
            if place not in tried and (not tried or not self._is_late):
                name = f"{widening.name}: {len(choices[place].operators)}"
                step = self._measured(name, "gives operators more bits", widening.cost, choices[place].recipe, base)
                tried[place] = replace(step, operators=choices[place].operators)
            return tried[place].after if place in tried else None

        def reaches(place: int) -> bool:
            return (trial := made(place)) is not None and self._goal.holds(trial.figures)

        found = reached = cheapest(len(choices), reaches)
        widest = tried.get(len(choices) - 1)
        if reached is None and widest is not None and (last := widest.after) is not None and _helps(widest):
            found = cheapest(len(choices), lambda place: (own := made(place)) is not None and not _is_worse(own, last))
            found = found if found is not None and _helps(tried[found]) else None
        for place, step in tried.items():
            why = step.why or ("reaches the goal" if reaches(place) else "not enough")
            if place == found:
                why = "fewest for the goal" if reached is not None else "comes nearest"
            self.steps.append(replace(step, kept=place == found, why=why, seconds=step.seconds + spent))
            spent = 0.0  # what measuring the operators took is told with the first
        self._bench.preparation.forget_all_but(self.kept.recipe)

    def _leave(self, widening: Widening, why: str, seconds: float = 0.0) -> None:
        """Log that a way to widen was not tried."""
        self.steps.append(Step(widening.name, "", widening.cost, self.kept, None, None, False, why, seconds=seconds))

    @property
    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def aside(self, recipe: Recipe) -> Trial:
        """Measure a recipe for comparison only. Raises what `Bench.trial` does."""
        return self._trial(recipe)

    def slowdown(self, sample: Sample, folder: Path, engine: Engine) -> float | None:
        """Time of one run of what was kept over that of the recipe as it was asked for; None where rungs cost none."""
        first = self.steps[0].after
        if first is None or not any(step.kept and LATENCY in step.cost for step in self.steps):
            return None
        handles = []
        for name, trial in (("asked", first), ("kept", self.kept)):
            path = folder / f"{name}.tflite"
            self._bench.write(trial.recipe, path)
            handles.append(engine.open(str(path)))
        timings = benchmark(handles, [fit(sample, handle.inputs) for handle in handles])
        for handle in handles:
            handle.close()
        return timings[1].ratio

    def _climb(self, rung: Rung, largest: int | None = None) -> None:
        """Try what a rung changes, if it changes anything, and keep it if it helps."""
        recipe = rung.change(self.kept.recipe)
        if recipe == self.kept.recipe or (rung.needs_integers and not recipe.needs_calibration):
            return
        step = self._measured(rung.name, rung.does, rung.cost, recipe, self.kept)
        if step.after is not None:
            fits = largest is None or step.after.size_bytes <= largest
            kept, why = self._judged(self.kept, step.after, step.gain) if fits else (False, "too large")
            step = replace(step, kept=kept, why=why)
        self.steps.append(step)
        self._bench.preparation.forget_all_but(self.kept.recipe)

    def _trial(self, recipe: Recipe) -> Trial:
        self._begun += 1
        self._progress(self._begun)
        return self._bench.trial(recipe)

    def _judged(self, before: Trial, after: Trial, gain: Change | None) -> tuple[bool, str]:
        """Whether a candidate is kept, and why."""
        assert gain is not None
        if after.digest == before.digest:
            return False, "changes nothing"
        if self._goal.is_worse(before.figures, after.figures):
            return False, "loses answers"
        if self._goal.verdict(after.figures) is Verdict.SHOWN:
            return True, "shows the goal"
        if self._goal.holds(after.figures) and not self._goal.holds(before.figures):
            return True, "reaches the goal"
        if gain_db(before.figures, after.figures, _SURE).interval[0] > 0:
            return True, "helps"
        each = gains_db(before.figures, after.figures)
        if gain.value > 0 and mean_interval(each, _SURE_Z)[0] > 0:
            return True, f"helps: {each.mean():+.1f} dB sample by sample"
        if gain.interval[0] > 0:
            return False, "may be chance"
        return False, "harms" if gain.interval[1] < 0 else "no difference"

    def _measured(self, name: str, does: str, cost: str, recipe: Recipe, before: Trial) -> Step:
        """A step that is not decided yet; one that is not tried, or fails, has no `after`."""
        if self._is_late:
            return Step(name, does, cost, before, None, None, False, _LATE)
        started = time.perf_counter()
        try:
            trial = self._trial(recipe)
        except _FAILURES as error:
            spent = time.perf_counter() - started
            return Step(name, does, cost, before, None, None, False, _failed(error), seconds=spent)
        gain = gain_db(before.figures, trial.figures)
        return Step(name, does, cost, before, trial, gain, False, "", seconds=trial.seconds)


def _is_worse(trial: Trial, other: Trial) -> bool:
    """Whether another candidate has less noise, by more than chance."""
    return gain_db(trial.figures, other.figures).interval[0] > 0


def _helps(step: Step) -> bool:
    return step.gain is not None and step.gain.interval[0] > 0


def _failed(error: TersorError) -> str:
    return f"not possible: {str(error).splitlines()[0]}"
