"""Walks a network call by call and emits operators for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tersor.errors import FormatError, ModelError, RecipeError, UnsupportedError
from tersor.formats.keras.architecture import find
from tersor.formats.keras.archive import Archive, open_archive
from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.config import Layer, Network, Ref, network_of
from tersor.formats.keras.inputs import InputShapes, emit_input
from tersor.formats.keras.layers import function_of
from tersor.formats.keras.layers.masks import carry_mask
from tersor.formats.keras.trained import read_trained
from tersor.formats.keras.weights import Weights
from tersor.ir.build import Builder
from tersor.ir.graph import Model, Signature

_CALL_LIMIT = 1_000_000
"""Calls of layers in all; NASNetLarge makes 1,500."""

_DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
"""What HDF5, and numbers and names that are something else, end in."""


def read(
    path: str | Path,
    input_shapes: InputShapes | None = None,
    batch: int = 1,
    architecture: str | Path | None = None,
    *,
    outlines_above: float = math.inf,
) -> Model:
    """Read a `.keras` or `.h5` file as a float model with a fixed batch.

    Args:
        path: the file.
        input_shapes: for an input's name (or "" for any), its sizes without the batch, where the file leaves some open.
        batch: samples that the model takes at once.
        architecture: of a file with nothing but weights; see `architecture.find`.
        outlines_above: of more bytes of weights than these, large ones are outlines (`ir.outline`), and not read.

    Returns:
        The model; its tensors are named after the layers that compute them.

    Raises:
        FormatError: the file is not a whole Keras model, or its parts do not fit each other.
        UnsupportedError: it holds a layer or an option that is not read; names it.
        RecipeError: an architecture is given for a file that has one.
    """
    path = Path(path)
    config = None if architecture is None else find(architecture)
    try:
        trained = read_trained(path, input_shapes or {}, batch)
        if trained is not None:
            if config is not None:
                raise RecipeError(f"{path}: holds its own architecture; leave out --architecture")
            return trained
        with open_archive(path, config, outlines_above=outlines_above) as archive:
            return model_of(archive, str(path), input_shapes or {}, batch)
    except ModelError as error:
        text = str(error)
        told = text if text.startswith(str(path)) else f"{path}: {text}"
        told += "" if config is None else f" (with the architecture {architecture})"
        raise type(error)(told) from error
    except _DAMAGE as error:
        raise FormatError(f"{path}: the file is damaged ({type(error).__name__}: {error})") from error


def model_of(archive: Archive, source: str, input_shapes: InputShapes, batch: int) -> Model:
    """The model that an opened file, or a live model, describes. Raises ModelError."""
    network = network_of(archive.config)
    walker = _Walker(archive.generation, input_shapes, batch)
    outputs = walker.network(network, archive.weights, None, "")
    made = walker.builder.model(outputs)
    model = made.with_graph(made.graph.pruned())  # layers make their constants before they know which they need
    for name in outputs:
        if batch > 1 and model.graph.tensors[name].shape[:1] != (batch,):
            shape = list(model.graph.tensors[name].shape)
            raise UnsupportedError(f"a batch of {batch} is not read: output {name!r} would have the shape {shape}")
    inputs = model.graph.inputs
    names = _distinct([ref.layer for ref in network.outputs])
    signature = Signature(
        "serving_default", tuple(zip(inputs, inputs, strict=True)), tuple(zip(names, outputs, strict=True))
    )
    return replace(model, description=f"Keras {archive.generation} model", signatures=(signature,), source=source)


class _Walker:
    """Emits a network's operators into one graph."""

    def __init__(self, generation: int, input_shapes: InputShapes, batch: int) -> None:
        self.builder = Builder("main")
        self._batch = batch
        self._masks: dict[str, Callable[[], str]] = {}
        self._generation = generation
        self._input_shapes = input_shapes
        self._count = 0

    def network(self, network: Network, weights: Weights, given: Sequence[str] | None, prefix: str) -> list[str]:
        """Emit a network.

        Args:
            network: what to emit.
            weights: its own.
            given: the tensors it is called with; None for the whole model, whose inputs are made.
            prefix: of its layers' names.

        Returns:
            The tensors of its outputs.
        """
        results = self._inputs(network, given)
        arrays = dict(zip([item.name for item in network.layers], weights.layers(_saved(network)), strict=True))
        waiting = [
            (layer, number)
            for layer in network.layers
            if layer.kind != "InputLayer"
            for number in range(len(layer.calls))
        ]
        while waiting:
            later = []
            for layer, number in waiting:
                args, kwargs = layer.calls[number]
                if all((ref.layer, ref.call) in results for ref in _refs_in([*args, *kwargs.values()])):
                    place = layer.name, layer.first_call + number
                    results[place] = self._call(layer, number, arrays[layer.name], results, prefix)
                else:
                    later.append((layer, number))
            if len(later) == len(waiting):
                raise FormatError(f"layer {later[0][0].name!r} reads a result that no layer computes")
            waiting = later
        return [_pick(results, ref) for ref in network.outputs]

    def _inputs(self, network: Network, given: Sequence[str] | None) -> dict[tuple[str, int], list[str]]:
        layers = {layer.name: layer for layer in network.layers}
        results: dict[tuple[str, int], list[str]] = {}
        if given is not None and len(given) != len(network.inputs):
            raise FormatError(
                f"the model {network.name!r} is called with {len(given)} tensors where it takes {len(network.inputs)}"
            )
        for number, ref in enumerate(network.inputs):
            if ref.layer not in layers:
                raise FormatError(f"the model {network.name!r} has no layer {ref.layer!r}, which it names as an input")
            if given is None:
                tensor = emit_input(self.builder, layers[ref.layer], self._input_shapes, self._batch)
            else:
                tensor = given[number]
            results[ref.layer, 0] = [tensor]
        return results

    def _call(
        self,
        layer: Layer,
        number: int,
        weights: Weights,
        results: Mapping[tuple[str, int], list[str]],
        prefix: str,
    ) -> list[str]:
        args, kwargs = layer.calls[number]
        call = Call(
            layer,
            f"{prefix}{layer.name}",
            self.builder,
            tuple(_named(item, results) for item in args),
            {key: _named(item, results) for key, item in kwargs.items()},
            weights,
            self._generation,
            self._masks,
            self.enter,
        )
        return self.enter(call)

    def enter(self, call: Call) -> list[str]:
        """Emit the call of a layer, or of a model that is used as one."""
        self._count += 1
        if self._count > _CALL_LIMIT:
            raise FormatError(f"the model makes more than {_CALL_LIMIT:,} calls of layers")
        if call.layer.network is not None:
            return self.network(call.layer.network, call.weights, call.inputs(), f"{call.name}/")
        found = function_of(call)(call)
        results = [found] if isinstance(found, str) else list(found)
        carry_mask(call, results)
        return results


def _saved(network: Network) -> list[tuple[str, str]]:
    """The layers in the order in which weights are saved; functions of `keras.ops` have a place, but no name there."""
    return [(layer.kind, layer.name) for layer in network.layers]


def _refs_in(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [ref for item in value for ref in _refs_in(item)] if isinstance(value, list) else []


def _named(value: Any, results: Mapping[tuple[str, int], list[str]]) -> Any:
    """The argument with tensor names in place of references."""
    if isinstance(value, Ref):
        return Edge(_pick(results, value))
    if isinstance(value, list):
        return [_named(item, results) for item in value]
    if isinstance(value, dict):
        return {key: _named(item, results) for key, item in value.items()}
    return value


def _pick(results: Mapping[tuple[str, int], list[str]], ref: Ref) -> str:
    try:
        return results[ref.layer, ref.call][ref.index]
    except (KeyError, IndexError):
        raise FormatError(f"result {ref.index} of call {ref.call} of layer {ref.layer!r} does not exist") from None


def _distinct(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names)]
