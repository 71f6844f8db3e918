"""The same methods as one would write them first: what tersor's have to be ahead of.

Plain Keras layers in the place of a model's own. Every convolution and dense layer, the first and the last one too:

- binary: the sign of a weight, times one scale for the layer, the mean of its magnitudes; gradients as if it were not
  there;
- ternary: likewise, with 0 for weights of less than half of that mean;
- pruned: the smallest weights of each layer are zero from the first step on.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


def coarse(model: Any, threshold: float) -> Any:
    """The model with weights of two values; of three with a threshold, as a share of the mean magnitude."""

    def coded(kernel: Any) -> Any:
        size = ops.absolute(kernel)
        scale = ops.mean(size)
        codes = ops.where(size < threshold * scale, 0.0, ops.where(kernel < 0, -1.0, 1.0))
        return kernel + ops.stop_gradient(codes * scale - kernel)

    class Convolution(keras.layers.Conv2D):
        kernel = property(lambda self: coded(ops.convert_to_tensor(self._kernel)))

    class Dense(keras.layers.Dense):
        kernel = property(lambda self: coded(ops.convert_to_tensor(self._kernel)))

    kinds = {keras.layers.Conv2D: Convolution, keras.layers.Dense: Dense}

    def replaced(layer: Any) -> Any:
        return kinds.get(type(layer), type(layer)).from_config(layer.get_config())

    made = keras.models.clone_model(model, clone_function=replaced)
    made.set_weights(model.get_weights())
    return made


def pruned(model: Any, sparsity: float) -> Any:
    """The model whose smallest weights are zero, in each layer that share, and stay so."""
    sizes = {
        layer.name: np.abs(layer.get_weights()[0])
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    }
    masks = {name: size > np.quantile(size, sparsity) for name, size in sizes.items()}

    def constrained(layer: Any) -> Any:
        made = type(layer).from_config(layer.get_config())
        if layer.name in masks:
            mask = masks[layer.name].astype(np.float32)
            made.kernel_constraint = lambda kernel: kernel * mask
        return made

    made = keras.models.clone_model(model, clone_function=constrained)
    made.set_weights(model.get_weights())
    for layer in made.layers:
        if layer.name in masks:
            kernel, *others = layer.get_weights()
            layer.set_weights([kernel * masks[layer.name], *others])
    return made
