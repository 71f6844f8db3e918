"""Which candidates no other one beats in everything, and which of them to ship."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tersor.ir.dtypes import DType
from tersor.stages.repair.figures import Figures, gain_db
from tersor.stages.repair.goal import Goal, Verdict
from tersor.stages.search.result import Candidate, Limits
from tersor.targets._target import Target

AS_FAST = 1.1
"""Times that differ by less than a tenth are taken for the same: file sizes decide then."""

_AS_SMALL = 1.05
"""Likewise for sizes: noise decides between files whose sizes differ by less than a twentieth."""

_SAFE = (DType.FLOAT32, DType.FLOAT16)
"""Weights whose rounding does no harm that one would have to measure: float16 keeps 11 bits of each."""


@dataclass(frozen=True)
class Judge:
    """What candidates are judged by.

    Attributes:
        target: what the pick is for.
        limits: what it has to keep.
        goal: what may be lost; None without data.
    """

    target: Target
    limits: Limits
    goal: Goal | None

    def loses_too_much(self, item: Candidate) -> bool:
        """Whether it misses the goal: on the samples that are chosen by, or on those that were held back.

        A mixture that was fitted to the goal on some samples may well miss it on others, and is refused then.
        """
        return self._misses(item.tuning) or self._misses(item.reporting)

    def _misses(self, figures: Figures | None) -> bool:
        return self.goal is not None and figures is not None and self.goal.verdict(figures) is Verdict.MISSED

    def is_shown(self, item: Candidate) -> bool:
        """Whether even the intervals of what it loses are within the goal."""
        return self.goal is not None and item.tuning is not None and self.goal.verdict(item.tuning) is Verdict.SHOWN

    def is_unknown(self, item: Candidate) -> bool:
        """Whether it may lose something, and no data was given to tell how much."""
        return self.goal is None and item.recipe is not None and item.recipe.scheme.weights not in _SAFE

    def is_too_large(self, item: Candidate) -> bool:
        """Whether the file is larger than allowed."""
        return self.limits.max_size is not None and item.size_bytes > self.limits.max_size

    def is_too_slow(self, item: Candidate) -> bool:
        """Whether a run takes longer than allowed, or could not be timed."""
        limit = self.limits.max_latency_ms
        return limit is not None and (item.timing is None or item.timing.median_ms > limit)

    def keeps_all(self, item: Candidate) -> bool:
        """Whether it keeps every limit."""
        return not (self.loses_too_much(item) or self.is_too_large(item) or self.is_too_slow(item))

    def loss(self, item: Candidate) -> float:
        """What it loses by the estimate with the least noise, on the samples that are reported on; 0 if unknown."""
        if self.goal is None or item.reporting is None:
            return 0.0
        return self.goal.readings(item.reporting)[0].value

    def cost(self, item: Candidate) -> float:
        """What a run costs: time where this machine tells, else the bytes of an arena."""
        return item.timing.ratio if self.target.is_this_machine and item.timing else float(item.memory_bytes)

    def best(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """The one to ship: what keeps the limits, else what comes nearest to them."""
        if not candidates:
            return None
        broken = {item.name: self._broken(item) for item in candidates}
        least = min(broken.values())
        return self._cheapest([item for item in candidates if broken[item.name] == least])

    def _broken(self, item: Candidate) -> tuple[float, ...]:
        """How far it is from what was asked, the worst first; what keeps everything is all zeros."""
        limits, timing = self.limits, item.timing
        size = item.size_bytes / limits.max_size if limits.max_size is not None and self.is_too_large(item) else 0.0
        latency = 0.0
        if limits.max_latency_ms is not None and self.is_too_slow(item):
            latency = 1e9 if timing is None else timing.median_ms / limits.max_latency_ms
        lost = self.largest_loss(item) if self.loses_too_much(item) else 0.0
        return lost, max(size, latency), float(self.is_unknown(item))

    def largest_loss(self, item: Candidate) -> float:
        """What is lost by the estimate that is largest, on either set of samples."""
        assert self.goal is not None
        both = [own for own in (item.tuning, item.reporting) if own is not None]
        return max(reading.value for own in both for reading in self.goal.readings(own))

    def _cheapest(self, group: Sequence[Candidate]) -> Candidate:
        near = self._as_fast_as_the_fastest(group) if self.target.is_this_machine else list(group)
        smallest = min(map(self._bytes, near))
        first, *others = (item for item in near if self._bytes(item) <= smallest * _AS_SMALL)
        for item in others:  # the flavour that comes first, unless another has less noise, by more than chance
            if (
                first.tuning is not None
                and item.tuning is not None
                and gain_db(first.tuning, item.tuning).interval[0] > 0
            ):
                first = item
        return first

    def _bytes(self, item: Candidate) -> int:
        """What it takes of the device: the file, and where memory is what lacks, the arena as well."""
        return item.size_bytes + (0 if self.target.is_this_machine else item.memory_bytes)

    def _as_fast_as_the_fastest(self, group: Sequence[Candidate]) -> list[Candidate]:
        timed = [item for item in group if item.timing is not None]
        if not timed:
            return list(group)
        fastest = min(timed, key=self.cost)
        return [item for item in timed if not is_slower(item, fastest)]

    def is_as_cheap(self, one: Candidate, other: Candidate) -> bool:
        """Whether one is no larger and costs no more than another."""
        return one.size_bytes <= other.size_bytes * _AS_SMALL and self.costs_no_more(one, other)

    def is_out_of_time(self, item: Candidate, best: Candidate) -> bool:
        """Whether time alone keeps it from being picked instead of another."""
        return self.target.is_this_machine and is_slower(item, best)

    def costs_no_more(self, one: Candidate, other: Candidate) -> bool:
        """Whether a run of one costs no more than a run of another."""
        return _rounded(self.cost(one)) <= _rounded(self.cost(other))

    def front(self, candidates: Sequence[Candidate], pick: Candidate | None = None) -> tuple[str, ...]:
        """Names of those that no other one beats: no worse in anything, and better in something.

        The pick is one of them even if another beats it by as little as chance makes.
        """
        return tuple(
            item.name
            for item in candidates
            if item is pick or not any(self.dominates(other, item) for other in candidates)
        )

    def dominates(self, one: Candidate, other: Candidate) -> bool:
        """Whether one is no worse in loss, size and cost (both in steps of a twentieth), and better in one of them."""
        mine, others = (
            (self.loss(item), _rounded(item.size_bytes), _rounded(self.cost(item))) for item in (one, other)
        )
        return mine != others and all(a <= b for a, b in zip(mine, others, strict=True))


def is_slower(item: Candidate, other: Candidate) -> bool:
    """Whether it takes longer by a tenth at least, and surely so: their intervals lie apart."""
    a, b = item.timing, other.timing
    return a is not None and b is not None and a.ratio > b.ratio * AS_FAST and a.ratio_interval[0] > b.ratio_interval[1]


def is_too_noisy(ratio: tuple[float, float]) -> bool:
    """Whether the interval of a time's ratio leaves open whether it is faster or slower by a tenth and more."""
    low, high = ratio
    return low <= 1 <= high and (low * AS_FAST < 1 or high > AS_FAST)


def _rounded(cost: float) -> float:
    """In steps of a twentieth, so that noise of times makes no better and worse."""
    return round(math.log(max(cost, 1e-9)) / 0.05) if cost else 0.0
