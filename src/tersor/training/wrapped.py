"""Weight quantizers in anybody's own Keras models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tersor.ir.graph import Array
from tersor.training.weight_quantizers import WeightQuantizer

_DEPTHWISE = (-2, -1)
"""The channels of a depthwise kernel [height, width, inputs, multiplier]."""


@keras.saving.register_keras_serializable("tersor")
class Quantized(keras.layers.Wrapper):  # type: ignore[misc]
    """A layer that computes with rounded weights, and whose own weights stay in float and are trained.

    Args:
        layer: any layer that keeps its weights in variables.
        quantizer: what rounds them; each kernel gets one of its own with these settings. Depthwise convolutions have
            their scales per channel however `axis` is set, unless that is None.
        kernels: the names of the layer's attributes that are rounded.
    """

    def __init__(
        self, layer: Any, quantizer: WeightQuantizer, kernels: Sequence[str] = ("kernel",), **kwargs: Any
    ) -> None:
        super().__init__(layer, **{"name": layer.name, **kwargs})
        self.kernels = tuple(kernels)
        depthwise = "Depthwise" in type(layer).__name__
        self._wanted = quantizer
        self.quantizers = [
            quantizer.like(
                _DEPTHWISE if quantizer.axis is not None and (depthwise or "depthwise" in name) else quantizer.axis
            )
            for name in self.kernels
        ]

    def build(self, input_shape: Any = None) -> None:
        """See Keras. Raises ValueError if the layer has no such kernel."""
        super().build(input_shape)
        for name, quantizer in zip(self.kernels, self.quantizers, strict=True):
            kernel = self._kernel(name)
            quantizer.attach(kernel.shape, lambda kernel=kernel: ops.convert_to_numpy(kernel))

    def call(self, inputs: Any, **kwargs: Any) -> Any:
        """What the layer answers with its weights rounded."""
        values = {id(variable): (variable, variable.value) for variable in self.layer.variables}
        for name, quantizer in zip(self.kernels, self.quantizers, strict=True):
            kernel = self._kernel(name)
            values[id(kernel)] = kernel, quantizer(ops.convert_to_tensor(kernel))
        with keras.StatelessScope(state_mapping=list(values.values())):
            return self.layer(inputs, **kwargs)

    def rounded(self) -> dict[str, Array]:
        """The weights that the layer computes with, by the attribute's name."""
        found = {}
        for name, quantizer in zip(self.kernels, self.quantizers, strict=True):
            codes, scale = quantizer.codes(ops.convert_to_tensor(self._kernel(name)))
            found[name] = ops.convert_to_numpy(codes * scale)
        return found

    def _kernel(self, name: str) -> Any:
        kernel = getattr(self.layer, name, None)
        if kernel is None or not hasattr(kernel, "assign"):
            what = f"layer {self.layer.name!r} ({type(self.layer).__name__})"
            raise ValueError(f"{what} has no weights {name!r}: give the names of its kernels")
        return kernel

    def get_config(self) -> dict[str, Any]:
        """The settings."""
        quantizer = keras.saving.serialize_keras_object(self._wanted)
        return {**super().get_config(), "quantizer": quantizer, "kernels": list(self.kernels)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Quantized:  # noqa: ARG003 (Keras's)
        """The layer again."""
        found = {**config, "quantizer": keras.saving.deserialize_keras_object(config["quantizer"])}
        found["layer"] = keras.saving.deserialize_keras_object(config["layer"])
        return cls(**found)


def baked(model: Any) -> Any:
    """A functional or sequential model without its `Quantized` wrappers: weights are what these made of them.

    It is what `tersor.load` reads and any exporter takes; per channel, int8 holds all such weights exactly.
    """

    def plain(layer: Any) -> Any:
        inner = layer.layer if isinstance(layer, Quantized) else layer
        return inner.__class__.from_config(inner.get_config())

    found = keras.models.clone_model(model, clone_function=plain)
    for before, after in zip(model.layers, found.layers, strict=True):
        if not isinstance(before, Quantized):
            after.set_weights(before.get_weights())
            continue
        after.set_weights(before.layer.get_weights())
        for name, values in before.rounded().items():
            getattr(after, name).assign(values)
    return found
