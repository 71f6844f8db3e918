"""A file -> `Model`, whatever its format."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.errors import FormatError, RecipeError, UnsupportedError
from tersor.formats import tflite
from tersor.ir.graph import Model
from tersor.stages.optimize import optimize

if TYPE_CHECKING:
    from tersor.formats.saved_model.conversion import Conversion

_LATER = {".onnx": "ONNX"}

_KERAS = (".keras", ".h5", ".hdf5")
_GRAPHS = (".pb", ".pbtxt")

READ = ".tflite, .keras and .h5 files, SavedModels and frozen graphs (.pb)"


def load(
    path: str | Path,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    conversion: Conversion | None = None,
) -> Model:
    """Read a model file.

    Args:
        path: the file, or the folder of a SavedModel; what it is follows from its extension.
        input_shapes: for an input's name (or "" for any), its sizes without the batch, where a model leaves some open.
        conversion: for what TensorFlow has to read (extra `tersor[tensorflow]`), and whether it is to read Keras files.

    Raises:
        FormatError: says what the file is if it is not a model tersor reads.
        UnsupportedError: the model holds something that is not read; names it.
        RecipeError: shapes, or options for TensorFlow, are given for a file that takes none.
        RuntimeFailure: TensorFlow crashed; in its own process.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if path.is_dir() and not _is_saved_model(path):
        raise FormatError(f"{path}: is a folder, but not a SavedModel (no saved_model.pb); tersor reads {READ}")
    if path.is_dir() or suffix in _GRAPHS or (suffix in _KERAS and conversion is not None and conversion.is_for_keras):
        from tersor.formats.saved_model.read import read

        return read(path, input_shapes, conversion)
    if conversion is not None and conversion.options:
        raise RecipeError(f"{path}: {', '.join(conversion.options)}: only for what TensorFlow converts; see --help")
    if suffix in _LATER:
        raise FormatError(f"{path}: {_LATER[suffix]} files are not read; tersor reads {READ}")
    if suffix in _KERAS:
        from tersor.formats import keras  # h5py is loaded only where it is needed

        return keras.read(path, input_shapes)
    if input_shapes:
        raise RecipeError(
            f"{path}: --input-shape is for models that leave sizes open; the shapes of a .tflite file are fixed"
        )
    return tflite.read(path)


def runs_as_it_is(path: Path) -> bool:
    """Whether the runtime loads the file itself, and not one that is made of it."""
    return path.is_file() and path.suffix.lower() not in (*_KERAS, *_GRAPHS)


def _is_saved_model(folder: Path) -> bool:
    return any((folder / f"saved_model{suffix}").is_file() for suffix in _GRAPHS)


def refuse_tensorflow_ops(model: Model) -> None:
    """Raise UnsupportedError for a model with operators that only TensorFlow has."""
    codes = Counter(op.custom_code or "" for graph in model.graphs for op in graph.ops if op.kind == "CUSTOM")
    left = [f"{code.removeprefix('Flex')} x{count}" for code, count in sorted(codes.items()) if code.startswith("Flex")]
    if left:
        raise UnsupportedError(
            f"{model.source or 'the model'}: holds TensorFlow ops ({', '.join(left)}): the LiteRT runtime here has no "
            "Flex delegate, so neither it nor what is made of it can be run; replace what computes them in the model"
        )


@contextmanager
def runnable(model: Model) -> Iterator[Path]:
    """A file that the runtime loads: the model's own, or a temporary one. Raises UnsupportedError if it cannot run."""
    refuse_tensorflow_ops(model)
    path = Path(model.source)
    if model.source and runs_as_it_is(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        temporary = Path(folder) / f"{path.stem or 'model'}.tflite"
        tflite.write(optimize(model), temporary)
        yield temporary
