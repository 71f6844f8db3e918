"""Equal steps, the widest of which the largest weight decides."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tersor.training.weight_quantizers.contract import SMALLEST, Axes, WeightQuantizer, straight_through


@keras.saving.register_keras_serializable("tersor")
class Uniform(WeightQuantizer):
    """Equal steps up to the largest weight, as the planner chooses them for a file.

    Args:
        bits: 2 to 8; the lowest integer stays unused, as in files.
        axis: see `WeightQuantizer`.
    """

    def __init__(self, bits: int = 8, *, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(axis=axis, **kwargs)
        self.bits = require_bits(bits, 2, 8)

    @property
    def levels(self) -> int:
        """See `WeightQuantizer`."""
        return int(2 ** (self.bits - 1) - 1)

    def codes(self, weights: Any) -> tuple[Any, Any]:
        """See `WeightQuantizer`."""
        scale = self._scale(weights)
        return ops.round(weights / scale), scale

    def call(self, weights: Any) -> Any:
        """The weights, rounded to nearest."""
        scale = self._scale(weights)
        return scale * straight_through(weights / scale, ops.round(weights / scale))

    def _scale(self, weights: Any) -> Any:
        bounds = ops.max(ops.absolute(weights), axis=self._reduced(len(weights.shape)), keepdims=True)
        return ops.maximum(bounds, SMALLEST) / float(self.levels)

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "bits": self.bits}


def require_bits(bits: int, least: int, most: int) -> int:
    """A number of bits. Raises ValueError."""
    if not isinstance(bits, int) or not least <= bits <= most:
        raise ValueError(f"{bits!r} bits: a whole number from {least} to {most} is possible")
    return bits
