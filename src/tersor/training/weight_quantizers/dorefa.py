"""Equal steps between the ends of a squashed range."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tersor.training.weight_quantizers.contract import SMALLEST, Axes, WeightQuantizer, straight_through
from tersor.training.weight_quantizers.uniform import require_bits


@keras.saving.register_keras_serializable("tersor")
class DoReFa(WeightQuantizer):
    """Weights squashed by tanh and rounded to an even number of values (DoReFa-Net, Zhou et al. 2016, arXiv 1606.06160).

    None of them is 0: k bits are the odd integers up to 2^k - 1, so files need 4 bits for two or three, and 8 for more.

    Args:
        bits: 2 to 7; for one, see `Binary`.
        scaled: keep the weights' mean size, so that a network that was trained goes on where it was; otherwise they
            reach from -1 to 1, as in the paper.
        axis: see `WeightQuantizer`.
    """

    def __init__(self, bits: int = 2, *, scaled: bool = True, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(axis=axis, **kwargs)
        self.bits = require_bits(bits, 2, 7)
        self.scaled = scaled

    @property
    def levels(self) -> int:
        """See `WeightQuantizer`."""
        return int(2**self.bits - 1)

    def codes(self, weights: Any) -> tuple[Any, Any]:
        """See `WeightQuantizer`."""
        codes = 2 * ops.round(self._squashed(weights) * self.levels) - self.levels
        return codes, self._scale(weights, codes)

    def call(self, weights: Any) -> Any:
        """The rounded weights."""
        codes, scale = self.codes(weights)
        smooth = 2 * self._squashed(weights) * self.levels - self.levels
        return straight_through(smooth, codes) * ops.stop_gradient(scale)

    def _squashed(self, weights: Any) -> Any:
        """Between 0 and 1 (equation 9)."""
        found = ops.tanh(weights)
        largest = ops.max(ops.absolute(found), axis=self._reduced(len(weights.shape)), keepdims=True)
        return found / (2 * ops.maximum(largest, SMALLEST)) + 0.5

    def _scale(self, weights: Any, codes: Any) -> Any:
        size = self._mean(ops.absolute(weights)) / self._mean(ops.absolute(codes)) if self.scaled else 1 / self.levels
        return ops.maximum(size * ops.ones(self._spread(weights.shape)), SMALLEST)

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "bits": self.bits, "scaled": self.scaled}
