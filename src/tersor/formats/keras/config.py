"""Keras 2 and Keras 3 configurations -> one form: `Network`s of `Layer`s that are called with `Ref`s to results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tersor.errors import FormatError, UnsupportedError

_DEPTH_LIMIT = 32
"""Models nested in models; deeper is an attack."""

_Calls = tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]

_NETWORKS = frozenset({"Sequential", "Functional", "Model"})


_TYPED_OPERATIONS = frozenset(
    {"Cast", "ConvertToTensor", "Cumsum", "FullLike", "OneHot", "OnesLike", "Prod", "ZerosLike"}
)
"""Functions of `keras.ops` that have a dtype, as layers do."""


@dataclass(frozen=True)
class Ref:
    """A result of a layer: which one of which call."""

    layer: str
    call: int
    index: int


@dataclass(frozen=True)
class Layer:
    """A layer with the calls that the network makes of it.

    Attributes:
        name: unique in its network.
        kind: the class, as `Conv2D`; a function of `keras.ops` is `ops.Add`.
        module: where the class lives; says whether a class of this name is Keras's own.
        config: what the layer was made with.
        calls: arguments and keyword arguments of each call, with `Ref`s in them.
        network: the layers inside, for a model that is used as a layer.
        first_call: the number of the first call: Keras 2 counts the making of a nested model as its call 0.
    """

    name: str
    kind: str
    module: str
    config: Mapping[str, Any]
    calls: _Calls
    network: Network | None = None
    first_call: int = 0


@dataclass(frozen=True)
class Network:
    """A Functional or Sequential model."""

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]


def network_of(entry: Mapping[str, Any], depth: int = 0) -> Network:
    """The network that a configuration describes. Raises FormatError, and UnsupportedError for subclassed models."""
    kind, config = str(entry.get("class_name")), entry.get("config")
    if depth > _DEPTH_LIMIT:
        raise FormatError(f"models are nested more than {_DEPTH_LIMIT} deep")
    if isinstance(config, list) and kind == "Sequential":  # before tf.keras 2.2
        config = {"name": "sequential", "layers": config}
    if not isinstance(config, dict):
        raise FormatError(f"the configuration of the model ({kind}) is missing")
    if not isinstance(config.get("layers"), list):
        raise UnsupportedError(
            f"the model is a subclass ({kind}) whose layers are Python code, which is not executed: "
            "rebuild it with the functional API, or export it with model.export('folder') and convert that"
        )
    try:
        return _sequential(config, depth) if "output_layers" not in config else _functional(config, depth)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise FormatError(f"the configuration of the model {config.get('name')!r} is damaged ({detail})") from error


def _functional(config: Mapping[str, Any], depth: int) -> Network:
    return Network(
        str(config.get("name", "model")),
        tuple(_layer(item, _calls(item), depth) for item in config["layers"]),
        tuple(_refs(config["input_layers"])),
        tuple(_refs(config["output_layers"])),
    )


def _sequential(config: Mapping[str, Any], depth: int) -> Network:
    entries = list(config["layers"])
    if not entries:
        raise FormatError(f"the model {config.get('name')!r} has no layers")
    if entries[0]["class_name"] != "InputLayer":
        entries.insert(0, _input_of(entries[0], config))
    layers: list[Layer] = []
    for entry in entries:
        calls: _Calls = (((Ref(layers[-1].name, 0, 0),), {}),) if layers else ()
        layers.append(_layer(entry, calls, depth))
    return Network(
        str(config.get("name", "sequential")),
        tuple(layers),
        (Ref(layers[0].name, 0, 0),),
        (Ref(layers[-1].name, 0, 0),),
    )


def _input_of(first: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a Sequential model without an input layer: stated by its first layer or from when it was built."""
    own = first["config"]
    if "layers" in own:
        inner = own["layers"][0]["config"]
        own = inner if isinstance(inner, dict) else own
    shape = own.get("batch_input_shape") or own.get("batch_shape") or config.get("build_input_shape")
    if shape is None:
        raise UnsupportedError(
            f"the Sequential model {config.get('name')!r} was saved without an input shape: "
            "build it first (model.build(...), or a keras.Input as its first layer)"
        )
    dtype = own.get("dtype") if first["class_name"] != "Embedding" else "int32"
    return {
        "class_name": "InputLayer",
        "config": {"name": f"{first['config'].get('name')}_input", "batch_shape": shape, "dtype": dtype},
    }


