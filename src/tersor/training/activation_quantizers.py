"""Activations of few bits, as layers for anybody's own models.

What they answer is a whole number of steps, from 0 on: they belong behind a ReLU (which they contain).
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from tersor.training.weight_quantizers.contract import SMALLEST, straight_through
from tersor.training.weight_quantizers.uniform import require_bits


@keras.saving.register_keras_serializable("tersor")
class Pact(keras.layers.Layer):  # type: ignore[misc]
    """Clipped where is learned (PACT, Choi et al. 2018, arXiv 1805.06085): what is clipped moves the bound.

    Args:
        bits: 1 to 8.
        clip: the bound to begin with.
        decay: L2 regularization of the bound, which keeps it from drifting off.
    """

    def __init__(self, bits: int = 4, clip: float = 6.0, decay: float = 1e-4, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.bits, self.clip, self.decay = require_bits(bits, 1, 8), clip, decay

    def build(self, shape: Any) -> None:  # noqa: ARG002 (Keras's)
        """See Keras."""
        begin, decay = keras.initializers.Constant(self.clip), keras.regularizers.L2(self.decay)
        self.bound = self.add_weight(shape=(), initializer=begin, regularizer=decay, name="bound", dtype="float32")
        self.built = True

    def call(self, x: Any) -> Any:
        """The values between 0 and the bound, rounded."""
        return pact(x, ops.maximum(ops.convert_to_tensor(self.bound), SMALLEST), 2**self.bits - 1)

    def compute_output_shape(self, shape: Any) -> Any:
        """That of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "bits": self.bits, "clip": self.clip, "decay": self.decay}


@keras.saving.register_keras_serializable("tersor")
class LearnedStep(keras.layers.Layer):  # type: ignore[misc]
    """Steps whose width is learned (LSQ, Esser et al. 2020, arXiv 1902.08153).

    Args:
        bits: 1 to 8.
        clip: the largest value to begin with.
    """

    def __init__(self, bits: int = 4, clip: float = 6.0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.bits, self.clip = require_bits(bits, 1, 8), clip

    def build(self, shape: Any) -> None:  # noqa: ARG002 (Keras's)
        """See Keras."""
        begin = keras.initializers.Constant(self.clip / (2**self.bits - 1))
        self.step = self.add_weight(shape=(), initializer=begin, name="step", dtype="float32")
        self.built = True

    def call(self, x: Any) -> Any:
        """The values from 0 on, rounded."""
        levels = float(2**self.bits - 1)
        share = 1 / math.sqrt(math.prod(size or 1 for size in x.shape[1:]) * levels)
        step = ops.maximum(ops.absolute(ops.convert_to_tensor(self.step)), SMALLEST)
        step = step * share + ops.stop_gradient(step * (1 - share))
        scaled = ops.clip(x / step, 0.0, levels)
        return step * straight_through(scaled, ops.round(scaled))

    def compute_output_shape(self, shape: Any) -> Any:
        """That of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "bits": self.bits, "clip": self.clip}


@keras.saving.register_keras_serializable("tersor")
class DoReFaActivation(keras.layers.Layer):  # type: ignore[misc]
    """Values from 0 to 1 in equal steps (DoReFa-Net, arXiv 1606.06160, equation 11).

    Args:
        bits: 1 to 8.
    """

    def __init__(self, bits: int = 2, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.bits = require_bits(bits, 1, 8)

    def call(self, x: Any) -> Any:
        """The values between 0 and 1, rounded."""
        return pact(x, ops.ones(()), 2**self.bits - 1)

    def compute_output_shape(self, shape: Any) -> Any:
        """That of the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "bits": self.bits}


@keras.saving.register_keras_serializable("tersor")
class Sign(keras.layers.Layer):  # type: ignore[misc]
    """-1 or 1 (binarized networks, Courbariaux et al. 2016, arXiv 1602.02830); gradients pass between these."""

    def call(self, x: Any) -> Any:
        """The sign of each value."""
        return straight_through(ops.clip(x, -1.0, 1.0), ops.where(x >= 0, 1.0, -1.0))

    def compute_output_shape(self, shape: Any) -> Any:
        """That of the input."""
        return shape


def pact(x: Any, bound: Any, levels: int) -> Any:
    """Values clipped to [0, bound] in so many steps; what is clipped has its gradient go to the bound."""
    step = ops.stop_gradient(bound) / levels
    clipped = ops.minimum(ops.relu(x), bound)
    return straight_through(clipped, ops.round(clipped / step) * step)
