"""A model file in the form that something else takes: C source for a microcontroller, or one archive of everything."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tersor.data.preprocess import EPSILON, Preprocess
from tersor.errors import ModelError, RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.formats.c_array import Input, Output, Source, c_name, files
from tersor.formats.c_array.normalization import C_TYPES, Normalize
from tersor.formats.c_array.operators import operators
from tersor.formats.tflite.metadata import NAME as METADATA
from tersor.ir.dtypes import DType
from tersor.ir.graph import Model, Tensor
from tersor.ir.quant import PerTensor
from tersor.numerics.affine import offset_of
from tersor.stages.annotate import declared, labels_of
from tersor.stages.load import runs_as_it_is
from tersor.stages.measure_arena import measure_arena, refuse_nonsense
from tersor.stages.save import atomic, require_writable

_FEW_BYTES = 128
"""Where a model states no normalization: different integers that bytes have to give to make sense as its input."""

KINDS = ("c", "archive")


@dataclass(frozen=True)
class Exported:
    """What was written, and what is known of it.

    Attributes:
        files: that were written.
        arena_bytes: what TensorFlow Lite Micro needs; None if that was not measured.
        notes: what to tell the user.
        warnings: what the user should not miss.
    """

    files: tuple[Path, ...]
    arena_bytes: int | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def export_c(path: Path, folder: Path, name: str | None = None) -> Exported:
    """Write `NAME.h`, `NAME.c` and `NAME_operators.h`.

    Where the package `tflite-micro` is installed, the model is run in it first, and nothing is written if it refuses.

    Args:
        path: a `.tflite` file.
        folder: where to write.
        name: of the array and the files; by default made of the file's name.

    Raises:
        UnsupportedError: operators without a kernel in TensorFlow Lite Micro, or with one that answers nonsense, named.
        RuntimeFailure: it refuses the model, or crashes.
        RecipeError: the name is no C identifier.
        FormatError, OutputError.
    """
    model = read_finished(path)
    given = path.read_bytes()
    content = tflite.write_bytes(_without_files(model)) if model.attachments else given
    if name is not None and c_name(name) != name:
        raise RecipeError(f"--name {name!r} is no C identifier; {c_name(name)!r} would be one")
    name = name or c_name(path.stem)
    used = operators(op for graph in model.graphs for op in graph.ops)
    if used.missing:
        raise UnsupportedError(f"{path}: TensorFlow Lite Micro has no kernel for {', '.join(used.missing)}")
    refuse_nonsense(model)
    stated = declared(model)
    require_writable(folder / f"{name}.h")
    arena = measure_arena(model, content, path, custom=used.custom)
    source = Source(
        name=name,
        content=content,
        origin=_origin(path, given, model),
        inputs=tuple(_input(model, place, stated, name) for place in range(len(model.graph.inputs))),
        outputs=tuple(_output(model.graph.tensors[item]) for item in model.graph.outputs),
        normalization=str(stated),
        operators=used,
        arena_bytes=arena.size_bytes,
        arena_note=". ".join(f"{note[0].upper()}{note[1:]}" for note in arena.notes),
        labels=labels_of(model).get(model.graph.outputs[0], ()) if model.graph.outputs else (),
    )
    written = _write_all({folder / file: text for file, text in files(source).items()})
    notes = [f"arena: {arena.notes[0]}", *arena.notes[1:], *_input_notes(source)]
    warnings = [f"the kernel of the custom operator {code!r} is yours to add" for code in used.custom]
    return Exported(written, arena.size_bytes, tuple(notes), tuple(warnings))


def read_finished(path: Path) -> Model:
    """A file that goes out as it is. Raises UnsupportedError for one that a `.tflite` has to be made of first."""
    if path.exists() and not runs_as_it_is(path):
        raise UnsupportedError(f"{path}: export takes .tflite files; 'tersor quantize' makes one of it")
    return tflite.read(path)


def parameters_of(model: Model) -> dict[str, object]:
    """What a program has to know of a model to use it, as JSON has it."""
    from tersor.formats.tflite.parameters import read_parameters
    from tersor.stages.parameters import plain

    stated = declared(model)
    given = {"rescale": stated.rescale, "mean": list(stated.mean), "std": list(stated.std)}
    return {
        "inputs": [_described(model.graph.tensors[name]) for name in model.graph.inputs],
        "outputs": [_described(model.graph.tensors[name]) for name in model.graph.outputs],
        "normalization": None if stated.is_identity else {**given, "samplewise": stated.samplewise},
        "parameters": {key: {"type": item.type, "value": plain(item)} for key, item in read_parameters(model).items()},
    }


def _described(tensor: Tensor) -> dict[str, object]:
    quant = tensor.quant if tensor.quant is not None and isinstance(tensor.quant.granularity, PerTensor) else None
    return {
        "name": tensor.name,
        "dtype": str(tensor.dtype),
        "shape": list(tensor.open_shape or tensor.shape),
        "scale": None if quant is None else quant.scale,
        "zero_point": None if quant is None else quant.zero_point,
    }


def _write_all(texts: Mapping[Path, str]) -> tuple[Path, ...]:
    """All of them or none."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(atomic(path)).write_text(text, "utf-8", newline="\n")
    return tuple(texts)


