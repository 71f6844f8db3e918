"""What a Keras model does in training only: dropout and penalties on kernels, which a file does not hold."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tersor.errors import TersorWarning
from tersor.formats.keras import EXTENSIONS, config_of, is_live
from tersor.formats.keras.archive import open_archive
from tersor.formats.keras.config import Layer, Network, Ref, network_of
from tersor.ir.graph import Graph
from tersor.training.rounding import Noise, Penalty, Rounding

_KERNELS = {"kernel_regularizer": "kernel", "depthwise_regularizer": "kernel", "pointwise_regularizer": "kernel"}
_PENALTIES = ("L1", "L2", "L1L2")
_NOISY = ("GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization")


@dataclass
class Carried:
    """What of it goes on in a network of operators.

    Attributes:
        noise: dropout, by the value that it is put on.
        penalties: by the operator with the kernel.
        left_out: what does not, in words.
    """

    noise: dict[str, Noise] = field(default_factory=dict)
    penalties: dict[str, Penalty] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def carried(model: Any, graph: Graph) -> Carried:
    """What a live Keras model, or a Keras file, states of training, as far as a value or a layer of the graph is it.

    Anything else states nothing.
    """
    found = Carried()
    config = _config(model)
    if config is None:
        return found
    for network in _networks(network_of(config)):
        read = Counter(ref.layer for layer in network.layers for ref in _refs(layer.calls))
        for layer in network.layers:
            _put_noise(layer, graph, read, found)
            _put_penalties(layer, graph, found)
    if _has_optimizer(model, config):
        found.left_out.append("the state of its optimizer, which was for other variables: compile the network anew")
    return found


def with_carried(rounding: Rounding, model: Any, graph: Graph) -> Rounding:
    """What is rounded in training, and what of the model's own training goes on; warns of what does not."""
    kept = carried(model, graph)
    if kept.left_out:
        warnings.warn(f"left out of training: {'; '.join(kept.left_out)}", TersorWarning, stacklevel=3)
    return replace(rounding, noise=kept.noise, penalties=kept.penalties)


def _config(model: Any) -> Mapping[str, Any] | None:
    if is_live(model):
        return None if hasattr(model, "exported") else config_of(model)
    if not isinstance(model, str | Path) or Path(model).suffix.lower() not in EXTENSIONS:
        return None
    with open_archive(Path(model)) as archive:
        kind = str(archive.config.get("registered_name") or "")
        return None if kind.startswith("tersor>") else archive.config


def _has_optimizer(model: Any, config: Mapping[str, Any]) -> bool:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        return int(optimizer.iterations) > 0
    return bool(config.get("compile_config"))


def _networks(network: Network) -> Iterator[Network]:
    yield network
    for layer in network.layers:
        if layer.network is not None:
            yield from _networks(layer.network)


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _refs(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _refs(item)


def _put_noise(layer: Layer, graph: Graph, read: Counter[str], found: Carried) -> None:
    is_spatial = layer.kind.startswith("SpatialDropout")
    rate = layer.config.get("rate")
    if layer.kind in _NOISY and rate != 0:
        found.left_out.append(f"{layer.kind} {layer.name!r}")
    if (layer.kind != "Dropout" and not is_spatial) or not rate:
        return
    sources = [ref.layer for ref in _refs(layer.calls)]
    alone = len(sources) == 1 and read[sources[0]] == 1
    tensor = graph.tensors.get(sources[0]) if alone else None
    if tensor is None or tensor.is_constant or tensor.name in graph.outputs or tensor.name in found.noise:
        found.left_out.append(f"dropout {layer.name!r}, of which the file has no value of its own")
        return
    drawn = layer.config.get("noise_shape")
    if is_spatial:
        drawn = (None, *[1] * (len(tensor.shape) - 2), tensor.shape[-1])
    found.noise[tensor.name] = float(rate), None if drawn is None else tuple(drawn)


def _put_penalties(layer: Layer, graph: Graph, found: Carried) -> None:
    for key, value in layer.config.items():
        if not key.endswith("_regularizer") or not value:
            continue
        inside = f"{layer.name}/depthwise/kernel" if layer.kind == "SeparableConv2D" and key[0] == "d" else ""
        readers = graph.consumers.get(inside or f"{layer.name}/kernel", ()) if key in _KERNELS else ()
        kind = value.get("class_name") if isinstance(value, Mapping) else None
        if len(readers) != 1 or kind not in _PENALTIES:
            found.left_out.append(f"the {key.replace('_', ' ')} of {layer.name!r}")
            continue
        factors = value["config"]
        found.penalties[readers[0].name] = float(factors.get("l1") or 0.0), float(factors.get("l2") or 0.0)
