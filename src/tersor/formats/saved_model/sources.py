"""A SavedModel or a frozen graph -> a function of TensorFlow with fixed shapes. Runs in the child."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.errors import FormatError, RecipeError, UnsupportedError
from tersor.formats.saved_model.screen import refuse_graph, refuse_meta_graph
from tersor.formats.saved_model.shapes import Sizes, closed

_UNUSED = ("NoOp", "Assert", "Placeholder", "Const")
"""Operators whose results nothing reads, and which are no outputs for that."""


@dataclass(frozen=True)
class Source:
    """What is converted.

    Attributes:
        key: of the signature.
        function: called with tensors by input name; returns tensors by output name.
        specs: the `TensorSpec` of each input.
        owner: keeps the variables alive, and is saved with the function; None where there are none.
    """

    key: str
    function: Callable[..., Mapping[str, Any]]
    specs: Mapping[str, Any]
    owner: Any = None


def source_of_saved_model(request: Mapping[str, Any]) -> Source:
    """The signature asked for. Raises FormatError, UnsupportedError, and RecipeError for one that is not there."""
    import tensorflow as tf

    folder = Path(request["path"])
    saved = _saved_model(folder)
    if not request["trust_code"]:
        for item in saved.meta_graphs:
            refuse_meta_graph(item, _definition)
    meta_graph = _tagged(saved.meta_graphs, request["tags"])
    key = _signature(meta_graph.signature_def, request["signature"])
    signature = meta_graph.signature_def[key]
    specs = {
        name: tf.TensorSpec(_closed(name, info.tensor_shape, request), tf.dtypes.as_dtype(info.dtype), name)
        for name, info in sorted(signature.inputs.items())
    }
    copy = _loadable_copy(saved, folder, Path(request["folder"]) / "source")
    loaded = tf.saved_model.load(str(copy), tags=list(meta_graph.meta_info_def.tags))
    function = loaded.signatures[key]
    if meta_graph.HasField("object_graph_def"):
        # a signature has no order: by name, so that two conversions of a model are the same
        return Source(key, lambda **arguments: dict(sorted(function(**arguments).items())), specs, loaded)
    frozen = _frozen(function)
    names = {tensor.name: name for tensor, name in zip(frozen.inputs, sorted(specs), strict=True)}
    outputs = {name: tensor.name for name, tensor in zip(sorted(signature.outputs), frozen.outputs, strict=True)}
    return _source_of_graph(key, frozen.graph.as_graph_def(), names, outputs, specs)


def source_of_graph(request: Mapping[str, Any]) -> Source:
    """A frozen graph between the inputs and outputs asked for, or those that are obvious."""
    import tensorflow as tf

    graph_def = _parsed(Path(request["path"]), tf.compat.v1.GraphDef())
    if not graph_def.node:
        raise FormatError("neither a frozen graph nor a SavedModel: it holds no operators")
    if not request["trust_code"]:
        refuse_graph(graph_def, _definition)
    nodes = {node.name: node for node in graph_def.node}
    inputs = request["graph_inputs"] or [node.name for node in graph_def.node if node.op == "Placeholder"]
    read = {item.removeprefix("^").partition(":")[0] for node in graph_def.node for item in node.input}
    outputs = request["graph_outputs"] or [n for n, node in nodes.items() if n not in read and node.op not in _UNUSED]
    for name in (*inputs, *outputs):
        if name.partition(":")[0] not in nodes:
            raise RecipeError(f"the graph has no operator {name!r}; its inputs look like {', '.join(inputs[:8])}")
    if not inputs or not outputs:
        raise RecipeError("the graph's inputs and outputs are not obvious: give --graph-inputs and --graph-outputs")
    specs = {name: _spec_of_node(nodes[name.partition(":")[0]], name, request) for name in inputs}
    return _source_of_graph(
        "serving_default",
        graph_def,
        {_tensor(name): name for name in inputs},
        {name.removesuffix(":0"): _tensor(name) for name in outputs},
        specs,
    )


def _source_of_graph(
    key: str, graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], specs: Mapping[str, Any]
) -> Source:
    """A graph without variables; `inputs` maps its tensors to argument names, `outputs` result names to its tensors."""
    import tensorflow as tf

    def function(**arguments: Any) -> dict[str, Any]:
        given = {tensor: arguments[name] for tensor, name in inputs.items()}
        results = tf.graph_util.import_graph_def(graph_def, given, list(outputs.values()), name="")
        return dict(zip(outputs, results, strict=True))

    return Source(key, function, specs)


def _frozen(function: Any) -> Any:
    """The function with its variables made constants: those of TensorFlow 1 cannot be saved again."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False)


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _saved_model(folder: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    for name in ("saved_model.pb", "saved_model.pbtxt"):
        if (folder / name).exists():
            saved = _parsed(folder / name, saved_model_pb2.SavedModel())
            if saved.meta_graphs:
                return saved
            break
    raise FormatError("saved_model.pb holds no graph; the SavedModel is truncated or of another kind")


def _loadable_copy(saved: Any, folder: Path, copy: Path) -> Path:
    """The SavedModel as it was screened, without the optimizer's state, which only the Keras that wrote it can load."""
    for meta_graph in saved.meta_graphs:
        for node in meta_graph.object_graph_def.nodes:
            del node.slot_variables[:]
    copy.mkdir()
    (copy / "saved_model.pb").write_bytes(saved.SerializeToString())
    for name in ("variables", "assets", "assets.extra"):
        if (folder / name).exists():
            (copy / name).symlink_to(folder / name, target_is_directory=True)
    return copy


def _parsed(path: Path, message: Any) -> Any:
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError

    try:
        if path.suffix == ".pbtxt":
            text_format.Parse(path.read_text("utf-8"), message)
        else:
            message.ParseFromString(path.read_bytes())
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise FormatError(f"{path.name} is truncated or corrupted, or no TensorFlow graph ({error})") from error
    return message


def _definition(name: str) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name)


