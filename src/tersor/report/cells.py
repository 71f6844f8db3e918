"""What stands in the tables of the terminal: a figure in as few characters as it needs, "" where there is none."""

from __future__ import annotations

import math

from tersor.stages.evaluate import Change, Score
from tersor.stages.quantities import size


def size_beside(count: int, reference: int) -> str:
    """A size, and how many times another it is."""
    return f"{size(count)} {count / reference:.2f}x"


def score(found: Score | None) -> str:
    """A score; shares in percent."""
    if found is None:
        return ""
    return f"{100 * found.value:.1f}" if found.is_share else f"{found.value:.4g}"


def change(found: Score | None, moved: Change | None) -> str:
    """What was gained or lost on the same samples; of the float model, its own interval."""
    if found is None:
        return ""
    unit, digits = (100, ".1f") if found.is_share else (1, ".3g")
    low, high = (unit * bound for bound in (moved or found).interval)
    if moved is None:
        return f"[{low:{digits}}, {high:{digits}}]"
    return f"{unit * moved.value:+{digits}} [{low:+{digits}}, {high:+{digits}}]"


def agreement(share: float | None) -> str:
    """How many of the answers are the same."""
    return "" if share is None else f"{100 * share:.1f}%"


def sqnr(decibel: float | None) -> str:
    """Signal over noise."""
    if decibel is None:
        return ""
    return "exact" if decibel == math.inf else f"{decibel:.1f}"
