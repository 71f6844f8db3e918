"""Refits the weights to what their inputs became.

``W* = argmin E |W x - W* x'|^2``, with the input x of the float network and x' of the quantized one, means apart
(`bias_correction` keeps these): ``W* = W + W (E[x x'^T] - C) (C + r I)^-1`` with the covariance C of x'. What earlier
layers lost is made up for as far as it is linear in what they kept, before anything is rounded; rounding then comes
near to it instead of W.

Each output is then scaled to the variance that it has in the float network. Least squares answer noise by making
outputs small, and while noise averages out over the positions and channels that later layers sum up, a gain that is
lost stays lost: in a MobileNetV2 with random weights, whose inputs are noisy, every layer came nearer to float and the
logits out at 0.78 of their size, 2 dB worse than without. Of all weights that keep the variance,
``S W*`` correlate best with the float output, and have the least error.

The ridge r is chosen per layer by cross-validation over disjoint samples: where the fit to one part makes the other
worse, as it does in last layers with their many inputs and few positions, the weights stay as they are.

Least squares per layer on the quantized network's own inputs: He et al. 2017 (Channel Pruning, arXiv 1707.06168,
equation 4), Hubara et al. 2020 (arXiv 2006.10518, section 3). Costs a solution of K equations per group and ridge. It
hurts where the samples do not stand for the data; the cross-validation does not see that.
"""

from __future__ import annotations

import numpy as np

from tersor.algorithms._contract import Layer, damped, output_error
from tersor.ir.graph import Array
from tersor.numerics.metrics import decibel

_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Shares of the mean variance."""

_WORTH = 0.02
"""Share of the error that a fit has to take away on samples that it has not seen."""

_EXACT = 1e-9
"""Share of the outputs' variance below which an error is one of float64 arithmetic."""


def apply(layer: Layer) -> Layer:
    """The layer with other weights to round; as it is where that would not help, or the covariances are not known."""
    found = layer.moments.folds()
    if found is None or len(found[0]) < 2:
        return layer
    folds = [_Fit(layer.weights, *fold) for fold in zip(*found, strict=True)]
    others = [_Fit(layer.weights, *_without(found, place)) for place in range(len(folds))]
    before = sum(fold.error(layer.weights) for fold in folds)
    unseen = [
        sum(fold.error(other.refit(ridge)) for fold, other in zip(folds, others, strict=True)) for ridge in _RIDGES
    ]
    best = int(np.argmin(unseen))
    exact = _EXACT * sum(fold.power for fold in folds)
    if before <= exact or not unseen[best] < (1 - _WORTH) * before:
        return layer
    target = _Fit(layer.weights, *(part.mean(0) for part in found)).refit(_RIDGES[best])
    gain = decibel(before, max(unseen[best], exact))
    return layer.with_target(target, f"weights refit to what reaches them, error {gain:.1f} dB lower on other samples")


def _without(found: tuple[Array, Array, Array], place: int) -> tuple[Array, ...]:
    """The covariances of all folds but one."""
    return tuple(np.delete(part, place, axis=0).mean(0) for part in found)


class _Fit:
    """Weights W [G, O, K] with what reaches them; what does not depend on the fit is computed once.

    Args:
        weights: W.
        own: C.
        crossed: E[x x'^T].
        floats: E[x x^T]; all three [G, K, K].
    """

    def __init__(self, weights: Array, own: Array, crossed: Array, floats: Array) -> None:
        self._weights = weights
        self._own = own
        self._crossed = weights @ crossed
        self._missed = (weights @ (crossed - own)).transpose(0, 2, 1)
        self._wanted = output_error(weights, floats)

    @property
    def power(self) -> float:
        """The variance of the float outputs, summed over them."""
        return float(self._wanted.sum())

    def refit(self, ridge: float) -> Array:
        """S W*, [G, O, K]."""
        found = self._weights + np.linalg.solve(damped(self._own, ridge), self._missed).transpose(0, 2, 1)
        wanted, given = self._wanted, output_error(found, self._own)
        known = (wanted > 0) & (given > 0)
        factors = np.sqrt(np.divide(wanted, given, out=np.ones_like(wanted), where=known))
        return np.asarray(found * factors[..., None])

    def error(self, target: Array) -> float:
        """``E|W x - V x'|^2`` over all outputs, V = `target`: ``V C V^T - 2 W E[x x'^T] V^T + W E[x x^T] W^T``."""
        return float(((target @ self._own - 2 * self._crossed) * target).sum() + self._wanted.sum())