def _without_files(model: Model) -> Model:
    """The model alone: files behind it, and the metadata that refer to them, would only take the device's memory."""
    return replace(model, attachments=(), metadata=tuple(item for item in model.metadata if item[0] != METADATA))


def _origin(path: Path, content: bytes, model: Model) -> tuple[str, ...]:
    attached = ", ".join(name for name, _ in model.attachments)
    return (
        f"Made by tersor {importlib.metadata.version('tersor')} from {path.name} ({len(content)} bytes).",
        f"SHA-256 of that file: {hashlib.sha256(content).hexdigest()}",
        *([f"Left out: {attached}, and the metadata that refer to it."] if attached else []),
        "Not to be edited: make it again.",
    )


def _output(tensor: Tensor) -> Output:
    return Output(tensor.name, tensor.dtype, tensor.shape, tensor.quant)


def _input(model: Model, place: int, stated: Preprocess, name: str) -> Input:
    tensor = model.graph.tensors[model.graph.inputs[place]]
    described = Input(**vars(_output(tensor)), normalize=None)
    params = tensor.quant
    is_real = tensor.dtype is DType.FLOAT32 or (params is not None and isinstance(params.granularity, PerTensor))
    if not is_real or tensor.dtype not in C_TYPES or not tensor.elements:
        return described
    channels = tensor.shape[-1] if tensor.shape else 1
    for option, values in (("mean", stated.mean), ("std", stated.std)):
        if len(values) not in (0, 1, channels):
            raise ModelError(
                f"{model.source}: its metadata state a {option} of {len(values)} channels, input {tensor.name!r} has "
                f"{channels}"
            )
    table = None if params is None or stated.samplewise else stated.table(params)
    makes_sense = not stated.is_identity or table is None or len(np.unique(table)) >= _FEW_BYTES
    one = f"{name}_normalize" if len(model.graph.inputs) == 1 else f"{name}_normalize_{place}"
    normalize = Normalize(
        name=one,
        dtype=tensor.dtype,
        params=params if tensor.dtype is not DType.FLOAT32 else None,
        elements=tensor.elements // max(tensor.shape[0] if len(tensor.shape) > 1 else 1, 1),
        rescale=stated.rescale,
        mean=stated.mean,
        std=stated.std,
        samplewise=stated.samplewise,
        epsilon=EPSILON,
        table=table if makes_sense else None,
        takes_bytes=makes_sense,
    )
    return replace(described, normalize=normalize)


def _input_notes(source: Source) -> list[str]:
    notes = []
    words = "not normalized" if source.normalization == str(Preprocess()) else source.normalization
    for item in source.inputs:
        given = None if item.normalize is None else item.normalize
        if given is None:
            notes.append(f"input {item.name!r}: {item.dtype}, no normalization function")
        elif given.table is not None and given.takes_bytes:
            offset = offset_of(given.table)
            how = "by a table" if offset is None else "as they are" if not offset else f"less {-offset}"
            notes.append(f"input {item.name!r}: {words}; raw bytes go in {how}")
        else:
            notes.append(f"input {item.name!r}: {words}")
    return notes
