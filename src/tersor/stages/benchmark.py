"""How long models take on this machine, measured in turn so that its drift touches all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tersor.ir.graph import Array
from tersor.numerics.metrics import median_interval
from tersor.runtimes.engine import Handle

ROUNDS = 15
"""Turns in which every model is measured once; the median over turns is reported."""

_SLICE = 0.02
"""Seconds that one model is run in one turn, at least one run."""

_FEWEST = 5
"""Turns of models so slow that `ROUNDS` would take longer than `_PATIENCE`."""

_PATIENCE = 20.0
"""Seconds that all turns may take together, as long as there are `_FEWEST`."""


@dataclass(frozen=True)
class Timing:
    """Time of one run on this machine.

    Attributes:
        median_ms: median over the turns, milliseconds; of a turn the median over its runs counts, so that what else the
            machine does now and then does not.
        low_ms: the fastest turn.
        high_ms: the slowest turn.
        ratio: median over the turns of this model's time / the first model's time in the same turn.
        ratio_interval: 95 % confidence interval of it.
        p95_ms: 95 of 100 single runs took no longer.
        runs: how many there were.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    ratio: float
    ratio_interval: tuple[float, float]
    p95_ms: float
    runs: int


def benchmark(handles: Sequence[Handle], inputs: Sequence[Sequence[Array]], rounds: int = ROUNDS) -> list[Timing]:
    """Time loaded models, one after the other, round by round.

    Args:
        handles: the models; the first is the one that ratios refer to.
        inputs: the inputs of each.
        rounds: turns; fewer for models that are very slow.
    """
    begun = time.perf_counter()
    for handle, arrays in zip(handles, inputs, strict=True):
        handle.times(arrays, _SLICE)
    rounds = min(rounds, max(_FEWEST, int(_PATIENCE / (time.perf_counter() - begun))))
    turns = [
        [handle.times(arrays, _SLICE) for handle, arrays in zip(handles, inputs, strict=True)] for _ in range(rounds)
    ]
    medians = [[statistics.median(runs) for runs in turn] for turn in turns]
    timings = []
    for place in range(len(handles)):
        own = [turn[place] * 1000 for turn in medians]
        ratios = [turn[place] / turn[0] for turn in medians]
        single = sorted(run * 1000 for turn in turns for run in turn[place])
        timings.append(
            Timing(
                statistics.median(own),
                min(own),
                max(own),
                statistics.median(ratios),
                median_interval(ratios),
                single[-(-95 * len(single) // 100) - 1],
                len(single),
            )
        )
    return timings