def _tagged(meta_graphs: Sequence[Any], wanted: Sequence[str]) -> Any:
    by_tags = {frozenset(item.meta_info_def.tags): item for item in meta_graphs}
    tags = frozenset(wanted) if wanted else next(iter(by_tags)) if len(by_tags) == 1 else frozenset({"serve"})
    if tags not in by_tags:
        known = "; ".join(",".join(sorted(item)) or "none" for item in by_tags)
        raise RecipeError(f"no graph of the SavedModel has the tags {','.join(sorted(tags))}; give --tags: {known}")
    return by_tags[tags]


def _signature(signatures: Mapping[str, Any], wanted: str | None) -> str:
    known = sorted(name for name in signatures if not name.startswith("__"))
    if not known:
        raise UnsupportedError(
            "the SavedModel has no signature, so nothing says what its inputs are: save it with "
            "tf.saved_model.save(model, folder, signatures=function)"
        )
    if wanted is not None and wanted not in known:
        raise RecipeError(f"the SavedModel has no signature {wanted!r}; it has {', '.join(known)}")
    if wanted is None and len(known) > 1 and "serving_default" not in known:
        raise RecipeError(f"the SavedModel has {len(known)} signatures; give --signature: {', '.join(known)}")
    return wanted or (known[0] if len(known) == 1 else "serving_default")


def _spec_of_node(node: Any, name: str, request: Mapping[str, Any]) -> Any:
    import tensorflow as tf

    dtype = node.attr["dtype"].type or node.attr["T"].type
    if not dtype:
        raise RecipeError(f"{name!r} is a {node.op}, whose type is not known: name a placeholder as an input")
    return tf.TensorSpec(_closed(name, node.attr["shape"].shape, request), tf.dtypes.as_dtype(dtype), name)


def _closed(name: str, shape: Any, request: Mapping[str, Any]) -> list[int]:
    sizes: Sizes = None if shape.unknown_rank else [None if dim.size < 0 else dim.size for dim in shape.dim]
    return closed(name, sizes, request["input_shapes"], request["batch"])
