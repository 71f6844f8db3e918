"""Whether two files differ, when both answered the same samples: tests for shares, a bootstrap for noise."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

RESAMPLES = 10_000


def wilson(hits: Any, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a share (Wilson 1927). `hits` [samples], of bool."""
    count, share = len(hits), float(np.mean(hits))
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - spread), min(1.0, centre + spread)


def exact_mcnemar(ours: Any, theirs: Any) -> float:
    """Two-sided p of "both hit equally often" (McNemar 1947, exact): where only one of them hits, it is a coin flip."""
    return exact_flips(ours.astype(np.int64) - theirs.astype(np.int64))


def exact_flips(gained: Any) -> float:
    """Two-sided p of "neither is better": each sample's difference might as well have the other sign (Fisher 1935).

    Exact, over all signs, from the distribution of their sum.

    Args:
        gained: [samples], of int: by how many hits ours has more, over all that belongs to the sample.
    """
    sizes = np.abs(gained[gained != 0])
    total = int(sizes.sum())
    chances = np.zeros(total + 1)  # of the sum of the positive ones
    chances[0] = 1.0
    for size in sizes:
        chances /= 2
        chances[size:] += chances[: total + 1 - size].copy()
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(chances[np.abs(sums) >= abs(int(gained.sum()))].sum()))


@lru_cache(maxsize=1)
def resampled(count: int) -> Any:
    """How often each of `count` samples is in each resample: `[resamples, count]`, float64, always the same draw."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return drawn.astype(np.float64)


def bootstrap(ours: Any, theirs: Any) -> dict[str, Any]:
    """Our SQNR less theirs in decibel, with 95 % interval and two-sided p, from resampled samples (Efron 1979).

    Args:
        ours: [samples], squared error of our answers; the signal is the same for both and cancels.
        theirs: likewise.
    """
    drawn = resampled(len(ours))
    floor = np.finfo(np.float64).tiny  # a file without any error is infinitely far from one with some
    differences = 10 * np.log10(np.maximum(drawn @ theirs, floor) / np.maximum(drawn @ ours, floor))
    smaller = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return {
        "difference": 10 * math.log10(max(theirs.sum(), floor) / max(ours.sum(), floor)),
        "interval": [float(bound) for bound in np.quantile(differences, (0.025, 0.975))],
        "p": min(1.0, 2 * (smaller + 1) / (RESAMPLES + 1)),
    }


def resampled_shares(gained: Any, judged: Any) -> list[float]:
    """95 % interval of the sum of `gained` over that of `judged`, both [samples], from resampled samples."""
    drawn = resampled(len(gained))
    return [float(bound) for bound in np.quantile(drawn @ gained / (drawn @ judged), (0.025, 0.975))]
