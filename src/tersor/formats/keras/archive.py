"""A `.keras` or `.h5` file -> its configuration and its weights, with limits on what a file may claim."""

from __future__ import annotations

import contextlib
import io
import json
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tersor.errors import FormatError, RecipeError, UnsupportedError
from tersor.formats.keras.plain_hdf5 import Group, read_plain
from tersor.formats.keras.weights import ByName, ByPosition, Weights, member

CONFIG_LIMIT = 256 << 20
"""Bytes of configuration; the largest Keras application's has 2 MB."""

_WEIGHTS_LIMIT = 16 << 30
_EXPANSION_LIMIT = 200
"""Keras stores without compression; float weights compress by a factor of 1.1, zeros by at most 1,030."""

_HEADER = struct.Struct("<26xHH")
"""Of a member in a zip archive: how long its name and what follows that are."""
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
    path: Path, architecture: Mapping[str, Any] | None = None, *, outlines_above: float = math.inf
) -> Iterator[Archive]:
    """Open a file for as long as it is read from.

    Args:
        path: the file.
        architecture: the configuration that belongs to a file with nothing but weights.
        outlines_above: of more bytes of weights than these, large kernels and embeddings are outlines, and not read.

    Raises FormatError if it is not a whole Keras model, RecipeError if it is one and has an architecture of its own.
    """
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    if head.startswith(b"PK\x03\x04"):
        _refuse_second(path, architecture)
        config, content, generation = _read_zip(path, outlines_above)
        with _root(path, content) as root:
            outlines = _weights_size(root, len(content)) > outlines_above
            yield Archive(config, ByPosition(root, outlines=outlines), generation)
    elif head == b"\x89HDF\r\n\x1a\n":
        with _hdf5(path, path) as file:
            outlines = _weights_size(file, path.stat().st_size) > outlines_above
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


def _read_zip(path: Path, outlines_above: float) -> tuple[dict[str, Any], memoryview, int]:
    try:
        with zipfile.ZipFile(path) as archive:
            config = parse_json(path, _member(path, archive, "config.json", CONFIG_LIMIT))
            metadata = {}
            if "metadata.json" in archive.namelist():
                metadata = parse_json(path, _member(path, archive, "metadata.json", CONFIG_LIMIT))
            content = _content(path, archive, outlines_above)
    except _DAMAGE as error:
        raise FormatError(f"{path}: the .keras file is truncated or corrupted ({error})") from error
    return config, content, _generation(metadata.get("keras_version"), default=3)


def _content(path: Path, archive: zipfile.ZipFile, outlines_above: float) -> memoryview:
    """The HDF5 file: in memory, where its checksum is tested, or as it lies in the archive if most is not read."""
    info = _info(path, archive, "model.weights.h5", _WEIGHTS_LIMIT)
    if info.file_size > outlines_above and info.compress_type == zipfile.ZIP_STORED:
        archive.open(info).close()  # tests the member's own header
        with contextlib.suppress(OSError):  # of a file system that maps no files
            return _mapped(path, info)
    return memoryview(archive.read(info))


def _mapped(path: Path, info: zipfile.ZipInfo) -> memoryview:
    """A member of a zip archive that is stored as it is."""
    with path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    begin = info.header_offset + _HEADER.size + sum(_HEADER.unpack_from(whole, info.header_offset))
    return whole[begin : begin + info.file_size]


@contextmanager
def _root(path: Path, content: memoryview) -> Iterator[Any]:
    """The root of an HDF5 file: as `plain_hdf5` reads it, or the library."""
    plain = read_plain(content)
    if plain is not None:
        yield plain
        return
    with _hdf5(path, io.BufferedReader(_Stream(content))) as file:
        yield file


class _Stream(io.RawIOBase):
    """Bytes as a file, which `io.BytesIO` would copy."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._content)}[whence]
        self._place = max(begin + offset, 0)
        return self._place

    def readinto(self, buffer: Any) -> int:
        found = self._content[self._place : self._place + len(buffer)]
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


def _weights_size(root: Any, whole: int) -> int:
    """Bytes of the weights in an HDF5 file of so many, without an optimizer's."""
    if isinstance(root, Group):
        return root.size
    from tersor.formats.keras.hdf5_library import weights_size

    return weights_size(root, whole)


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
    import h5py

    try:
        file = h5py.File(source, "r")
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise FormatError(f"{path}: the HDF5 part is truncated or corrupted ({error})") from error
    with file:
        yield file


def _legacy(path: Path, file: Any, architecture: Mapping[str, Any] | None, *, outlines: bool) -> Archive:
    from tersor.formats.keras.weights_only import is_weights_only, weights_for

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
