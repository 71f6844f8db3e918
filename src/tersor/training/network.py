"""A float model as a Keras model that trains, and back.

A layer per operator, under the names of the model, on any backend. What a file holds is what trains: convolutions with
their batch normalizations and activations are one layer each, so what is rounded in training is what is rounded on the
device.
"""

from __future__ import annotations

import base64
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.errors import UnsupportedError
from tersor.formats import tflite
from tersor.formats.keras.trained import ASSET
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Tensor
from tersor.ir.normal import Normal
from tersor.ops import LAYERS, layer_operands
from tersor.training.masking import Mask, Masking
from tersor.training.operator import Operator
from tersor.training.quantizer import Quantizer
from tersor.training.rounding import NOTHING, Rounding, Value

_FRAMES = 16
"""Of Python for each operator, at most: it has some layers, and each a few calls."""


class Clock(keras.layers.Layer):  # type: ignore[misc]
    """Counts the steps of training, and tells whether batch normalization is frozen."""

    def __init__(self, freeze_after: int | None) -> None:
        super().__init__(name="training_steps")
        self._freeze_after = freeze_after
        self.steps = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False, name="steps")

    def call(self, x: Any, training: bool = False) -> Any:
        """The input as it is."""
        if training:
            self.steps.assign(self.steps + 1)
        return x

    def now(self) -> Any:
        """The number of the step; the first is 1."""
        return ops.convert_to_tensor(self.steps)

    def compute_output_spec(self, x: Any, training: bool = False) -> Any:  # noqa: ARG002 (Keras's)
        """That of the input."""
        return keras.KerasTensor(x.shape, x.dtype)

    def frozen(self) -> Any:
        """Whether the steps before the freeze are over."""
        if self._freeze_after is None:
            return ops.zeros((), "bool")
        return ops.convert_to_tensor(self.steps) > self._freeze_after


