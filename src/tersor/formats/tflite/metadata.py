"""What a model says of its inputs and outputs, in the metadata `TFLITE_METADATA`: normalization, and labels.

A flatbuffer names the label file, which lies in a zip archive behind the model (`attachments`). MediaPipe Tasks and the
TensorFlow Lite Task Library run a model by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tersor.errors import FormatError
from tersor.formats.tflite.flatbuffer import Content, cure, decode, encode
from tersor.formats.tflite.metadata_schema import SCHEMA
from tersor.ir.graph import Graph, Model, Record, Tensor

NAME = "TFLITE_METADATA"
"""Under which the metadata lie in a model."""

LABEL_FILE = "labels.txt"

_AXIS_LABELS = 2
"""A file with a label for each value along an axis (`enum AssociatedFileType`)."""

_RGB = 1
"""Of `enum ColorSpaceType`."""

_PARSER = "1.0.0"
"""The earliest reader that understands what is written here."""


@dataclass(frozen=True)
class Normalization:
    """`(x - mean) / std`, float32, each one value or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_normalizations(model: Model) -> dict[str, Normalization]:
    """For each input whose normalization is stated, by name. Raises FormatError for damaged metadata."""
    found = {}
    for name, item in zip(model.graph.inputs, _tensors(model, "input_tensor_metadata"), strict=False):
        for unit in item.get("process_units", ()):
            options: Record | None = unit.get("options")
            if options is not None and options.type == "NormalizationOptions":
                found[name] = Normalization(options.get("mean", ()), options.get("std", ()))
    return found


def read_labels(model: Model) -> dict[str, tuple[str, ...]]:
    """For each output whose values have labels, by name, the labels. Raises FormatError for damaged metadata."""
    found = {}
    for name, item in zip(model.graph.outputs, _tensors(model, "output_tensor_metadata"), strict=False):
        file = next((file for file in item.get("associated_files", ()) if file.get("type") == _AXIS_LABELS), None)
        if file is None:
            continue
        attached = dict(model.attachments)
        if file.get("name") not in attached:
            raise FormatError(
                f"{_what(model)} name the label file {file.get('name', '')!r}, which is not attached to the model"
            )
        try:
            text = attached[file.get("name")].decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FormatError(f"{_what(model)}: the label file {file.get('name')!r} is not UTF-8 text") from error
        found[name] = tuple(text.splitlines())
    return found


def with_normalizations(model: Model, normalizations: Mapping[str, Normalization | None]) -> Model:
    """A copy that states the normalization of these inputs, or no longer states it (None); all else stays.

    Raises FormatError for damaged metadata, and for metadata with parts that are not known: they would be lost.
    """

    def state(tensor: Tensor, found: Record) -> Record:
        if tensor.name not in normalizations:
            return found
        given = normalizations[tensor.name]
        units = tuple(unit for unit in found.get("process_units", ()) if not _normalizes(unit))
        if given is not None:
            options = Record("NormalizationOptions", (("mean", given.mean), ("std", given.std)))
            units = (*units, Record("ProcessUnit", (("options", options),)))
        return _with_content(found.with_fields(process_units=units), tensor)

    stated = read_normalizations(model)
    if all(given is None and name not in stated for name, given in normalizations.items()):
        return model
    return _with_tensors(model, "input_tensor_metadata", model.graph.inputs, state)


def with_labels(model: Model, output: str, labels: tuple[str, ...]) -> Model:
    """A copy in which the values of an output have labels. Raises what `with_normalizations` does."""
    known = {name for name, found in read_labels(model).items() if found == labels}
    if output in known:
        return model
    name = _free_name(model, output)
    file = Record(
        "AssociatedFile",
        (("name", name), ("description", "Labels of the values, one per line."), ("type", _AXIS_LABELS)),
    )

    def state(tensor: Tensor, found: Record) -> Record:
        if tensor.name != output:
            return found
        others = tuple(item for item in found.get("associated_files", ()) if item.get("type") != _AXIS_LABELS)
        return _with_content(found.with_fields(associated_files=(*others, file)), tensor, is_input=False)

    described = _with_tensors(model, "output_tensor_metadata", model.graph.outputs, state)
    content = "".join(f"{label}\n" for label in labels).encode()
    others = tuple(item for item in model.attachments if item[0] != name)
    return replace(described, attachments=(*others, (name, content)))


