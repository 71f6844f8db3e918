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
from tersor.stages.encode_sparse import encode_sparse


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place if the block ends well and is removed if not.

    Folders on the way to it are made, and removed again if it fails.

    Raises OutputError if the folder cannot be written.
    """
    path = Path(path).resolve()  # through a link, to what it stands for
    missing = [folder for folder in path.parents if not folder.exists()]
    temporary = None
    try:
        temporary = _file_beside(path)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    except OutputError as error:  # of a writer that knows the temporary path only
        raise OutputError(str(error).replace(str(temporary), str(path))) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # it holds the result, or was never made
                folder.rmdir()


class _TrialOver(Exception):
    """Ends a trial of `atomic`."""


def require_writable(path: str | Path) -> None:
    """Raise OutputError now if `path` could not be written later; nothing is left behind."""
    with contextlib.suppress(_TrialOver), atomic(path):
        raise _TrialOver


def _file_beside(path: Path) -> Path:
    for folder in path.parents:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{path}: cannot be written: {folder} is a file, not a folder")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is not a regular file")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    return Path(name)


def save(model: Model, path: str | Path, *, sparse: bool = False) -> None:
    """Write a model to a `.tflite` file, atomically, without running it (see `verify`).

    Args:
        model: what to write.
        path: of the file.
        sparse: leave out zeros of weights where that makes the file smaller (`encode_sparse`).

    Raises:
        OutputError: the file cannot be written.
        UnsupportedError: stored sparsely, it could not be run everywhere.
    """
    if sparse:
        model = encode_sparse(model)
    with atomic(path) as temporary:
        tflite.write(model, temporary)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
