"""A model that TensorFlow reads -> `Model`: screened, converted in a child process, read by our own reader."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tersor.errors import FormatError, TersorError, TersorWarning, UnsupportedError
from tersor.formats import tflite
from tersor.formats.saved_model.child import convert
from tersor.formats.saved_model.conversion import Conversion
from tersor.formats.saved_model.convert import FALLBACK, SIGNATURE
from tersor.formats.tflite.flex import PREFIX
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op, Signature

_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
_USUAL = (DType.FLOAT32, DType.INT32, DType.BOOL)


def read(
    path: str | Path,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    conversion: Conversion | None = None,
    batch: int = 1,
) -> Model:
    """Have TensorFlow convert a SavedModel, a frozen graph or a Keras file to a float model.

    Args:
        path: the SavedModel's folder (or the graph in it), a frozen graph `.pb`, a `.keras` or `.h5` file.
        input_shapes: for an input's name (or "" for any), its sizes without the batch, where the model leaves any open.
        conversion: what is asked for.
        batch: where the model leaves that open.

    Returns:
        The model; its inputs and outputs have the names that the signature gives them.

    Raises:
        FormatError: the file is none of these, or damaged.
        UnsupportedError: TensorFlow is missing or cannot convert it, or the model reaches outside of itself.
        RecipeError: a signature, tags, inputs or outputs that are not there.
        RuntimeFailure: TensorFlow crashed or took too long; in its own process.

    Warns with TersorWarning of operators that stay TensorFlow's, and of code that is trusted.
    """
    path, conversion = Path(path), conversion or Conversion()
    place = path.parent if path.name in _GRAPHS else path
    if conversion.trust_code:
        text = f"{path}: --trust-code: Python code and file operators of this model may run on this machine"
        warnings.warn(text, TersorWarning, stacklevel=2)
    with tempfile.TemporaryDirectory(prefix="tersor-", ignore_cleanup_errors=True) as folder:
        request = {
            "kind": _kind(place),
            "path": str(place.resolve()),
            "signature": conversion.signature,
            "tags": conversion.tags,
            "graph_inputs": conversion.graph_inputs,
            "graph_outputs": conversion.graph_outputs,
            "input_shapes": {name: list(sizes) for name, sizes in (input_shapes or {}).items()},
            "batch": batch,
            "trust_code": conversion.trust_code,
        }
        try:
            if request["kind"] == "keras" and not conversion.trust_code:
                from tersor.formats.saved_model.keras_config import refuse_code

                refuse_code(place)
            answer = convert(request, Path(folder), conversion.time_limit)
            model = _result(answer, Path(folder))
            _refuse_foreign(model, path, allowed=conversion.select_tf_ops)
        except TersorError as error:
            text = str(error)
            raise type(error)(text if text.startswith(str(path)) else f"{path}: {text}") from error
    return replace(model, source=str(path))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "saved_model"
    return "graph" if path.suffix.lower() in (".pb", ".pbtxt") else "keras"


def _result(answer: Mapping[str, Any], folder: Path) -> Model:
    try:
        model = tflite.read(folder / str(answer["file"]))
    except FormatError as error:
        raise UnsupportedError(f"TensorFlow made a file that cannot be read: {error}") from error
    model = replace(model, description=str(answer["description"]))
    custom = any(op.kind == "CUSTOM" for graph in model.graphs for op in graph.ops)
    if answer["file"] == FALLBACK and not custom:  # then it was not the operators that the first try failed on
        raise UnsupportedError("TensorFlow converts it only by way of its own operators, and names none")
    return _named(model, answer)


def _named(model: Model, answer: Mapping[str, Any]) -> Model:
    """The model with its inputs and outputs in the signature's order and under its names."""
    (signature,) = (item for item in model.signatures if item.key == SIGNATURE)
    inputs = [(name, dict(signature.inputs)[number]) for number, name in answer["inputs"].items()]
    outputs = [(name, dict(signature.outputs)[number]) for number, name in answer["outputs"].items()]
    graph = model.graph
    names: dict[str, str] = {}
    for name, tensor in (*inputs, *outputs):
        if tensor not in names and name not in graph.tensors and name not in names.values():
            names[tensor] = name
    graph = replace(
        _renamed(graph, names),
        inputs=_ordered(graph.inputs, [tensor for _, tensor in inputs], names),
        outputs=_ordered(graph.outputs, [tensor for _, tensor in outputs], names),
    )
    renamed = Signature(
        str(answer["signature"]),
        tuple((name, names.get(tensor, tensor)) for name, tensor in inputs),
        tuple((name, names.get(tensor, tensor)) for name, tensor in outputs),
        signature.graph,
    )
    return replace(model, graphs=(graph, *model.graphs[1:]), signatures=(renamed,))


def _ordered(given: Sequence[str], wanted: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """The wanted order, if it is one of the same tensors: an input that nothing reads may be gone."""
    order = wanted if sorted(wanted) == sorted(given) else given
    return tuple(names.get(tensor, tensor) for tensor in order)


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    def renamed(tensors: Sequence[str | None]) -> tuple[Any, ...]:
        return tuple(name and names.get(name, name) for name in tensors)

    return replace(
        graph,
        tensors={names.get(k, k): replace(t, name=names[k]) if k in names else t for k, t in graph.tensors.items()},
        ops=tuple(
            replace(op, name=names.get(op.name, op.name), inputs=renamed(op.inputs), outputs=renamed(op.outputs))
            for op in graph.ops
        ),
        inputs=renamed(graph.inputs),
        outputs=renamed(graph.outputs),
    )


def _refuse_foreign(model: Model, path: Path, *, allowed: bool) -> None:
    """Raise UnsupportedError for operators that LiteRT does not have, unless those of TensorFlow are allowed."""
    codes = Counter(_code(op, graph) for graph in model.graphs for op in graph.ops if op.kind == "CUSTOM")
    flex = {code.removeprefix(PREFIX): count for code, count in codes.items() if code.startswith(PREFIX)}
    other = {code: count for code, count in codes.items() if not code.startswith(PREFIX)}
    if other:
        raise UnsupportedError(f"neither LiteRT nor its Flex delegate has these operators: {_counted(other)}")
    if not allowed and any(code.startswith("TensorList") for code in flex):
        raise UnsupportedError(
            "a recurrent layer lies in it with an open batch, which LiteRT cannot unroll (TensorListReserve): convert "
            "the Keras file itself, or export the model with a fixed batch (keras.Input(shape, batch_size=1))"
        )
    if flex and not allowed:
        raise UnsupportedError(
            f"LiteRT has no operator for {_counted(flex)}: replace what computes them in the model, or leave them as "
            "TensorFlow ops with --select-tf-ops; such a file needs the Flex delegate on the device"
        )
    if flex:
        warnings.warn(
            f"{path}: these stay TensorFlow ops: {_counted(flex)}; such a file needs the Flex delegate on the device",
            TersorWarning,
            stacklevel=3,
        )


def _code(op: Op, graph: Graph) -> str:
    """What the operator is called, with the type it computes in where that is why LiteRT does not have it."""
    dtype = graph.tensors[op.outputs[0]].dtype if op.outputs else DType.FLOAT32
    return f"{op.custom_code}" + (f" ({dtype})" if dtype not in _USUAL else "")


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} x{count}" for kind, count in sorted(kinds.items()))
