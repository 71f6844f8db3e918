"""Why the pick, and why not the others: sentences with the figures that were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tersor.stages.evaluate import METRICS, POINTS
from tersor.stages.quantities import milliseconds, size
from tersor.stages.repair.figures import Figures, gain_db
from tersor.stages.repair.goal import Goal, Verdict
from tersor.stages.search.front import Judge, is_slower, is_too_noisy
from tersor.stages.search.result import Candidate

_SMALLER = 1 / 1.05
"""A size is called smaller from here, as in `front`; above it is the same."""

_SAME = 0.02
"""Times whose ratio is this near to 1 are called the same, whatever its interval: so far is a file from itself."""


NOT_COUNTED = "is no more than chance makes, and does not count"
"""What is said of a figure of a rival that is better than the pick's."""


def reasons_for(judge: Judge, reference: Candidate, pick: Candidate, out: Mapping[str, str]) -> tuple[str, ...]:
    """Sentences: what the pick is, how its goal stands, and why each other is out."""
    return (
        f"{pick.name} is the pick: {'; '.join(_merits(judge, reference, pick))}.",
        *((f"{_standing(judge.goal, pick.reporting)}.",) if judge.goal and pick.reporting else ()),
        *(f"{name} is out: {why}." for name, why in out.items()),
    )


def why_out(judge: Judge, pick: Candidate, candidates: Sequence[Candidate]) -> dict[str, str]:
    """For each that is not the pick, why, with figures."""
    return {item.name: _why_out(judge, pick, item) for item in candidates if item is not pick}


