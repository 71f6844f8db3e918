"""How far apart two sets of outputs are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tersor.ir.graph import Array


def sqnr_db(reference: Array, other: Array) -> float:
    """Signal to quantization noise ratio in decibel: see `decibel`."""
    reference64, other64 = reference.astype(np.float64), other.astype(np.float64)
    return decibel(float(np.sum(reference64**2)), float(np.sum((reference64 - other64) ** 2)))


def signal_and_noise(references: Sequence[Array], others: Sequence[Array]) -> tuple[float, float]:
    """Sums of squares over all samples: of the reference, and of what the other differs from it."""
    signal = noise = 0.0
    for reference, other in zip(references, others, strict=True):
        wanted = reference.astype(np.float64)
        signal += float(np.sum(wanted**2))
        noise += float(np.sum((wanted - other) ** 2))
    return signal, noise


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


def median_interval(values: Sequence[float], z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of a median by order statistics, which assumes nothing of the distribution.

    The number of values below the median is binomial: that many places to each side of the middle (Conover 1999,
    Practical nonparametric statistics, 3.2). Below six values it is the whole range, and holds for less.
    """
    ordered = sorted(values)
    reach = z * math.sqrt(len(ordered)) / 2
    low = max(math.floor(len(ordered) / 2 - reach), 0)
    return ordered[low], ordered[len(ordered) - 1 - low]


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


def paired_proportion_interval(gained: int, lost: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % confidence interval of the difference of two proportions that were measured on the same samples.

    Half a sample is added to each cell of the table (Agresti and Min 2005, Simple improved confidence intervals for
    comparing matched proportions), so that it holds for few changes, too. Samples that count alike in both do not
    matter: that makes it much narrower than what two intervals of their own would tell.

    Args:
        gained: samples that count in the second only.
        lost: samples that count in the first only.
        trials: all samples.
        z: quantile of the normal distribution.
    """
    total = trials + 2
    difference = (gained - lost) / total
    error = z * math.sqrt(max((gained + lost + 1) - (gained - lost) ** 2 / total, 0.0)) / total
    return max(-1.0, difference - error), min(1.0, difference + error)


def paired_auc_interval(first: Array, second: Array, positive: Array, draws: int = 500) -> tuple[float, float]:
    """95 % confidence interval of the second's area under the ROC curve less the first's, by paired bootstrap.

    Args:
        first: scores [samples].
        second: scores of the same samples.
        positive: [samples], True for the positive class.
        draws: how often the samples are drawn anew (Efron and Tibshirani 1993, chapter 13), with a fixed seed.
    """
    generator = np.random.default_rng(0)
    groups = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    found = []
    for _ in range(draws):
        drawn = np.concatenate([generator.choice(group, group.size) for group in groups])
        found.append(roc_auc(second[drawn], positive[drawn]) - roc_auc(first[drawn], positive[drawn]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def noise_shares(signal: Array, noise: Array, draws: int = 1000) -> Array:
    """Noise over signal of the worst output, for samples drawn anew (bootstrap, with a fixed seed), [draws].

    Two calls with as many samples draw the same ones, so that results of one quantizer divided by those of another are
    paired.

    Args:
        signal: sums of squares, [samples, outputs].
        noise: likewise, of the error.
        draws: how often the samples are drawn.
    """
    samples = len(signal)
    counts = np.random.default_rng(0).multinomial(samples, np.full(samples, 1 / samples), size=draws)
    return worst_share(counts @ signal, counts @ noise)


def worst_share(signal: Array, noise: Array) -> Array:
    """Noise over signal of the worst output: [..., outputs] -> [...]; infinite where there is noise and no signal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(noise > 0, np.asarray(noise, np.float64) / signal, 0.0)
    return np.asarray(shares.max(axis=-1))


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis, in float64."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
