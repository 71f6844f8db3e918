"""Writing results: all or nothing, and nothing that has not been run."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tersor.errors import OutputError
from tersor.formats import tflite
from tersor.ir.graph import Model


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place if the block ends well and is removed if not.

    Raises OutputError if the folder cannot be written.
    """
    path = Path(path)
    try:
        for folder in path.parents:
            if folder.exists() and not folder.is_dir():
                raise OutputError(f"{path}: cannot be written: {folder} is a file, not a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError(f"{path}: is a folder")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def save(model: Model, path: str | Path) -> None:
    """Write a model to a `.tflite` file, atomically, without running it (see `verify`). Raises OutputError."""
    with atomic(path) as temporary:
        tflite.write(model, temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
