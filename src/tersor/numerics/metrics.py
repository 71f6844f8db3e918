"""How far apart two sets of outputs are."""

from __future__ import annotations

import math

import numpy as np

from tersor.ir.graph import Array


def sqnr_db(reference: Array, other: Array) -> float:
    """Signal to quantization noise ratio in decibel: see `decibel`."""
    reference64, other64 = reference.astype(np.float64), other.astype(np.float64)
    return decibel(float(np.sum(reference64**2)), float(np.sum((reference64 - other64) ** 2)))


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two sums of squares.

    Infinite if there is no noise; minus infinity if there is noise and no signal.
    """
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a proportion (Wilson 1927), which stays in [0, 1] and holds for small counts."""
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - spread), min(1.0, centre + spread)


def mean_interval(values: Array, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a mean by the normal approximation. `values` [samples]."""
    mean = float(np.mean(values))
    if values.size < 2:
        return -math.inf, math.inf
    error = z * float(np.std(values, ddof=1)) / math.sqrt(values.size)
    return mean - error, mean + error


def roc_auc(scores: Array, positive: Array) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Args:
        scores: [samples].
        positive: [samples], True for the positive class.

    Raises ValueError if one class is missing.
    """
    positives, negatives = scores[positive], scores[~positive]
    if not positives.size or not negatives.size:
        raise ValueError("the area under the ROC curve needs samples of both classes")
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(below.sum() / (2 * positives.size * negatives.size))


def auc_interval(auc: float, positives: int, negatives: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of an area under the ROC curve (Hanley and McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc * auc) + (negatives - 1) * (q2 - auc * auc)
    error = z * math.sqrt(max(variance, 0.0) / (positives * negatives))
    return max(0.0, auc - error), min(1.0, auc + error)
