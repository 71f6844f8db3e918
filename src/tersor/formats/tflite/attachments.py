"""The zip archive that may follow the flatbuffer: labels and vocabularies that the metadata refers to."""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from typing import Any

_END = b"PK\x05\x06"
_END_SIZE = 22
_LONGEST_COMMENT = 1 << 16
_LARGEST = 256 << 20
"""Bytes that all files together may unpack to: they are word lists, and an archive can claim to hold anything."""

_DATE = (1980, 1, 1, 0, 0, 0)
"""The date written for every file, so that equal models give equal bytes."""


def read_attachments(content: Any) -> tuple[tuple[str, bytes], ...]:
    """Names and bytes of the files behind a model. Raises ValueError for a damaged or oversized archive."""
    start = max(0, len(content) - _END_SIZE - _LONGEST_COMMENT)
    tail = bytes(content[start:])
    end = tail.rfind(_END)
    if end < 0 or end + _END_SIZE + int.from_bytes(tail[end + 20 : end + 22], "little") != len(tail):
        return ()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(item.file_size for item in archive.infolist()) > _LARGEST:
                raise ValueError(f"its attached files unpack to more than {_LARGEST >> 20} MiB")
            return tuple((item.filename, archive.read(item)) for item in archive.infolist())
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise ValueError(f"its attached files are damaged: {error}") from error


def attachments_bytes(files: tuple[tuple[str, bytes], ...], start: int) -> bytes:
    """The archive as it stands behind `start` bytes of model: its offsets count from the beginning of the file."""
    with tempfile.TemporaryFile() as file:
        file.truncate(start)
        file.seek(start)
        with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            warnings.simplefilter("ignore", UserWarning)  # a name that was there twice is there twice again
            for name, data in files:
                archive.writestr(zipfile.ZipInfo(name, _DATE), data)
        file.seek(start)
        return file.read()
