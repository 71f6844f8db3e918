"""A folder of `.wav` files of 16 bits, one sample each; sub-folders are classes, as with images.

A clip becomes real numbers in [-1, 1), several channels their average, or features of them (`data.features`). Clips
shorter than the model's input are filled up with zeros at their end, longer ones cut there.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tersor.data.classes import classes_of_folders
from tersor.data.dataset import Dataset, Glimpse
from tersor.data.digest import digest_of_file, sketch_of_file
from tersor.data.features import FrontEnd, parse
from tersor.data.feed import Sample
from tersor.data.image_folder import IMAGE_SUFFIXES
from tersor.data.preprocess import Preprocess
from tersor.data.reading import Reading, Skipped, read_ahead
from tersor.errors import DataError
from tersor.ir.graph import Array

SUFFIX = ".wav"

_FULL_SCALE = np.float32(32768)


def accepts(spec: str) -> bool:
    """Whether `spec` is a folder with `.wav` files and no images."""
    if not Path(spec).is_dir():
        return False
    found = False
    for path in Path(spec).rglob("*"):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return False
        found = found or path.suffix.lower() == SUFFIX
    return found


def load(spec: str, shape: tuple[int, ...], preprocess: Preprocess, reading: Reading | None = None) -> Dataset:
    """The clips below a folder.

    Args:
        spec: the folder.
        shape: the model's input: [batch, samples], with axes of one if need be, or [batch, frames, features].
        preprocess: applied to samples in [-1, 1), or to features.
        reading: which features are wanted, and whether clips that cannot be read are left out.

    Raises DataError.
    """
    root = Path(spec)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() == SUFFIX and path.is_file())
    labels, classes = classes_of_folders(root, files)
    return recordings(files, labels, shape, preprocess, spec, classes, reading)


def recordings(
    files: Sequence[Path],
    labels: Sequence[object],
    shape: tuple[int, ...],
    preprocess: Preprocess,
    what: str,
    classes: tuple[str, ...] = (),
    reading: Reading | None = None,
) -> Dataset:
    """A data set of `.wav` files with their labels. Raises DataError, and RecipeError for features that are none."""
    reading = reading or Reading()
    skipped = Skipped(reading.skip_bad)
    first, rate = _first_rate(files, skipped)
    front_end = parse(reading.features, rate) if reading.features else None
    length = _length(shape, front_end, what)

    def read(place: int) -> Array:
        values, own_rate = read_wave(files[place])
        if own_rate != rate:
            raise DataError(
                f"{files[place]}: {own_rate} Hz, and the first, {first.name}, has {rate} Hz; resample one of them"
            )
        values = fitted(values, length)
        return values.reshape(_without_batch(shape, values)) if front_end is None else front_end.apply(values)

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        for place, values in read_ahead(read, range(len(files)) if places is None else places):
            if isinstance(values, DataError):
                skipped.note(files[place], values)
                continue
            yield Sample(preprocess.apply(values), labels[place], str(files[place]))

    def peek(place: int) -> Glimpse:
        path = files[place]
        return Glimpse(labels[place], str(path), lambda: digest_of_file(path), lambda: sketch_of_file(path))

    notes = [f"sound is of 16 bits at {rate} Hz" + (f", {length} samples a clip" if length else "")]
    notes.append("it goes in as numbers in [-1, 1)" if front_end is None else f"it goes in as {front_end}")
    return Dataset(draw, len(files), what, classes, notes=("; ".join(notes),), peek=peek)


def read_wave(path: Path) -> tuple[Array, int]:
    """The samples of a `.wav` file, float32 in [-1, 1), and how many there are a second. Raises DataError."""
    try:
        with path.open("rb") as file, wave.open(file) as clip:
            width, channels, rate, count = (
                clip.getsampwidth(),
                clip.getnchannels(),
                clip.getframerate(),
                clip.getnframes(),
            )
            data = clip.readframes(count)
    except (OSError, EOFError, wave.Error, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: not a readable .wav file (16-bit PCM): {error or 'it is cut off'}") from error
    if width != 2:
        raise DataError(f"{path}: has {8 * width} bits per sample; convert it to 16")
    if not count or len(data) < count * channels * 2:
        raise DataError(f"{path}: has {len(data) // (2 * channels)} samples and states {count}: it is empty or cut off")
    values = np.frombuffer(data, "<i2").reshape(count, channels)
    return np.asarray(values.mean(axis=1, dtype=np.float32) / _FULL_SCALE, np.float32), rate


def fitted(values: Array, length: int | None) -> Array:
    """Filled up with zeros, or cut, to so many samples; as it is for None."""
    if length is None or len(values) == length:
        return values
    return np.pad(values[:length], (0, max(length - len(values), 0)))


def _first_rate(files: Sequence[Path], skipped: Skipped) -> tuple[Path, int]:
    for path in files:
        try:
            return path, read_wave(path)[1]
        except DataError as error:
            skipped.note(path, error)
    raise DataError(f"none of the {len(files)} .wav files can be read")


def _length(shape: tuple[int, ...], front_end: FrontEnd | None, what: str) -> int | None:
    """Samples of a clip for this input, None if it leaves that open. Raises DataError for an input of another kind."""
    own = shape[1:] if len(shape) > 1 else shape
    if front_end is not None:
        if len(own) not in (2, 3) or own[1] not in (-1, front_end.size) or own[2:] not in ((), (1,), (-1,)):
            raise DataError(
                f"{what}: {front_end.kind} gives [frames, {front_end.size}], and the model takes "
                f"{'x'.join(map(str, own))}; see --features"
            )
        return None if own[0] < 0 else front_end.samples(own[0])
    if sum(size != 1 for size in own) > 1:
        raise DataError(
            f"{what}: sound is one row of samples, and the model takes {'x'.join(map(str, own))}; "
            "give --features, or arrays"
        )
    return None if any(size < 0 for size in own) else math.prod(own)


def _without_batch(shape: tuple[int, ...], values: Array) -> tuple[int, ...]:
    own = shape[1:] if len(shape) > 1 else shape
    return tuple(len(values) if size < 0 else size for size in own) if own.count(-1) <= 1 else (len(values),)
