"""A `.keras` or `.h5` file -> its configuration and its weights, with limits on what a file may claim."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py

from tersor.errors import FormatError, RecipeError, UnsupportedError
from tersor.formats.keras.weights import ByName, ByPosition, Weights, member
from tersor.formats.keras.weights_only import is_weights_only, weights_for

CONFIG_LIMIT = 256 << 20
"""Bytes of configuration; the largest Keras application's has 2 MB."""

_WEIGHTS_LIMIT = 16 << 30
_EXPANSION_LIMIT = 200
"""Keras stores without compression; float weights compress by a factor of 1.1, zeros by at most 1,030."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
"""What reading a damaged zip archive ends in."""


@dataclass(frozen=True)
class Archive:
    """An opened model file.

    Attributes:
        config: the model's configuration: `class_name`, `config` and more.
        weights: the model's arrays.
        generation: 2 for tf.keras and Keras 2 (also 1), 3 for Keras 3.
    """

    config: Mapping[str, Any]
    weights: Weights
    generation: int


@contextmanager
def open_archive(
    path: Path, architecture: Mapping[str, Any] | None = None, *, outlines: bool = False
) -> Iterator[Archive]:
    """Open a file for as long as it is read from.

    Args:
        path: the file.
        architecture: the configuration that belongs to a file with nothing but weights.
        outlines: whether large kernels and embeddings are outlines, and not read.

    Raises FormatError if it is not a whole Keras model, RecipeError if it is one and has an architecture of its own.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    if head.startswith(b"PK\x03\x04"):
        _refuse_second(path, architecture)
        config, content, generation = _read_zip(path, outlines=outlines)
        with content, _hdf5(path, content) as file:
            yield Archive(config, ByPosition(file, outlines=outlines), generation)
    elif head == b"\x89HDF\r\n\x1a\n":
        with _hdf5(path, path) as file:
            yield _legacy(path, file, architecture, outlines=outlines)
    else:
        raise FormatError(f"{path}: neither a .keras file (a zip archive) nor an HDF5 file; is it truncated?")


def registered_name(path: Path) -> str:
    """The name under which a `.keras` file's own class is registered; empty for Keras's classes. Raises FormatError."""
    content = member_of(path, "config.json", CONFIG_LIMIT)
    return "" if content is None else str(parse_json(path, content).get("registered_name") or "")


def member_of(path: Path, name: str, limit: int = _WEIGHTS_LIMIT) -> bytes | None:
    """A member of a `.keras` file; None if it is not there. Raises FormatError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _member(path, archive, name, limit) if name in archive.namelist() else None
    except _DAMAGE as error:
        raise FormatError(f"{path}: the .keras file is truncated or corrupted ({error})") from error


def _read_zip(path: Path, *, outlines: bool) -> tuple[dict[str, Any], IO[bytes], int]:
    try:
        with zipfile.ZipFile(path) as archive:
            config = parse_json(path, _member(path, archive, "config.json", CONFIG_LIMIT))
            metadata = {}
            if "metadata.json" in archive.namelist():
                metadata = parse_json(path, _member(path, archive, "metadata.json", CONFIG_LIMIT))
            content = _weights(path, archive, outlines=outlines)
    except _DAMAGE as error:
        raise FormatError(f"{path}: the .keras file is truncated or corrupted ({error})") from error
    return config, content, _generation(metadata.get("keras_version"), default=3)


def _weights(path: Path, archive: zipfile.ZipFile, *, outlines: bool) -> IO[bytes]:
    """The HDF5 file: in memory, where its checksum is tested, or as it lies in the archive if most is not read."""
    info = _info(path, archive, "model.weights.h5", _WEIGHTS_LIMIT)
    if outlines and info.compress_type == zipfile.ZIP_STORED:
        archive.open(info).close()  # tests the member's own header
        return io.BufferedReader(_Part(path, info.header_offset, info.file_size))
    return io.BytesIO(archive.read(info))


class _Part(io.RawIOBase):
    """A member of a zip archive that is stored as it is."""

    _HEADER, _LENGTHS = 30, struct.Struct("<HH")

    def __init__(self, path: Path, header: int, size: int) -> None:
        self._file: io.BufferedReader = path.open("rb")
        self._file.seek(header + self._HEADER - self._LENGTHS.size)
        self._start: int = header + self._HEADER + sum(self._LENGTHS.unpack(self._file.read(self._LENGTHS.size)))
        self._size = size
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        return self._file.seek(self._start + begin + offset) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def readinto(self, buffer: Any) -> int:
        left = max(self._size - self.tell(), 0)
        return self._file.readinto(memoryview(buffer)[:left])

    def close(self) -> None:
        self._file.close()
        super().close()


def _member(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    return archive.read(_info(path, archive, name, limit))


def _info(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise FormatError(
            f"{path}: not a .keras model: the archive has no {name} (a model is saved with model.save('name.keras'))"
        ) from None
    if info.file_size > limit or info.file_size > _EXPANSION_LIMIT * max(info.compress_size, 4096):
        raise FormatError(
            f"{path}: {name} claims {info.file_size:,} bytes from {info.compress_size:,}: not unpacked (zip bomb?)"
        )
    return info


def parse_json(path: Path, content: bytes | str) -> dict[str, Any]:
    """A configuration as Keras writes it. Raises FormatError that names the file for what is none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: the configuration cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path}: the configuration is not a model's: it is a {type(value).__name__}")
    return value


@contextmanager
def _hdf5(path: Path, source: Any) -> Iterator[Any]:
    try:
        file = h5py.File(source, "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise FormatError(f"{path}: the HDF5 part is truncated or corrupted ({error})") from error
    with file:
        yield file


def _legacy(path: Path, file: Any, architecture: Mapping[str, Any] | None, *, outlines: bool) -> Archive:
    if architecture is not None and is_weights_only(file):
        return Archive(architecture, weights_for(file, architecture, outlines=outlines), generation_of(architecture))
    _refuse_second(path, architecture)
    try:
        text = file.attrs.get("model_config")
        version = file.attrs.get("keras_version")
        group = member(file, "model_weights")
    except (OSError, RuntimeError, KeyError) as error:
        raise FormatError(f"{path}: the HDF5 file is corrupted ({error})") from error
    if text is None:
        if is_weights_only(file):
            raise UnsupportedError(
                f"{path}: holds weights only, not the architecture: give it with --architecture: a config.json written "
                "with model.to_json(), or a name of keras.applications, as MobileNetV2"
            )
        raise FormatError(f"{path}: an HDF5 file, but not a Keras model (the attribute model_config is missing)")
    if group is None:
        raise FormatError(f"{path}: the file has an architecture, but no weights (the group model_weights is missing)")
    return Archive(parse_json(path, text), ByName([group], outlines=outlines), _generation(version, default=2))


def _refuse_second(path: Path, architecture: Mapping[str, Any] | None) -> None:
    if architecture is not None:
        raise RecipeError(f"{path}: holds its own architecture; --architecture is for files with nothing but weights")


def generation_of(config: Mapping[str, Any]) -> int:
    """The generation that wrote a configuration: Keras 2 states its version there, Keras 3 each layer's module."""
    return _generation(config.get("keras_version"), default=3 if config.get("module") else 2)


def _generation(version: Any, default: int) -> int:
    text = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version or "")
    major = text.partition(".")[0]
    return default if not major.isdigit() else 3 if int(major) >= 3 else 2
