"""What an algorithm is.

An algorithm takes a layer whose weights are about to be rounded and returns it with better ones. The layers of a
network are taken in order, and what an algorithm is told of a layer's input comes from the quantized network up to
there, with the layers before already as they will be: it corrects what they leave over, too.

Every file of this folder has a function ``apply(layer: Layer) -> Layer``. A recipe lists algorithms in the order in
which they are applied to each layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from tersor.ir.graph import Array


class Moments(Protocol):
    """Statistics of a layer's input over the calibration samples and all positions; G, K as in `Layer`."""

    def mean(self) -> Array:
        """The mean in the quantized network, [G, K]."""

    def float_mean(self) -> Array:
        """The mean in the float network, [G, K]."""

    def covariance(self) -> Array | None:
        """The covariance in the quantized network, [G, K, K]; None where K is larger than the recipe's limit."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer ``y[g] = W[g] x[g] + b[g]`` with G groups, O outputs and K inputs (taps times channels) of each.

    Attributes:
        name: of the operator.
        weights: of the float model, [G, O, K] in float64.
        bias: of the float model, [G, O].
        scales: of the rounded weights, [G, O].
        limit: the largest integer that a weight may become; the smallest is its negative.
        rounded: the weights as they will be, integers times `scales`, [G, O, K].
        shifted: the bias as it will be, [G, O].
        moments: what is known of the input.
        notes: what was done, in words, for the plan.
    """

    name: str
    weights: Array
    bias: Array
    scales: Array
    limit: int
    rounded: Array
    shifted: Array
    moments: Moments
    notes: tuple[str, ...] = field(default=())

    def with_rounded(self, rounded: Array, note: str) -> Layer:
        """The layer with other rounded weights."""
        return replace(self, rounded=rounded, notes=(*self.notes, note))

    def with_shifted(self, shifted: Array, note: str) -> Layer:
        """The layer with another bias."""
        return replace(self, shifted=shifted, notes=(*self.notes, note))


def nearest(weights: Array, scales: Array, limit: int) -> Array:
    """Weights rounded to the nearest integer times their scale, [G, O, K]."""
    steps = scales[..., None]
    return np.asarray(np.clip(np.rint(weights / steps), -limit, limit) * steps)