def _free_name(model: Model, output: str) -> str:
    """What to call the labels of an output: as they are called already, unless others need that file."""
    files = {
        name: [file.get("name") for file in item.get("associated_files", ()) if file.get("type") == _AXIS_LABELS]
        for name, item in zip(model.graph.outputs, _tensors(model, "output_tensor_metadata"), strict=False)
    }
    own = files.pop(output, [])
    others = {file for names in files.values() for file in names}
    taken = {name for name, _ in model.attachments} - (set(own) - others)
    name, number = LABEL_FILE, 2
    while name in taken:
        name, number = f"labels_{number}.txt", number + 1
    return own[0] if len(own) == 1 and own[0] and own[0] not in others else name


def _stated(model: Model) -> bool:
    return NAME in dict(model.metadata)


def _what(model: Model) -> str:
    return f"{model.source or 'the model'}: its metadata ({NAME})"


def _read(model: Model) -> Content | None:
    content = dict(model.metadata).get(NAME)
    return None if content is None else decode(content, SCHEMA, _what(model), cure(NAME))


def _tensors(model: Model, which: str) -> tuple[Record, ...]:
    """The metadata of the main graph's inputs or outputs, in their order."""
    content = _read(model)
    graphs: tuple[Record, ...] = () if content is None else content.root.get("subgraph_metadata", ())
    found: tuple[Record, ...] = graphs[0].get(which, ()) if graphs else ()
    return found


def _with_tensors(
    model: Model, which: str, names: tuple[str, ...], change: Callable[[Tensor, Record], Record]
) -> Model:
    content = _read(model)
    if content is None:
        root = Record("ModelMetadata", (("min_parser_version", _PARSER),))
    elif content.is_whole:
        root = content.root
    else:
        raise FormatError(f"{_what(model)} hold parts that tersor does not know; they are not changed (--no-metadata)")
    graphs: tuple[Record, ...] = root.get("subgraph_metadata", ()) or (_graph(model.graph),)
    tensors = list(graphs[0].get(which, ()))
    tensors += [_tensor(name) for name in names[len(tensors) :]]
    changed = [change(model.graph.tensors[name], item) for name, item in zip(names, tensors, strict=False)]
    graph = graphs[0].with_fields(**{which: (*changed, *tensors[len(names) :])})
    written = encode(root.with_fields(subgraph_metadata=(graph, *graphs[1:])), SCHEMA)
    if not _stated(model):
        return replace(model, metadata=(*model.metadata, (NAME, written)))
    return replace(model, metadata=tuple((name, written if name == NAME else data) for name, data in model.metadata))


def _graph(graph: Graph) -> Record:
    """Both sides from the start: readers match them with the model's inputs and outputs by place."""
    return Record(
        "SubGraphMetadata",
        (
            ("input_tensor_metadata", tuple(_tensor(name) for name in graph.inputs)),
            ("output_tensor_metadata", tuple(_tensor(name) for name in graph.outputs)),
        ),
    )


def _tensor(name: str) -> Record:
    return Record("TensorMetadata", (("name", name),))


def _normalizes(unit: Record) -> bool:
    options: Record | None = unit.get("options")
    return options is not None and options.type == "NormalizationOptions"


def _with_content(found: Record, tensor: Tensor, *, is_input: bool = True) -> Record:
    """With the kind of content, where the file does not say it: three channels are a picture, other things features."""
    if found.get("content") is not None:
        return found
    is_picture = is_input and len(tensor.shape) == 4 and tensor.shape[3] == 3
    properties = Record("ImageProperties", (("color_space", _RGB),)) if is_picture else Record("FeatureProperties")
    return found.with_fields(content=Record("Content", (("content_properties", properties),)))
