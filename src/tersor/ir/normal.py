"""How the channels of a value spread, as training left it known."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution per channel (the last axis), clamped.

    A batch normalization states it: it gives each channel the mean beta and the standard deviation gamma. What passes
    fold it into does not show that any longer, and so the value keeps it.

    Attributes:
        mean: of each channel, before it is clamped.
        deviation: likewise; not negative.
        low: what smaller values are clamped to, as by a fused ReLU.
        high: what larger values are clamped to.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    low: float = -math.inf
    high: float = math.inf

    def moved_to(self, other: Normal) -> Normal:
        """Clamped as this one, with the mean and deviation of another."""
        return Normal(other.mean, other.deviation, self.low, self.high)
