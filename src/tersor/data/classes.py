"""Classes by sub-folder: their names are indices, or in alphabetical order class 0, 1, ..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def classes_of_folders(root: Path, files: Sequence[Path]) -> tuple[list[object], tuple[str, ...]]:
    """A label for each file below a folder, None where there are no classes; and the names that are not numbers."""
    parts = [path.relative_to(root).parts for path in files]
    folders = sorted({own[0] for own in parts if len(own) > 1})
    if len(folders) < 2 or not all(len(own) > 1 for own in parts):
        return [None] * len(files), ()
    numbered = all(name.isdecimal() for name in folders)
    index = {name: int(name) if numbered else number for number, name in enumerate(folders)}
    return [index[own[0]] for own in parts], () if numbered else tuple(folders)