def layer_inside(entry: Any, depth: int = 1) -> Layer:
    """The layer that another holds in its configuration. Raises FormatError for what is none."""
    try:
        return _layer(entry, (), depth)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"the layer inside is not one ({type(error).__name__}: {error})") from error


def _layer(entry: Mapping[str, Any], calls: _Calls, depth: int) -> Layer:
    kind, module = str(entry["class_name"]), str(entry.get("module") or "")
    config = entry["config"]
    name = str(entry.get("name") or config["name"])
    registered = entry.get("registered_name")
    if module.startswith("keras.src.ops.") or _is_operation(entry):
        kind = f"ops.{kind}"
    elif registered and (">" in str(registered) or not module):  # Keras's own classes have a module and no such name
        module = f"custom {registered}"
    is_network = kind in _NETWORKS or isinstance(config.get("layers"), list)
    network = network_of(entry, depth + 1) if is_network else None
    nodes = entry.get("inbound_nodes") or []
    first = int(network is not None and bool(nodes) and not isinstance(nodes[0], dict))
    return Layer(name, kind, module, config, calls, network, first)


def _is_operation(entry: Mapping[str, Any]) -> bool:
    """Whether an entry without a module, as `.h5` files have it, is a function of `keras.ops`: layers have a dtype."""
    config, nodes = entry["config"], entry.get("inbound_nodes") or [None]
    if entry.get("module") or not isinstance(nodes[0], dict) or "trainable" in config:
        return False
    return "dtype" not in config or entry["class_name"] in _TYPED_OPERATIONS


def _calls(entry: Mapping[str, Any]) -> _Calls:
    calls: list[tuple[tuple[Any, ...], Mapping[str, Any]]] = []
    for node in entry.get("inbound_nodes", []):
        if isinstance(node, dict):
            calls.append((tuple(_resolved(item) for item in node["args"]), _resolved(node.get("kwargs") or {})))
        else:
            calls.append(_old_call(node))
    return tuple(calls)


def _old_call(node: list[Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Keras 2: [[layer, call, index, kwargs], ...], or one such entry bare where a function takes one tensor."""
    entries = [node] if node and isinstance(node[0], str) else node
    kwargs = {key: _old_value(value) for key, value in (entries[0][3] if len(entries[0]) > 3 else {}).items()}
    first = [
        item[2] if item[0] == "_CONSTANT_VALUE" else Ref(str(item[0]), int(item[1]), int(item[2])) for item in entries
    ]
    return (first[0] if len(first) == 1 else first,), kwargs


def _old_value(value: Any) -> Any:
    is_ref = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], int)
    if is_ref:
        return Ref(value[0], value[1], int(value[2]))
    if isinstance(value, list):
        return [_old_value(item) for item in value]
    return {key: _old_value(item) for key, item in value.items()} if isinstance(value, dict) else value


def _resolved(value: Any) -> Any:
    """A serialized argument: tensors become `Ref`s, arrays and tuples lists of numbers."""
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__keras_tensor__" and isinstance(config, dict):
        layer, call, index = config["keras_history"]
        return Ref(str(layer), int(call), int(index))
    if kind == "__slice__" and isinstance(config, dict):
        return slice(*(_resolved(config.get(key)) for key in ("start", "stop", "step")))
    if kind == "__ellipsis__":
        return ...
    if kind in ("__numpy__", "__tensor__", "__tuple__") and "config" in value:
        return _resolved(config["value"] if isinstance(config, dict) else config)
    if kind == "__tuple__":
        return [_resolved(item) for item in value.get("items", [])]
    return {key: _resolved(item) for key, item in value.items()}


def _refs(value: Any) -> list[Ref]:
    """All [layer, call, index] in a list, a nested list or a dictionary."""
    if isinstance(value, dict):
        return [ref for item in value.values() for ref in _refs(item)]
    if len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], int):
        return [Ref(value[0], value[1], int(value[2]))]
    return [ref for item in value for ref in _refs(item)]