def missed(judge: Judge, pick: Candidate | None, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Limits that the pick breaks, what it does instead, and what would keep them."""
    if pick is None:
        return ()
    limits, found = judge.limits, []
    if judge.goal is not None and judge.loses_too_much(pick):
        found.append(
            f"no candidate keeps the goal ({judge.goal}); {pick.name} comes nearest: {_loses(judge.goal, pick)}"
        )
    if judge.is_too_large(pick) and limits.max_size is not None:
        smallest = min(candidates, key=lambda item: item.size_bytes)
        found.append(_nearest(judge, f"--max-size {size(limits.max_size)}", pick, smallest, size(pick.size_bytes)))
    if judge.is_too_slow(pick) and limits.max_latency_ms is not None:
        fastest = min(candidates, key=lambda item: math.inf if item.timing is None else item.timing.median_ms)
        took = "not timed" if pick.timing is None else milliseconds(pick.timing.median_ms)
        found.append(_nearest(judge, f"--max-latency {milliseconds(limits.max_latency_ms)}", pick, fastest, took))
    return tuple(found)


def _nearest(judge: Judge, limit: str, pick: Candidate, best: Candidate, has: str) -> str:
    """What comes nearest to a limit that nothing keeps, or nothing that keeps the goal."""
    text = f"nothing {'that keeps the goal ' if judge.goal else ''}is within {limit}; {pick.name} comes nearest ({has})"
    broken = judge.is_too_large(best) if "size" in limit else judge.is_too_slow(best)
    if broken or best is pick:
        return text
    why = _why_out(judge, pick, best)
    return f"{text}; {best.name} is within it, but {why}"


def _merits(judge: Judge, reference: Candidate, pick: Candidate) -> list[str]:
    found = []
    if judge.goal is not None and pick.reporting is not None:
        found.append(f"it {loss(judge.goal, pick.reporting)}")
    else:
        found.append("what it loses was not measured, as there is no data, but 16-bit floats rarely do harm")
        if judge.is_unknown(pick):
            found[-1] = "what it loses was not measured, as there is no data: nobody knows whether it still works"
    found.append(f"{pick.size_bytes / reference.size_bytes:.2f} times the size of float ({size(pick.size_bytes)})")
    if judge.target.is_this_machine:
        found.append(speed(pick))
    else:
        found.append(_memory(reference, pick))
    return found


def _memory(reference: Candidate, pick: Candidate) -> str:
    if pick.measured_arena_bytes is None:
        return f"its activations take at least {size(pick.arena_bytes)}, float's {size(reference.arena_bytes)}"
    other = reference.measured_arena_bytes
    beside = "float's is not to be had" if other is None else f"float's {size(other)}"
    return f"its arena takes {size(pick.measured_arena_bytes)} in TensorFlow Lite Micro, {beside}"


def _standing(goal: Goal, figures: Figures) -> str:
    """How the goal stands, by the samples that were held back: these could only refuse a candidate."""
    verdict, on = goal.verdict(figures), f"on {figures.samples} samples that were held back"
    return {
        Verdict.SHOWN: f"The goal ({goal}) is reached {on}, with its whole 95 % interval",
        Verdict.REACHED: f"The goal ({goal}) is reached {on}; more samples would be needed to show it for sure",
        Verdict.OPEN: (
            f"The goal ({goal}) is reached by the float model's confidence {on}; what was measured is beyond it by no "
            "more than chance"
        ),
        Verdict.MISSED: f"The goal ({goal}) is MISSED {on}",
    }[verdict]


def _why_out(judge: Judge, pick: Candidate, item: Candidate) -> str:
    limits = judge.limits
    if judge.loses_too_much(item) and judge.goal is not None:
        return _loses(judge.goal, item)
    if judge.is_too_large(item) and limits.max_size is not None:
        return f"{size(item.size_bytes)} is more than {size(limits.max_size)}"
    if judge.is_too_slow(item) and limits.max_latency_ms is not None:
        took = "it could not be timed" if item.timing is None else milliseconds(item.timing.median_ms)
        return f"{took} is more than {milliseconds(limits.max_latency_ms)}"
    if judge.is_unknown(item):
        return "without data it is not known what its 8-bit weights lose"
    if judge.target.is_this_machine and is_slower(item, pick):
        return f"it takes {_ratio(item)}, {pick.name} {_short_ratio(pick)}{_also(item, pick)}"
    mine, picks, what = item.size_bytes, pick.size_bytes, ""
    if not judge.target.is_this_machine:
        what = " with its activations" if item.measured_arena_bytes is None else " with its arena"
        mine, picks = mine + item.memory_bytes, picks + pick.memory_bytes
    if picks < mine * _SMALLER:
        faster = ", and not clearly faster" if judge.target.is_this_machine else ""
        return f"it is {mine / picks:.2g} times as large as {pick.name}{what}{faster}{looks_better(item, pick)}"
    if item.tuning is not None and pick.tuning is not None and gain_db(item.tuning, pick.tuning).interval[0] > 0:
        return (
            f"{pick.name} is as small and has less noise (SQNR {_db(item)} dB, {pick.name} {_db(pick)} dB)"
            f"{looks_better(item, pick)}"
        )
    what = "as small and as fast" if judge.target.is_this_machine else "as small"
    alike = f"it is {what} as {pick.name} and loses as much, as far as samples tell: nothing speaks for it"
    return alike + looks_better(item, pick)


def looks_better(item: Candidate, pick: Candidate) -> str:
    """Why a score that is higher than the pick's does not decide; "" where it is not higher, or surely so."""
    if item.score is None or pick.score is None or item.change is None or pick.change is None:
        return ""
    metric, gain = item.score.metric, item.change.value - pick.change.value
    if metric not in METRICS or not (-gain if metric == "mse" else gain) > 0:
        return ""
    if item.change.interval[0] > pick.change.interval[1] or item.change.interval[1] < pick.change.interval[0]:
        return ""
    much = f"{100 * abs(gain):.1f} points" if metric in POINTS else f"{abs(gain):.2g}"
    return (
        f"; that its {metric} is {much} {'lower' if metric == 'mse' else 'higher'} on these {item.score.samples} "
        f"samples {NOT_COUNTED}"
    )


def _also(item: Candidate, pick: Candidate) -> str:
    """What would speak for it all the same."""
    if item.size_bytes < pick.size_bytes * _SMALLER:
        return f" (but it is smaller: {size(item.size_bytes)})"
    return ""


def _loses(goal: Goal, item: Candidate) -> str:
    """What it loses, on the samples where that is too much."""
    limit = f"more than {goal.limit}"
    if item.reporting is not None and goal.verdict(item.reporting) is Verdict.MISSED:
        where = ""
        if item.tuning is not None and goal.verdict(item.tuning) is not Verdict.MISSED:
            where = " on the samples that were held back (not on those that it was chosen by)"
        return f"it {loss(goal, item.reporting)}, {limit}{where}"
    assert item.tuning is not None
    return f"it {loss(goal, item.tuning)}, {limit}, on the samples that are chosen by"


def loss(goal: Goal, figures: Figures) -> str:
    """What is lost, as a verb and figures; called a loss only where it is more than chance."""
    readings = {item.name: item for item in goal.readings(figures)}
    if goal.kind == "points":
        points = readings["measured"]
        low, high = (100 * bound for bound in points.interval)
        if low <= 0 <= high:
            change = f"{-100 * points.value:+.1f} points of {goal.metric} (95 %: {-high:+.1f} to {-low:+.1f})"
            text = f"differs from float by no more than chance: {change}"
        else:
            verb, ends = "loses" if points.value > 0 else "gains", sorted((abs(low), abs(high)))
            figure = f"{100 * abs(points.value):.1f} points of {goal.metric}"
            text = f"{verb} {figure} (95 %: {ends[0]:.1f} to {ends[1]:.1f})"
        if "expected" in readings and readings["expected"].value > goal.max_drop:
            text += (
                f"; by the float model's confidence in the answers that change, {100 * readings['expected'].value:.1f} "
                "points are to be expected"
            )
        return text
    (reading,) = readings.values()
    low, high = (100 * bound for bound in reading.interval)
    if goal.kind == "answers":
        return f"changes {100 * reading.value:.1f} % of the answers (95 %: {low:.1f} to {high:.1f})"
    if goal.kind == "noise":
        return f"adds noise of {100 * reading.value:.2g} % of the signal (SQNR {figures.sqnr_db:.1f} dB)"
    if low <= 0 <= high:
        return f"differs from float's {goal.metric} by no more than chance ({100 * reading.value:+.2g} %)"
    return f"changes {goal.metric} by {100 * reading.value:.2g} % (95 %: {low:.2g} to {high:.2g})"


def speed(item: Candidate) -> str:
    """How its time compares with the float model's; slower and faster only where that is sure."""
    timing = item.timing
    if timing is None:
        return "it could not be timed"
    low, high = timing.ratio_interval
    if is_too_noisy(timing.ratio_interval):
        return f"faster or slower than float, times here are too noisy to tell ({low:.2f} to {high:.2f} times its time)"
    if low <= 1 + _SAME and high >= 1 - _SAME:
        return f"as fast as float on this CPU, as far as {timing.runs} runs tell ({_short_ratio(item)} its time)"
    return f"{_ratio(item)} on this CPU"


def _short_ratio(item: Candidate) -> str:
    return "could not be timed" if item.timing is None else f"{item.timing.ratio:.2f} times"


def _ratio(item: Candidate) -> str:
    if item.timing is None:
        return "a time that could not be measured"
    low, high = item.timing.ratio_interval
    return f"{item.timing.ratio:.2f} times the time of float (95 %: {low:.2f} to {high:.2f})"


def _db(item: Candidate) -> str:
    value = item.sqnr_db
    return "?" if value is None else f"{value:.1f}"
