"""A CSV file that lists images and their labels, beside the images.

One column names the file (`file`, `filename`, `path` or `image`), one the class (`class_index`, `label`, `class`,
`category`, `target` or `y`): an index, or a name; names in alphabetical order are class 0, 1, ...
"""

from __future__ import annotations

import csv
from pathlib import Path

from tersor.data.dataset import Dataset
from tersor.data.image_folder import images
from tersor.data.preprocess import Preprocess
from tersor.data.reading import Reading, Skipped
from tersor.errors import DataError

FILE_COLUMNS = ("file", "filename", "path", "image")
LABEL_COLUMNS = ("class_index", "label", "class", "category", "target", "y")


def accepts(spec: str) -> bool:
    """Whether `spec` is a CSV file."""
    return Path(spec).suffix.lower() == ".csv"


def load(spec: str, shape: tuple[int, ...], preprocess: Preprocess, reading: Reading | None = None) -> Dataset:
    """The images that a CSV lists, found relative to it or in a folder of its name. Raises DataError."""
    path = Path(spec)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{spec}: cannot be read: {error}") from error
    if not rows:
        raise DataError(f"{spec}: it lists no images")
    file_column = _column(rows[0], FILE_COLUMNS)
    if file_column is None:
        raise DataError(f"{spec}: no column {' or '.join(FILE_COLUMNS)}; it has {', '.join(rows[0])}")
    skipped = Skipped(reading is not None and reading.skip_bad)
    found = [(_find(path, row[file_column] or "", skipped), row) for row in rows]
    files = [file for file, _ in found if file is not None]
    rows = [row for file, row in found if file is not None]
    if not files:
        raise DataError(f"{spec}: none of the images that it lists is there")
    label_column = _column(rows[0], LABEL_COLUMNS)
    names = [row[label_column] or "" for row in rows] if label_column is not None else []
    classes: tuple[str, ...] = ()
    labels: list[object] = [None] * len(rows)
    if names and not all(names):
        raise DataError(f"{spec}: row {names.index('') + 1} has no {label_column}")
    numbers = [_number(name) for name in names]
    if names and all(number is not None for number in numbers):
        labels = list(numbers)
    elif names:
        classes = tuple(sorted(set(names)))
        labels = [classes.index(name) for name in names]
    return images(files, labels, shape, preprocess, spec, classes, reading)


def _number(text: str) -> int | float | None:
    """A class index, or a target value, or None for a name."""
    if text.isdecimal() and text.isascii():
        return int(text)
    try:
        return float(text)
    except ValueError:
        return None


def _column(row: dict[str, str], known: tuple[str, ...]) -> str | None:
    by_name = {name.strip().lower(): name for name in row if name is not None}
    return next((by_name[name] for name in known if name in by_name), None)


def _find(csv_path: Path, name: str, skipped: Skipped) -> Path | None:
    for folder in (csv_path.parent, csv_path.parent / csv_path.stem):
        if (folder / name).is_file():
            return folder / name
    error = DataError(f"{csv_path}: it lists {name!r}, which is neither beside it nor in {csv_path.stem}/")
    skipped.note(csv_path.parent / name, error)
    return None
