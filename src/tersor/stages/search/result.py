"""What a search found, as values: every candidate with what was measured of it, the pick, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tersor.recipe import Recipe
from tersor.stages.benchmark import Timing
from tersor.stages.evaluate import Change, Score
from tersor.stages.repair.figures import Figures
from tersor.stages.repair.goal import Goal, Verdict

FLOAT = "float"
"""What the float model is called, beside which all candidates are put."""


@dataclass(frozen=True)
class Left:
    """An operator that stays in float: its kind, its name, and why."""

    kind: str
    name: str
    why: str


@dataclass(frozen=True)
class Tried:
    """A rung of repair, in words and figures: see `stages.repair.climb.Step`."""

    rung: str
    does: str
    kept: bool
    why: str
    gain_db: float | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Candidate:
    """One file, and what was measured of it.

    Attributes:
        name: what it is called: the flavour, with ".repaired" where repair changed the recipe.
        path: where it lies.
        recipe: what it was made by; None for the float model.
        size_bytes: of the file.
        gzip_bytes: of the file compressed by gzip, as an app store or an update sends it.
        tuning: on the samples that candidates are chosen by; None without data, and for the float model.
        reporting: on the samples that are held back: these can only refuse it; likewise.
        score: the metric on these, with its interval; None without labels.
        timing: on this machine, with the float model in turn; None where it was not to be had.
        peak_bytes: how much the resident memory of a process grows at most when it loads the file and runs it; None
            where the system does not tell.
        arena_bytes: bytes of activations that are alive at one time, which an arena needs at least (computed).
        left: operators that stay in float though others compute in integers.
        warnings: what the user should know about it.
        tried: what repair tried, where it did.
        seconds: that making and measuring it took.
        measured_arena_bytes: the least arena with which TensorFlow Lite Micro runs it on this machine; None where that
            is not its runtime, or is not installed.
    """

    name: str
    path: Path
    recipe: Recipe | None
    size_bytes: int
    gzip_bytes: int
    tuning: Figures | None = None
    reporting: Figures | None = None
    score: Score | None = None
    timing: Timing | None = None
    peak_bytes: int | None = None
    arena_bytes: int = 0
    left: tuple[Left, ...] = ()
    warnings: tuple[str, ...] = ()
    tried: tuple[Tried, ...] = ()
    seconds: float = 0.0
    measured_arena_bytes: int | None = None

    @property
    def recipe_path(self) -> Path:
        """Where its recipe lies: beside the file."""
        return self.path.with_suffix(".recipe.toml")

    @property
    def memory_bytes(self) -> int:
        """Bytes of an arena: measured where they were, else computed."""
        return self.arena_bytes if self.measured_arena_bytes is None else self.measured_arena_bytes

    @property
    def change(self) -> Change | None:
        """Of the score, from the float model's on the same samples, with a paired interval."""
        return None if self.reporting is None else self.reporting.change

    @property
    def agreement(self) -> float | None:
        """Share of the float model's answers that are kept; None without classes."""
        return None if self.reporting is None else self.reporting.agreement

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise ratio of the worst output, in dB."""
        return None if self.reporting is None else self.reporting.sqnr_db


@dataclass(frozen=True)
class Limits:
    """What a pick has to keep.

    Attributes:
        max_drop: what may be lost, a share; see `stages.repair.goal.Goal`.
        is_default: whether `max_drop` was not asked for.
        max_size: bytes of the file, at most.
        max_latency_ms: milliseconds of one run on this machine, at most.
    """

    max_drop: float = 0.01
    is_default: bool = True
    max_size: int | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True)
class Conditions:
    """What figures rest on.

    Attributes:
        calibration_samples: how many samples ranges come from; 0 without data.
        tuning_samples: how many candidates are chosen by.
        reporting_samples: how many what is said comes from.
        threads: of one run that is timed.
        kernels: the kernel set that is timed and compared on.
        processor: of this machine, in words.
        versions: of the programs, by name.
        data: the samples in words; None without any.
    """

    calibration_samples: int
    tuning_samples: int
    reporting_samples: int
    threads: int
    kernels: str
    processor: str
    versions: Mapping[str, str]
    data: str | None


@dataclass(frozen=True, eq=False)
class Search:
    """What was found.

    Attributes:
        model: the float model's file, as it was named; "" for one of this process.
        target: what it is made for, a name of `targets.targets`.
        limits: what was asked for.
        goal: what may be lost, by what the data allows to measure; None without data.
        reference: the float model.
        candidates: everything that was made, in the order of the table.
        front: names of those that no other one beats in everything, see `front`.
        pick: the name of the candidate to ship; None if there is none at all.
        verdict: what the samples that are reported on say about the pick and the goal; None without data.
        reasons: sentences with measured figures: why the pick, and why not the others.
        out: for candidates that were not picked, why, in a few words.
        not_tried: candidates that were not made, and why.
        missed: limits that the pick breaks, in words; empty if it keeps all.
        conditions: what figures rest on.
        folder: where everything lies.
        seconds: that the call took.
        interrupted: whether it was cut short by the user.
        notes: what else the user should know.
        doubts: why the figures may not be what they seem.
    """

    model: str
    target: str
    limits: Limits
    goal: Goal | None
    reference: Candidate
    candidates: tuple[Candidate, ...]
    front: tuple[str, ...]
    pick: str | None
    verdict: Verdict | None
    reasons: tuple[str, ...]
    out: Mapping[str, str]
    not_tried: Mapping[str, str]
    missed: tuple[str, ...]
    conditions: Conditions
    folder: Path
    seconds: float = 0.0
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def picked(self) -> Candidate | None:
        """The candidate to ship."""
        return next((item for item in self.candidates if item.name == self.pick), None)

    @property
    def is_reached(self) -> bool:
        """Whether the pick keeps what was asked for."""
        return self.pick is not None and not self.missed

    def named(self, name: str) -> Candidate:
        """A candidate, or the float model. Raises KeyError."""
        return {item.name: item for item in (self.reference, *self.candidates)}[name]
