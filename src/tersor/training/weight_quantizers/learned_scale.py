"""Equal steps that are learned."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.ir.graph import Array
from tersor.training.weight_quantizers.contract import SMALLEST, Axes, WeightQuantizer, straight_through
from tersor.training.weight_quantizers.uniform import require_bits

_CANDIDATES = np.linspace(0.2, 1.0, 41)
"""Steps that are tried to begin with, in parts of the one that reaches the largest weight."""


@keras.saving.register_keras_serializable("tersor")
class LearnedScale(WeightQuantizer):
    """Equal steps whose width is a weight of its own (LSQ, Esser et al. 2020, arXiv 1902.08153).

    It begins with the width of the least squared error.

    Args:
        bits: 2 to 8; the lowest integer stays unused, as in files.
        axis: see `WeightQuantizer`.
    """

    def __init__(self, bits: int = 4, *, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(axis=axis, **kwargs)
        self.bits = require_bits(bits, 2, 8)

    def build(self, shape: Any) -> None:
        """See Keras."""
        self.scale = self._learn("scale", shape, self._best)
        self.built = True

    @property
    def levels(self) -> int:
        """See `WeightQuantizer`."""
        return int(2 ** (self.bits - 1) - 1)

    def codes(self, weights: Any) -> tuple[Any, Any]:
        """See `WeightQuantizer`."""
        scale = self._positive()
        return ops.round(ops.clip(weights / scale, -self.levels, self.levels)), scale

    def call(self, weights: Any) -> Any:
        """The weights, rounded to nearest."""
        scale = self._positive()
        share = 1 / math.sqrt(max(math.prod(weights.shape) / math.prod(scale.shape), 1) * self.levels)
        scale = scale * share + ops.stop_gradient(scale * (1 - share))  # section 2.2: gradients as large as weights'
        scaled = ops.clip(weights / scale, -float(self.levels), float(self.levels))
        return scale * straight_through(scaled, ops.round(scaled))

    def begin(self, scale: Array) -> None:
        """Take these scales, in the order of channels, as what is learned so far."""
        self.scale.assign(np.reshape(np.asarray(scale, np.float32), tuple(self.scale.shape)))

    def _positive(self) -> Any:
        return ops.maximum(ops.absolute(ops.convert_to_tensor(self.scale)), SMALLEST)

    def _best(self, weights: Array) -> Array:
        reduced = self._reduced(weights.ndim)
        widest = np.maximum(np.max(np.abs(weights), axis=reduced, keepdims=True), SMALLEST) / self.levels
        best, found = np.full(widest.shape, np.inf), widest
        for share in _CANDIDATES:
            codes = np.clip(np.rint(weights / (share * widest)), -self.levels, self.levels)
            errors = np.sum((codes * share * widest - weights) ** 2, axis=reduced, keepdims=True)
            found, best = np.where(errors <= best, share * widest, found), np.minimum(errors, best)
        return found

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "bits": self.bits}
