"""Three values, of which one is 0."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.ir.graph import Array
from tersor.training.weight_quantizers.contract import SMALLEST, Axes, WeightQuantizer, straight_through

_THRESHOLD = 0.7
"""Of ternary weight networks, in parts of the weights' mean size (arXiv 1605.04711, equation 6)."""

_TRAINED_THRESHOLD = 0.05
"""Of trained ternary quantization, in parts of the largest weight (arXiv 1612.01064, section 3.1)."""

_STEPS = 7
"""The larger of two trained values in steps, so that both fit 4 bits."""


@keras.saving.register_keras_serializable("tersor")
class Ternary(WeightQuantizer):
    """-1, 0 or 1 times the mean size of those that are not 0 (TWN, Li et al. 2016, arXiv 1605.04711).

    Gradients pass rounding by.
    """

    @property
    def levels(self) -> int:
        """See `WeightQuantizer`."""
        return 1

    def codes(self, weights: Any) -> tuple[Any, Any]:
        """See `WeightQuantizer`."""
        sizes = ops.absolute(weights)
        large = ops.cast(sizes > _THRESHOLD * self._mean(sizes), "float32")
        scale = self._mean(sizes * large) / ops.maximum(self._mean(large), SMALLEST)
        return ops.sign(weights) * large, ops.maximum(scale, SMALLEST)

    def call(self, weights: Any) -> Any:
        """Three values per scale."""
        codes, scale = self.codes(weights)
        return straight_through(weights, codes * scale)


@keras.saving.register_keras_serializable("tersor")
class TrainedTernary(WeightQuantizer):
    """0, a learned positive and a learned negative value (TTQ, Zhu et al. 2016, arXiv 1612.01064).

    Files have no such pair, but integers times one scale: the smaller of the two is kept at a whole number of sevenths
    of the larger, which 4 bits hold.

    Args:
        threshold: weights up to this share of the largest become 0.
        axis: see `WeightQuantizer`.
    """

    def __init__(self, threshold: float = _TRAINED_THRESHOLD, *, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(axis=axis, **kwargs)
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold is {threshold!r}: it must be a share of the largest weight, 0 to 1")
        self.threshold = threshold

    def build(self, shape: Any) -> None:
        """See Keras."""
        self.positive = self._learn("positive", shape, lambda weights: self._mean_beyond(weights, 1))
        self.negative = self._learn("negative", shape, lambda weights: self._mean_beyond(weights, -1))
        self.built = True

    @property
    def levels(self) -> int:
        """See `WeightQuantizer`."""
        return _STEPS

    def codes(self, weights: Any) -> tuple[Any, Any]:
        """See `WeightQuantizer`."""
        above, below = self._masks(weights)
        scale = self._step()
        high, low = (ops.round(value / scale) for value in self._values())
        return above * high - below * low, scale

    def call(self, weights: Any) -> Any:
        """Three values per scale; each of the learned ones gets the gradient of the weights that take it."""
        above, below = self._masks(weights)
        scale = ops.stop_gradient(self._step())
        high, low = (straight_through(value, ops.round(value / scale) * scale) for value in self._values())
        slope = ops.stop_gradient(above * high + below * low + (1 - above - below))  # equation 8
        return above * high - below * low + slope * (weights - ops.stop_gradient(weights))

    def _masks(self, weights: Any) -> tuple[Any, Any]:
        limit = self.threshold * ops.max(ops.absolute(weights), axis=self._reduced(len(weights.shape)), keepdims=True)
        return ops.cast(weights > limit, "float32"), ops.cast(weights < -limit, "float32")

    def _values(self) -> tuple[Any, Any]:
        high, low = (ops.convert_to_tensor(value) for value in (self.positive, self.negative))
        return ops.maximum(high, 0.0), ops.maximum(low, 0.0)

    def _step(self) -> Any:
        return ops.maximum(ops.maximum(*self._values()), SMALLEST) / float(_STEPS)

    def _mean_beyond(self, weights: Array, sign: int) -> Array:
        reduced = self._reduced(weights.ndim)
        limit = self.threshold * np.max(np.abs(weights), axis=reduced, keepdims=True)
        chosen = sign * weights > limit
        total = np.sum(np.where(chosen, np.abs(weights), 0), axis=reduced, keepdims=True)
        return np.asarray(total / np.maximum(chosen.sum(axis=reduced, keepdims=True), 1), np.float32)

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "threshold": self.threshold}
