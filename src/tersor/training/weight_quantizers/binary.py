"""Two values."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tersor.training.weight_quantizers.contract import SMALLEST, WeightQuantizer, straight_through


@keras.saving.register_keras_serializable("tersor")
class Binary(WeightQuantizer):
    """The sign of each weight times their mean size (XNOR-Net, Rastegari et al. 2016, arXiv 1603.05279, section 3.1).

    Gradients pass the sign by where weights are within -1 and 1.
    """

    @property
    def levels(self) -> int:
        """See `WeightQuantizer`."""
        return 1

    def codes(self, weights: Any) -> tuple[Any, Any]:
        """See `WeightQuantizer`."""
        return _sign(weights), self._scale(weights)

    def call(self, weights: Any) -> Any:
        """Two values per scale."""
        return straight_through(ops.clip(weights, -1.0, 1.0), _sign(weights)) * self._scale(weights)

    def _scale(self, weights: Any) -> Any:
        return ops.maximum(self._mean(ops.absolute(weights)), SMALLEST)


def _sign(weights: Any) -> Any:
    return ops.where(weights >= 0, 1.0, -1.0)
