"""A file -> `Model`, whatever its format."""

from __future__ import annotations

from pathlib import Path

from tersor.errors import FormatError
from tersor.formats import tflite
from tersor.ir.graph import Model

_LATER = {
    ".keras": "Keras",
    ".h5": "Keras",
    ".onnx": "ONNX",
    ".pb": "SavedModel",
}


def load(path: str | Path) -> Model:
    """Read a model file. Raises FormatError that says what the file is if it is not a model tersor reads."""
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: no such file")
    if path.is_dir():
        raise FormatError(f"{path}: is a folder; tersor reads .tflite files")
    kind = _LATER.get(path.suffix.lower())
    if kind is not None:
        raise FormatError(f"{path}: {kind} files are not read; give a .tflite file")
    return tflite.read(path)
