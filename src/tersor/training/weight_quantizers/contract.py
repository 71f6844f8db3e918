"""What rounds the weights of a layer while it trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.ir.graph import Array

SMALLEST = 1e-9
"""Scales below this are of weights that are all 0."""

Axes = int | Sequence[int] | None


def straight_through(x: Any, rounded: Any) -> Any:
    """What was rounded, as if it were the original to gradients (Bengio et al. 2013, arXiv 1308.3432)."""
    return x + ops.stop_gradient(rounded - x)


class WeightQuantizer(keras.layers.Layer):  # type: ignore[misc]
    """Weights as small integers times a scale, in the forward pass; what is trained stays in float beside them.

    A subclass implements `codes` and `call`, which agree: `call` answers codes times scale, and has gradients.
    Called on a tensor alone it learns nothing but by its gradients; `attach` makes what it learns begin well.

    Args:
        axis: the axes of the weights along which scales vary, as for Keras's kernels -1, for depthwise ones (-2, -1);
            None for one scale.
    """

    def __init__(self, *, axis: Axes = -1, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.axis = tuple(axis) if isinstance(axis, Sequence) else axis
        self._start: Callable[[], Array] | None = None

    @property
    def levels(self) -> int:
        """The largest absolute value of a code."""
        raise NotImplementedError

    def codes(self, weights: Any) -> tuple[Any, Any]:
        """Integers, as floats in the shape of the weights, and scales that are broadcast against them."""
        raise NotImplementedError

    def attach(self, shape: Sequence[int], values: Callable[[], Array]) -> None:
        """Build for weights of this shape; what is learned begins with what suits `values`."""
        self._start = values
        if not self.built:
            self.build(tuple(shape))

    def compute_output_shape(self, shape: Any) -> Any:
        """That of the weights."""
        return shape

    def like(self, axis: Axes) -> WeightQuantizer:
        """Another one with the same settings, along other axes."""
        config = {key: value for key, value in self.get_config().items() if key != "name"}
        return type(self).from_config({**config, "axis": axis})  # type: ignore[no-any-return]

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config(), "axis": self.axis}

    def _reduced(self, rank: int) -> tuple[int, ...]:
        """The axes that share a scale."""
        kept = () if self.axis is None else (self.axis,) if isinstance(self.axis, int) else self.axis
        return tuple(place for place in range(rank) if place not in {axis % rank for axis in kept})

    def _spread(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of scales for weights of a shape."""
        reduced = self._reduced(len(shape))
        return tuple(1 if place in reduced else size for place, size in enumerate(shape))

    def _mean(self, values: Any) -> Any:
        return ops.mean(values, axis=self._reduced(len(values.shape)), keepdims=True)

    def _learn(self, name: str, shape: Sequence[int], start: Callable[[Array], Array]) -> Any:
        """A weight per scale, which begins with what follows from the weights; with 1 where these are not known."""

        def initial(wanted: Sequence[int], dtype: Any = None) -> Any:
            known = np.ones(tuple(wanted), np.float32) if self._start is None else start(self._start())
            return ops.convert_to_tensor(np.reshape(known, tuple(wanted)), dtype)

        return self.add_weight(
            shape=self._spread(shape), initializer=initial, name=name, dtype="float32", autocast=False
        )
