"""In which order to widen operators: what wins most noise for its cost comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tersor.stages.mixed_precision.sources import Source

_NEGLIGIBLE = 0.005
"""Share of all noise below which nothing is widened for its own sake."""


def ordered(
    noises: Mapping[Source, float], cost: Callable[[str], float], accepted: Callable[[frozenset[str]], bool]
) -> Iterator[tuple[frozenset[str], float]]:
    """Growing sets of operators with the share of the noise that each leaves.

    Greedy: each time the source is taken away that wins most noise for the cost of the operators it adds; sources that
    go away with it because all their operators are widened by then count, too. The last set holds the operators of all
    sources.

    Args:
        noises: of each source alone; noise powers are taken to add up.
        cost: of widening an operator.
        accepted: whether a set of operators can be widened.
    """
    total = sum(noises.values())
    chosen: frozenset[str] = frozenset()
    left = dict(noises)
    while left:
        ranked = sorted(left, key=lambda source: -_rate(source, chosen, left, cost))
        worth = [source for source in ranked if _won(source, chosen, left) > _NEGLIGIBLE * total]
        taken = next((chosen | source.operators for source in worth if accepted(chosen | source.operators)), None)
        if taken is None:
            break
        chosen = taken
        left = {source: noise for source, noise in left.items() if not source.operators <= chosen}
        yield chosen, sum(left.values()) / total if total else 0.0
    everything = frozenset(name for source in noises for name in source.operators)
    if everything != chosen and accepted(everything):
        yield everything, 0.0


def _won(source: Source, chosen: frozenset[str], left: Mapping[Source, float]) -> float:
    together = chosen | source.operators
    return sum(noise for other, noise in left.items() if other.operators <= together)


def _rate(source: Source, chosen: frozenset[str], left: Mapping[Source, float], cost: Callable[[str], float]) -> float:
    price = sum(cost(name) for name in source.operators - chosen)
    return _won(source, chosen, left) / price if price > 0 else 0.0
