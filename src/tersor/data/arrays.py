"""Arrays in a `.npy` or `.npz` file, samples along the first axis.

In a `.npz`, `x` holds the samples and `y` the labels. A model with several inputs takes arrays by input name, in a file
without `x`. Files are read without unpickling: an object array is refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tersor.data.dataset import Dataset, Glimpse
from tersor.data.digest import digest_of_arrays, middle, sketch_of_arrays
from tersor.data.feed import Sample
from tersor.data.preprocess import Preprocess
from tersor.data.reading import Reading
from tersor.errors import DataError
from tersor.ir.graph import Array


def accepts(spec: str) -> bool:
    """Whether `spec` is a NumPy file."""
    return Path(spec).suffix.lower() in (".npy", ".npz")


def load(spec: str, shape: tuple[int, ...], preprocess: Preprocess, reading: Reading | None = None) -> Dataset:  # noqa: ARG001
    """The samples of a NumPy file. Raises DataError."""
    inputs, labels = _arrays(spec)
    sizes = {len(values) for values in inputs.values()} | ({len(labels)} if labels is not None else set())
    if len(sizes) != 1:
        counts = ", ".join(f"{name} {len(values)}" for name, values in inputs.items())
        raise DataError(f"{spec}: the arrays differ in length: {counts}, y {len(labels) if labels is not None else 0}")

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        for place in range(sizes.copy().pop()) if places is None else places:
            own = {name: preprocess.apply(array[place]) for name, array in inputs.items()}
            values: object = own["x"] if list(own) == ["x"] else own
            yield Sample(values, None if labels is None else labels[place], f"{spec}[{place}]")

    def peek(place: int) -> Glimpse:
        label = None if labels is None else labels[place]

        def rows() -> list[Array]:
            return [values[place] for values in inputs.values()]

        def sketch() -> bytes:
            parts = [item.middle(place) if isinstance(item, _Rows) else item[place] for item in inputs.values()]
            return sketch_of_arrays(parts)

        return Glimpse(label, f"{spec}[{place}]", lambda: digest_of_arrays(rows()), sketch)

    in_bytes = [np.dtype(values.dtype) == np.uint8 for values in inputs.values()]
    pixels = preprocess.is_identity and any(in_bytes)
    notes = ("values go in as they are, uint8 0..255 (no --rescale, no --mean and --std)",) if pixels else ()
    bounds = preprocess.foldable() if in_bytes == [True] else None
    return Dataset(draw, sizes.copy().pop(), spec, notes=notes, bounds=bounds, peek=peek)


class _Rows:
    """A `.npy` file whose rows are read one by one, so that memory does not grow with the file.

    (A mapped file would do, but its pages count as the process's own until something else needs the room.)
    """

    def __init__(self, path: Path) -> None:
        mapped = np.lib.format.open_memmap(path, mode="r")
        if mapped.ndim == 0:
            raise ValueError("it holds a single value, not an array of samples")
        self.shape: tuple[int, ...] = mapped.shape
        self.ndim = mapped.ndim
        self._path = path
        self.dtype = mapped.dtype
        self._offset = mapped.offset
        self._row_bytes = mapped[:1].nbytes
        self._mapped = None if mapped.flags.c_contiguous else mapped

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: int) -> Array:
        if self._mapped is not None:
            return np.asarray(self._mapped[place])
        return self._read(place, 0, self._row_bytes).reshape(self.shape[1:])

    def middle(self, place: int) -> Array:
        """As much of a row as a sketch is made of."""
        if self._mapped is not None:
            return np.asarray(self._mapped[place])
        first, count = middle(self._row_bytes // max(self.dtype.itemsize, 1), self.dtype.itemsize)
        return self._read(place, first * self.dtype.itemsize, count * self.dtype.itemsize)

    def _read(self, place: int, first: int, count: int) -> Array:
        """So many bytes of a row."""
        with self._path.open("rb") as file:
            file.seek(self._offset + place * self._row_bytes + first)
            return np.frombuffer(file.read(count), self.dtype)


def _arrays(spec: str) -> tuple[dict[str, Array | _Rows], Array | None]:
    arrays: dict[str, Array | _Rows]
    labels = None
    try:
        if Path(spec).suffix.lower() == ".npy":
            arrays = {"x": _Rows(Path(spec))}
        else:
            with Path(spec).open("rb") as file, np.load(file, allow_pickle=False) as loaded:
                names = ["x"] if "x" in loaded.files else [name for name in loaded.files if name != "y"]
                arrays = {name: loaded[name] for name in names}
                labels = loaded["y"] if "y" in loaded.files else None
    except (OSError, ValueError, TypeError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{spec}: not a readable NumPy file: {error}") from error
    if not arrays:
        raise DataError(f"{spec}: no array but y; the samples belong in an array named x")
    both = arrays if labels is None else {**arrays, "y": labels}
    scalars = [name for name, values in both.items() if values.ndim == 0]
    if scalars:
        raise DataError(f"{spec}: {scalars[0]!r} is a single value, not an array of samples")
    return arrays, labels
