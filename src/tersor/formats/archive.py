"""A zip archive that equal content gives equal bytes of."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

_DATE = (1980, 1, 1, 0, 0, 0)
"""The date written for every file: the first that the format knows."""

_UNIX = 3
_READABLE = 0o100644 << 16
"""Rights of every file, as Unix has them."""

_LEVEL = 9


def write(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write an archive in place. Raises OSError."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name in sorted(contents):
            item = zipfile.ZipInfo(name, _DATE)
            item.create_system = _UNIX
            item.external_attr = _READABLE
            item.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(item, contents[name], compresslevel=_LEVEL)