class Dropout(keras.layers.Dropout):  # type: ignore[misc]
    """Keras's own, whose random numbers go on after loading where they were when it was saved."""

    def save_own_variables(self, store: Any) -> None:
        """Called by `save`."""
        store["0"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        """Called by `load_model`."""
        self.seed_generator.state.assign(store["0"])


@keras.saving.register_keras_serializable("tersor")
class Network(keras.Model):  # type: ignore[misc]
    """A float model as a Keras model: `compile`, `fit`, `save` and the rest are Keras's.

    Args:
        source: a float model, simplified (`tersor.optimize`).
        rounding: what is rounded in training; nothing by default.
        freeze_after: the step from which on batch normalization uses its moving statistics; None: never.
        masking: layers by their operators' names, and which of their weights become or stay zeros.

    Raises UnsupportedError for what cannot be trained, by operator.
    """

    def __init__(
        self,
        source: Model,
        rounding: Rounding | None = None,
        freeze_after: int | None = None,
        masking: Mapping[str, Masking] | None = None,
    ) -> None:
        rounding = rounding or Rounding()
        inputs, outputs = _Builder(source.graph, rounding, freeze_after, masking or {}).run()
        with _recursion_for(len(source.graph.ops)):
            super().__init__(inputs=inputs, outputs=outputs, name=_layer_name(source.graph.name or "network"))
        self.source = source
        self.rounding = rounding
        self.freeze_after = freeze_after

    def operators(self) -> list[Operator]:
        """The layers that are operators of the model."""
        return [layer for layer in self.layers if isinstance(layer, Operator)]

    def quantizers(self) -> dict[str, Quantizer]:
        """What rounds activations, by their name."""
        return {layer.of: layer for layer in self.layers if isinstance(layer, Quantizer) and layer.of}

    def trained(self) -> Model:
        """The float model with what was learned."""
        graph = self.source.graph
        changed: dict[str, Tensor] = {}
        replaced: dict[str, tuple[Op, ...]] = {}
        for layer in self.operators():
            op, names = layer.op, list(layer.op.inputs)
            for index, values in layer.constants().items():
                before = graph.operand(op, index)
                name = op.name + "/bias" if before is None else before.name
                if name in changed or before is None:
                    name = graph.fresh_name(name, changed)
                like = before or Tensor(name, values.shape, DType.FLOAT32)
                changed[name] = replace(like, name=name, dtype=DType.FLOAT32).with_data(values, shape=values.shape)
                names += [None] * (index + 1 - len(names))
                names[index] = name
            normal = layer.normal()
            if normal is not None:
                result = graph.tensors[op.outputs[0]]
                assert result.normal is not None
                changed[result.name] = replace(result, normal=result.normal.moved_to(normal))
            if tuple(names) != op.inputs:
                replaced[op.name] = (replace(op, inputs=tuple(names)),)
        return self.source.with_graph(graph.edit(replace_ops=replaced, tensors=changed.values()))

    def exported(self) -> Model:
        """The float model as it is saved beside the weights, for readers without Keras."""
        return self.trained()

    def save_assets(self, dir_path: str) -> None:
        """Called by `save`: what `tersor quantize` and all other commands read of the file."""
        tflite.write(self.exported(), Path(dir_path) / ASSET)

    def load_assets(self, dir_path: str) -> None:
        """Called by Keras, which has all that it needs in the weights."""

    def get_config(self) -> dict[str, Any]:
        """The architecture without its weights."""
        skeleton = zlib.compress(tflite.write_bytes(_without_values(self.source)))
        return {
            "skeleton": base64.b64encode(skeleton).decode("ascii"),
            "normalized": self._normalized(),
            "rounding": self.rounding.to_config(),
            "freeze_after": self.freeze_after,
            "masking": {layer.op.name: own.to_config() for layer in self.operators() if (own := layer.masking)},
        }

    def _normalized(self) -> dict[str, tuple[float, float]]:
        """Where results of layers with batch normalization are clamped."""
        results = (layer.op.outputs[0] for layer in self.operators() if layer.normalizes)
        known = {name: self.source.graph.tensors[name].normal for name in results}
        return {name: (own.low, own.high) for name, own in known.items() if own is not None}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Network:  # noqa: ARG003 (Keras's)
        """The architecture again; Keras then loads its weights."""
        return cls(*architecture(config), config["freeze_after"], masking_of(config))


def architecture(config: dict[str, Any]) -> tuple[Model, Rounding]:
    """What the configuration of a `Network` states: the model, with weights of no meaning, and what is rounded."""
    model = tflite.read_bytes(zlib.decompress(base64.b64decode(config["skeleton"])))
    graph = model.graph
    stated = []
    for name, clamped in config["normalized"].items():
        channels = graph.tensors[name].shape[-1]
        stated.append(replace(graph.tensors[name], normal=Normal((0.0,) * channels, (1.0,) * channels, *clamped)))
    return model.with_graph(graph.edit(tensors=stated)), Rounding.of_config(config["rounding"])


def masking_of(config: dict[str, Any]) -> dict[str, Masking]:
    """What the configuration of a `Network` states of zeros, by operator."""
    return {name: Masking.of_config(own) for name, own in config.get("masking", {}).items()}


class _Builder:
    """Calls one layer after the other."""

    def __init__(
        self, graph: Graph, rounding: Rounding, freeze_after: int | None, masking: Mapping[str, Masking]
    ) -> None:
        self._graph = graph
        self._masking = masking
        self._rounding = rounding
        self._clock = Clock(freeze_after)
        self._taken: set[str] = set()
        self._values: dict[str, Any] = {}
        self._readers: dict[tuple[str, int], Quantizer] = {}
        learned = rounding.learned
        self._quantizers = {
            name: Quantizer(self._name(f"{name}_rounded"), own, of=name, learned=learned)
            for name, own in rounding.values.items()
        }
        for names in rounding.groups:
            for name in names:
                self._quantizers[name].share([self._quantizers[other] for other in names])

    def run(self) -> tuple[list[Any], list[Any]]:
        for end, names in (("input", self._graph.inputs), ("output", self._graph.outputs)):
            for name in names:
                shape = self._graph.tensors[name].shape
                if shape[:1] != (1,):
                    raise UnsupportedError(
                        f"{end} {name!r} has shape {list(shape)}: no first axis of samples to train on"
                    )
        inputs = []
        for name in self._graph.inputs:
            tensor = self._graph.tensors[name]
            dtype = str(tensor.dtype)
            inputs.append(keras.Input(batch_shape=(None, *tensor.shape[1:]), dtype=dtype, name=self._name(name)))
            self._put(name, self._clock(inputs[-1]) if name == self._graph.inputs[0] else inputs[-1])
        for op in self._graph.ops:
            scheme = self._rounding.schemes.get(op.name, NOTHING)
            own = self._masking.get(op.name)
            mask = None if own is None else Mask(own, op.kind, self._clock.now)
            layer = Operator(op, self._graph, self._name(op.name), self._clock.frozen, scheme, mask)
            results = layer(*(self._read(op, i) for i, name in enumerate(op.inputs) if self._is_computed(name)))
            self._tell_scale(layer)
            layer.penalize(self._rounding.penalties.get(op.name))
            for name, value in zip(op.outputs, results if isinstance(results, list) else [results], strict=True):
                self._put(name, value)
        return inputs, [self._values[name] for name in self._graph.outputs]

    def _is_computed(self, name: str | None) -> bool:
        tensor = None if name is None else self._graph.tensors[name]
        return tensor is not None and not tensor.is_constant and not tensor.is_variable

    def _put(self, name: str, value: Any) -> None:
        quantizer, noise = self._quantizers.get(name), self._rounding.noise.get(name)
        value = value if quantizer is None else quantizer(value)
        if noise is not None:
            seed = zlib.crc32(name.encode()) >> 1  # without one, PyTorch draws from a state that nobody saves
            value = Dropout(noise[0], noise[1], seed, name=self._name(f"{name}_dropout"))(value)
        self._values[name] = value

    def _read(self, op: Op, index: int) -> Any:
        name = op.inputs[index]
        assert name is not None
        wanted = self._rounding.operands.get((op.name, index))
        if wanted is None:
            return self._values[name]
        label, learned = self._name(f"{op.name}_operand_{index}"), self._rounding.learned
        if isinstance(wanted, Value):
            own = Quantizer(label, wanted, of=label, learned=learned)
            self._readers[op.name, index] = own
            return own(self._values[name])
        own = Quantizer(label, self._rounding.values[wanted], of=None, learned=learned)
        own.share(self._quantizers[wanted].shared_with())
        self._readers[op.name, index] = own
        return own(self._values[name])

    def _tell_scale(self, layer: Operator) -> None:
        """Tell a layer with weights in which integers it is given its input."""
        op = layer.op
        if op.kind in LAYERS:
            index = layer_operands(op.kind).data
            quantizer = self._readers.get((op.name, index), self._quantizers.get(op.inputs[index] or ""))
            if quantizer is not None:
                layer.reads_in(quantizer.scale)

    def _name(self, wish: str) -> str:
        name, number = _layer_name(wish), 2
        while name in self._taken:
            name, number = f"{_layer_name(wish)}_{number}", number + 1
        self._taken.add(name)
        return name


@contextmanager
def _recursion_for(operators: int) -> Iterator[None]:
    """Let Keras, which follows a network from its end layer by layer, go as deep as the network is."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual + _FRAMES * operators)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


def _layer_name(name: str) -> str:
    """A name as Keras and its backends allow them."""
    name = re.sub(r"[^A-Za-z0-9_\-]", "_", name)
    return name if re.match(r"[A-Za-z0-9]", name) else f"layer{name}"


def _without_values(model: Model) -> Model:
    graph = model.graph
    emptied = [
        tensor.with_data(np.zeros(tensor.shape, np.float32))
        for tensor in graph.tensors.values()
        if tensor.is_constant and tensor.dtype is DType.FLOAT32 and tensor.elements > 1
    ]
    return model.with_graph(graph.edit(tensors=emptied))
