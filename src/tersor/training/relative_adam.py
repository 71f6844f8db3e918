"""Adam whose steps are parts of what they change.

Adam moves every value by about the same, whatever its size. In a network with its normalizations folded, sizes differ
between channels by factors of thousands: what is a nudge to one is a blow to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.ir.graph import Array

_EPSILON = 1e-16
"""Beside gradients, which are as small as what they belong to is large."""


class RelativeAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam (Kingma and Ba 2014, arXiv 1412.6980) with a size per value, which the learning rate is multiplied with.

    Args:
        learning_rate: how much changes in a step, in parts of the size.
        sizes: by the variable's path, broadcast against it; 1 for others.
    """

    def __init__(self, learning_rate: float, sizes: Mapping[str, Array]) -> None:
        super().__init__(learning_rate, epsilon=_EPSILON)
        self._sizes = {name: np.asarray(size, np.float32) for name, size in sizes.items()}

    def build(self, variables: Any) -> None:
        """See Keras."""
        super().build(variables)
        self._in_order = [self._sizes.get(variable.path) for variable in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """See Keras."""
        size = self._in_order[self._get_variable_index(variable)]  # TensorFlow gives its own kind of variables here
        rate = learning_rate if size is None else ops.cast(learning_rate, "float32") * size
        super().update_step(gradient, variable, rate)
