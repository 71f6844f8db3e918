"""What an algorithm is: one of two kinds.

Most take a layer whose weights are about to be rounded and return it with better ones. The layers of a network are
taken in order, and what an algorithm is told of a layer's input comes from the quantized network up to there, with the
layers before already as they will be: it corrects what they leave over, too. Their files have a function
``apply(layer: Layer) -> Layer``.

Others rewrite the float network before it is planned, such that it quantizes better and still computes the same on the
calibration data. Their files have a function ``rewrite(graph: Graph, ranges: ChannelRanges, scheme: Scheme) -> Graph``.
They change constants, and the last axis of activations with them: operators and names stay, so that what is known by
name stays true, but ranges change. They are told the numbers that most operators will compute with, and the ranges of
what layers with weights compute, or of the names that their function ``watched(graph)`` returns: all that was seen, or,
with ``AS_PLANNED = True``, without what the plan will clip.

A recipe lists algorithms in the order of their application; those that rewrite come first in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from tersor.ir.graph import Array

ChannelRanges = Mapping[str, tuple[Array, Array]]
"""For activations by name, the smallest and the largest value of each channel (the last axis) on the calibration data,
both [channels]."""


class Moments(Protocol):
    """Statistics of a layer's input over the calibration samples and all positions; G, K as in `Layer`."""

    def mean(self) -> Array:
        """The mean in the quantized network, [G, K]."""

    def float_response(self) -> Array:
        """The mean of ``W x`` in the float network, [G, O]."""

    def covariance(self) -> Array | None:
        """The covariance in the quantized network, [G, K, K]; None where K is larger than the recipe's limit."""

    def folds(self) -> tuple[Array, Array, Array] | None:
        """Covariances of each of a few disjoint parts of the samples, [folds, G, K, K].

        None as for `covariance`, and where there are too few positions to fit K weights to.

        Of the quantized network's input x' with itself, of the float network's input x with it, and of that with
        itself, all at the same positions of the same samples: ``E[x' x'^T]``, ``E[x x'^T]``, ``E[x x^T]``, less the
        products of the means.
        """

    def rows(self) -> tuple[Array, Array] | None:
        """The inputs themselves at some positions, [G, positions, K] in float32; None where there are too many.

        Of the quantized and of the float network, at the same positions of the same samples.
        """

    def expected(self, weights: Array) -> tuple[Array, Array] | None:
        """The mean of ``weights x`` for weights [G, O, K], and its standard error, both [G, O], without samples.

        With the float network's input x as batch normalizations state it; None where they do not.
        """


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer ``y[g] = W[g] x[g] + b[g]`` with G groups, O outputs and K inputs (taps times channels) of each.

    Attributes:
        name: of the operator.
        weights: of the float model, [G, O, K] in float64.
        bias: of the float model, [G, O].
        scales: of the rounded weights, [G, O].
        limit: the largest integer that a weight may become; the smallest is its negative.
        target: the weights that rounding shall come near to, [G, O, K]; the float model's at first.
        rounded: the weights as they will be, integers times `scales`, [G, O, K].
        shifted: the bias as it will be, [G, O].
        moments: what is known of the input.
        smallest_scales: below these the bias would not fit its integers, [G, O].
        clamp: the smallest and largest value that the activation function behind the layer lets pass and readers see.
        one_scale: whether the kernel takes one scale for all weights only.
        notes: what was done, in words, for the plan.
    """

    name: str
    weights: Array
    bias: Array
    scales: Array
    limit: int
    target: Array
    rounded: Array
    shifted: Array
    moments: Moments
    smallest_scales: Array
    clamp: tuple[float, float] = (-np.inf, np.inf)
    one_scale: bool = False
    notes: tuple[str, ...] = field(default=())

    def covariance(self, damping: float) -> Array | None:
        """The covariance of its input in the quantized network, `damped` by a share; None where that is not known."""
        known = self.moments.covariance()
        return None if known is None else damped(known, damping)

    def with_rounded(self, rounded: Array, note: str) -> Layer:
        """The layer with other rounded weights."""
        return replace(self, rounded=rounded, notes=(*self.notes, note))

    def with_shifted(self, shifted: Array, note: str) -> Layer:
        """The layer with another bias."""
        return replace(self, shifted=shifted, notes=(*self.notes, note))

    def with_target(self, target: Array, note: str) -> Layer:
        """The layer with other weights to round, rounded to the nearest integers."""
        return replace(self, target=target, rounded=nearest(target, self.scales, self.limit), notes=(*self.notes, note))

    def with_scales(self, scales: Array, rounded: Array, note: str) -> Layer:
        """The layer with other scales, and weights rounded with them."""
        return replace(self, scales=scales, rounded=rounded, notes=(*self.notes, note))


def nearest(weights: Array, scales: Array, limit: int) -> Array:
    """Weights rounded to the nearest integer times their scale, [G, O, K]."""
    steps = scales[..., None]
    found = np.asarray(weights / steps)
    np.rint(found, out=found)
    np.clip(found, -limit, limit, out=found)
    found *= steps
    return found


def damped(covariance: Array, share: float) -> Array:
    """A covariance [G, K, K] with a share of the mean variance added to each: what few samples do not know."""
    size = covariance.shape[-1]
    ridge = share * np.trace(covariance, axis1=1, axis2=2) / size
    ridge = np.where(ridge > 0, ridge, 1.0)  # inputs that never vary: any weights do
    return np.asarray(covariance + ridge[:, None, None] * np.eye(size))


def output_error(error: Array, covariance: Array) -> Array:
    """The variance of the outputs that an error [G, O, K] of the weights makes, [G, O]."""
    return np.asarray(np.sum((error @ covariance) * error, axis=-1))
