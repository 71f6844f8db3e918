"""Files timed in turn, and two of them compared, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.report import words
from tersor.report.outcome import change_to_dict, finite, score_to_dict, timing_to_dict
from tersor.runtimes.profile import Profile
from tersor.stages.evaluate import METRICS
from tersor.stages.quantities import size
from tersor.stages.repair.goal import Goal
from tersor.stages.search.front import is_too_noisy
from tersor.stages.search.reasons import loss
from tersor.stages.side_by_side import Pair, Side


def sides_table(sides: Sequence[Side]) -> Table:
    """A row per file; ratios are to the first."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("model", no_wrap=True)
    for title in ("size", "gzip", "ms (p95)", "x first [95 %]", "runs", "memory"):
        table.add_column(title, justify="right", no_wrap=True)
    if any(side.score is not None for side in sides):
        table.add_column(next(side.score.metric for side in sides if side.score is not None), justify="right")
    for side in sides:
        cells = [side.name, size(side.size_bytes), size(side.gzip_bytes), *_times(side)]
        cells.append("" if side.peak_bytes is None else size(side.peak_bytes))
        if side.score is not None:
            cells.append(f"{100 * side.score.value:.1f} %" if side.score.is_share else f"{side.score.value:.4g}")
        table.add_row(*map(escape, cells))
    return table


def operators_table(name: str, found: Profile) -> Table:
    """What kinds of operators take of a run, the longest first, and what is left for the runtime itself."""
    kinds: dict[tuple[str, str], list[float]] = {}
    for item in found.operators:
        kinds.setdefault((item.kind, "XNNPACK" if item.node is None else "builtin"), []).append(item.us)
    rest = found.total_us - sum(item.us for item in found.operators)
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column(f"{name}: operators", no_wrap=True)
    for title in ("kernels", "count", "us", "share"):
        table.add_column(title, justify="right", no_wrap=True)
    rows = [(kind, kernels, str(len(own)), sum(own)) for (kind, kernels), own in kinds.items()]
    rows = [*sorted(rows, key=lambda row: -row[3]), ("(the rest)", "", "", max(rest, 0.0))]
    for kind, kernels, count, us in rows:
        shown = f"{us:.1f}" if us or kernels != "XNNPACK" else "< 1 each"
        table.add_row(escape(kind), kernels, count, shown, f"{100 * us / found.total_us:.1f} %")
    return table


def profile_to_dict(found: Profile, names: Sequence[str]) -> dict[str, Any]:
    """Every operator in the order in which it ran; `names` are those of the graph's operators."""
    return {
        "total_us": found.total_us,
        "runs": found.runs,
        "operators": [
            {
                "kind": item.kind,
                "name": names[item.node] if item.node is not None and item.node < len(names) else None,
                "kernels": "xnnpack" if item.node is None else "builtin",
                "us": item.us,
            }
            for item in found.operators
        ],
    }


_SLIGHT = 0.002
"""A loss that is to be expected is said from here, a fifth of a point."""


def pair_headline(pair: Pair, goal: Goal) -> str:
    """What somebody in a hurry wants to know of the second, B, beside the first, A."""
    parts = [_quality(pair, goal), words.times_smaller(pair.second.size_bytes / pair.first.size_bytes)]
    timing = pair.second.timing
    if timing is not None:
        low, high = timing.ratio_interval
        speed = "as fast as before" if low <= 1 <= high else words.times_faster(timing.ratio)
        parts.append("its time too noisy to tell" if is_too_noisy(timing.ratio_interval) else speed)
    return f"B beside A: {', '.join(part.removesuffix(' as before') for part in parts)}"


def _quality(pair: Pair, goal: Goal) -> str:
    figures, metric = pair.figures, pair.metric
    if figures.sqnr_db == math.inf:
        return "the same outputs"
    change = figures.change
    if change is None or metric is None:
        if figures.agreement is None:
            return f"noise of {100 * 10 ** (-figures.sqnr_db / 10):.2g} % of the signal"
        return f"the same answer on {100 * figures.agreement:.1f} % of {figures.samples} samples"
    if not change.is_significant:
        expected = next((item for item in goal.readings(figures) if item.name == "expected"), None)
        if expected is not None and expected.interval[0] > _SLIGHT:
            return (
                f"likely WORSE: {100 * expected.value:.1f} points of {metric} are to be expected from the answers that "
                f"change (measured: {100 * change.value:+.1f}, which may be chance)"
            )
        return f"as good in {metric} (as far as {figures.samples} samples tell)"
    much = f"{100 * abs(change.value):.1f} points" if goal.kind == "points" else f"{abs(change.value):.3g}"
    if metric not in METRICS:
        return f"{metric} is {much} {'higher' if change.value > 0 else 'lower'}"
    return f"{'BETTER' if (change.value > 0) != (metric == 'mse') else 'WORSE'} by {much} of {metric}"


def pair_notes(pair: Pair, goal: Goal) -> list[str]:
    """What the second does otherwise, in sentences with figures."""
    figures, found = pair.figures, []
    if goal.kind in ("points", "relative"):
        found.append(f"B {beside_a(loss(goal, figures))}")
    if figures.agreement is not None:
        found.append(
            f"same answer on {100 * figures.agreement:.1f} % of {figures.samples} samples, be it right or wrong"
        )
    if figures.sqnr_db < math.inf:
        found.append(f"SQNR of B's outputs, with A's as the signal: {figures.sqnr_db:.1f} dB")
    found.append("ms, x first: each run in turn with A, on this machine; memory: peak growth of a fresh process")
    return found


def beside_a(text: str) -> str:
    """What is said of a float model and another one, as of A and B."""
    return text.replace("the float model's", "A's").replace("float", "A")


def pair_to_dict(pair: Pair, goal: Goal, verdict: str | None) -> dict[str, Any]:
    """Everything, as JSON has it."""
    figures = pair.figures
    return {
        "first": side_to_dict(pair.first),
        "second": side_to_dict(pair.second),
        "samples": figures.samples,
        "agreement": figures.agreement,
        "sqnr_db": finite(figures.sqnr_db),
        "accuracy_change": change_to_dict(figures.change),
        "goal": None if verdict is None else str(goal),
        "verdict": verdict,
    }


def side_to_dict(side: Side) -> dict[str, Any]:
    """One file, as JSON has it."""
    return {
        "file": side.name,
        "size_bytes": side.size_bytes,
        "gzip_bytes": side.gzip_bytes,
        **timing_to_dict(side.timing),
        "peak_bytes": side.peak_bytes,
        "accuracy": score_to_dict(side.score),
    }


def _times(side: Side) -> tuple[str, str, str]:
    timing = side.timing
    if timing is None:
        return "", "", ""
    low, high = timing.ratio_interval
    ratio = f"{timing.ratio:.2f} [{low:.2f}, {high:.2f}]"
    return f"{timing.median_ms:.3g} ({timing.p95_ms:.3g})", ratio, str(timing.runs)
