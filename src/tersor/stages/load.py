"""A file -> `Model`, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tersor.errors import FormatError, RecipeError
from tersor.formats import tflite
from tersor.ir.graph import Model

_LATER = {".onnx": "ONNX", ".pb": "SavedModel"}

_KERAS = (".keras", ".h5", ".hdf5")

READ = ".tflite, .keras and .h5 files"


def load(path: str | Path, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> Model:
    """Read a model file.

    Args:
        path: the file; what it is follows from its extension.
        input_shapes: for an input's name (or "" for any), its sizes without the batch, where a Keras file leaves some
            open.

    Raises:
        FormatError: says what the file is if it is not a model tersor reads.
        UnsupportedError: the model holds something that is not read; names it.
        RecipeError: shapes are given for a file whose shapes are fixed.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    if path.is_dir():
        raise FormatError(f"{path}: is a folder; tersor reads {READ}")
    suffix = path.suffix.lower()
    if suffix in _LATER:
        raise FormatError(f"{path}: {_LATER[suffix]} files are not read; tersor reads {READ}")
    if suffix in _KERAS:
        from tersor.formats import keras  # h5py is loaded only where it is needed

        return keras.read(path, input_shapes)
    if input_shapes:
        raise RecipeError(f"{path}: --input-shape is for Keras files; the shapes of a .tflite file are fixed")
    return tflite.read(path)
