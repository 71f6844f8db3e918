"""The candidates one after the other: what is made, what is known from an earlier run, what is left out and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import shorten

from tersor.errors import ModelError, PlanError, RuntimeFailure, TersorError, UnsupportedError, VerificationError
from tersor.recipe import Recipe
from tersor.stages.search.front import Judge
from tersor.stages.search.gauge import Gauge
from tersor.stages.search.improve import SUFFIX, Improvement
from tersor.stages.search.journal import Journal
from tersor.stages.search.result import Candidate

_FAILURES = (ModelError, PlanError, RuntimeFailure, UnsupportedError, VerificationError)
"""What one candidate may end with without ending the search."""

_SHARE = 0.85
"""Of the time that is left, what repair may take: the rest is for measuring what it finds."""

_MOST = 1 / 3
"""Of all the time, what repair of one candidate may take."""

_AT_THE_SIDE = 1 / 10
"""Likewise for one that is slower than what is picked now: it shows how small a file could be, and is not the pick."""

_WORTH_IT = 0.95
"""What repair may not make larger than this share of a file that keeps the goal as it is."""

_WIDTH = 200
"""Characters of a reason: operators of which there are many are not all named."""

LATE = "the time was up"
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Standing:
    """How far a search is.

    Attributes:
        running: the candidate that is being made.
        done: how many there are already.
        total: how many there will be, as far as is known.
        best: what would be picked now.
    """

    running: str
    done: int
    total: int
    best: Candidate | None


@dataclass(eq=False)
class Course:
    """Goes through candidates.

    Attributes:
        judge: says which is best so far.
        gauge: makes and measures.
        journal: what is known from an earlier run.
        name_of: the file of a candidate.
        started: by `time.monotonic`.
        deadline: likewise; nothing is begun after it.
        announce: told how far it is.
        candidates: what was made.
        not_tried: what was not, and why.
        known: how many were known from an earlier run.
        interrupted: whether the user has had enough.
    """

    judge: Judge
    gauge: Gauge
    journal: Journal
    name_of: Callable[[str], Path]
    started: float
    deadline: float
    announce: Callable[[Standing], None]
    candidates: list[Candidate] = field(default_factory=list)
    not_tried: dict[str, str] = field(default_factory=dict)
    known: int = 0
    interrupted: bool = False

    def flavours(self, recipes: Mapping[str, Recipe]) -> None:
        """Make and measure each, the next one if one cannot be."""
        for number, (name, recipe) in enumerate(recipes.items()):
            with _Interruptible(self, name):
                self._one(name, recipe, len(recipes) - number - 1)

    def repairs(self, recipes: Mapping[str, Recipe], islands: Mapping[str, str], improvement: Improvement) -> None:
        """Repair those that lose too much, as far as what comes of it could be of use.

        What is best so far gets what costs the device nothing, if samples do not show its goal to be reached.
        """
        for number, name in enumerate(islands):
            base = next((item for item in self.candidates if item.name == name), None)
            if base is None:
                continue
            widening = islands[name] if self.judge.loses_too_much(base) else ""
            if not widening and base is self.judge.best(self.candidates) and not self.judge.is_shown(base):
                widening = "none"
            if not widening:
                continue
            called = f"{name}{SUFFIX}"
            if (why := self._useless(base)) is not None:
                self.not_tried[called] = why
                continue
            with _Interruptible(self, called):
                self._repair(base, called, recipes[name], widening, improvement, len(islands) - number)

    def _repair(
        self, base: Candidate, name: str, recipe: Recipe, islands: str, improvement: Improvement, share: int
    ) -> None:
        if self._is_over(name):
            return
        self._announce(name, share)
        started = time.monotonic()
        best = self.judge.best(self.candidates)
        is_aside = best is not None and self.judge.keeps_all(best) and self.judge.is_out_of_time(base, best)
        most = (self.deadline - self.started) * (_AT_THE_SIDE if is_aside else _MOST)
        left = (self.deadline - started) * _SHARE / share
        improvement.deadline = started + min(left, most)
        try:
            found, tried = improvement.of(base, recipe, islands, self._largest(base))
        except _FAILURES as error:
            self.not_tried[name] = first_line(error)
            return
        if found == recipe:
            self.not_tried[name] = f"none of {len(tried) - 1} changes helps {base.name}"
            return
        spent = time.monotonic() - started
        known = self._known(name, found)
        made = known or self._made(name, found)
        if made is not None:
            item = made if known else replace(made, tried=tried, seconds=made.seconds + spent)
            self._keep(item, is_known=known is not None)

    def _largest(self, base: Candidate) -> int | None:
        """Bytes of a file from which another one that keeps the goal is as good; None without such a one."""
        others = [item for item in self.candidates if item is not base and self.judge.keeps_all(item)]
        sizes = [item.size_bytes for item in others if self.judge.costs_no_more(item, base)]
        return int(min(sizes) * _WORTH_IT) if sizes else None

    def _useless(self, base: Candidate) -> str | None:
        """Why repair, which makes nothing smaller or faster, could not be of use; None if it could."""
        if self.judge.is_too_large(base):
            return f"{base.name} is too large, and repair makes nothing smaller"
        if self.judge.is_too_slow(base):
            return f"{base.name} is too slow, and repair makes nothing faster"
        for other in self.candidates if self.judge.loses_too_much(base) else ():
            if not self.judge.loses_too_much(other) and self.judge.is_as_cheap(other, base):
                what = "as small and as fast" if self.judge.target.is_this_machine else "as small"
                return f"{other.name} keeps the goal and is {what} as {base.name}"
        return None

    def _one(self, name: str, recipe: Recipe, left: int) -> None:
        if self._is_over(name):
            return
        self._announce(name, left + 1)
        known = self._known(name, recipe)
        made = known or self._made(name, recipe)
        if made is not None:
            self._keep(made, is_known=known is not None)

    def _known(self, name: str, recipe: Recipe) -> Candidate | None:
        """What an earlier run made by the same recipe."""
        found = self.journal.candidate(name)
        return found if found is not None and found.recipe == recipe else None

    def _made(self, name: str, recipe: Recipe) -> Candidate | None:
        try:
            return self.gauge.candidate(name, recipe, self.name_of(name))
        except _FAILURES as error:
            self.not_tried[name] = first_line(error)
            return None

    def _keep(self, item: Candidate, *, is_known: bool) -> None:
        self.candidates.append(item)
        self.known += is_known
        if not is_known:
            self.journal.put_candidate(item.name, item)

    def _is_over(self, name: str) -> bool:
        """Whether nothing more is begun; at least one candidate is made."""
        late = time.monotonic() > self.deadline and bool(self.candidates)
        if self.interrupted or (late and self.journal.candidate(name) is None):
            self.not_tried[name] = INTERRUPTED if self.interrupted else LATE
            return True
        return False

    def _announce(self, name: str, left: int) -> None:
        done = len(self.candidates)
        self.announce(Standing(name, done, done + left, self.judge.best(self.candidates)))


class _Interruptible:
    """A block that an interrupt ends, and the search with it, as soon as there is something to show."""

    def __init__(self, course: Course, name: str) -> None:
        self._course = course
        self._name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        if kind is None or not issubclass(kind, KeyboardInterrupt) or not self._course.candidates:
            return False
        self._course.interrupted = True
        self._course.not_tried[self._name] = INTERRUPTED
        return True


def first_line(error: TersorError) -> str:
    """What an error says in short."""
    lines = str(error).splitlines() or [type(error).__name__]
    return shorten(" ".join(lines[:2]), _WIDTH, placeholder=" ...")
