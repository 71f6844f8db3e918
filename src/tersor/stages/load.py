"""A file -> `Model`, whatever its format."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tersor.errors import FormatError, RecipeError
from tersor.formats import tflite
from tersor.ir.graph import Model
from tersor.stages.optimize import optimize

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


def runs_as_it_is(path: Path) -> bool:
    """Whether the runtime loads the file itself, and not one that is made of it."""
    return path.is_file() and path.suffix.lower() not in _KERAS


@contextmanager
def runnable(model: Model) -> Iterator[Path]:
    """A file that the runtime loads: the model's own, or a temporary one."""
    path = Path(model.source)
    if model.source and runs_as_it_is(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        temporary = Path(folder) / f"{path.stem or 'model'}.tflite"
        tflite.write(optimize(model), temporary)
        yield temporary
