"""A folder of images. Sub-folders are classes: their names are indices, or in alphabetical order class 0, 1, ...

Images are decoded on several threads; their order stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tersor.data.classes import classes_of_folders
from tersor.data.dataset import Dataset, Glimpse
from tersor.data.digest import digest_of_file, sketch_of_file
from tersor.data.feed import Sample
from tersor.data.preprocess import Preprocess
from tersor.data.reading import Reading, Skipped, read_ahead
from tersor.errors import DataError
from tersor.ir.graph import Array

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def accepts(spec: str) -> bool:
    """Whether `spec` is a folder."""
    return Path(spec).is_dir()


def load(spec: str, shape: tuple[int, ...], preprocess: Preprocess, reading: Reading | None = None) -> Dataset:
    """The images below a folder.

    Args:
        spec: the folder.
        shape: the model's input [batch, height, width, channels], -1 where open.
        preprocess: applied to pixels 0..255.
        reading: whether images that cannot be read are left out.

    Raises DataError if there are no images.
    """
    root = Path(spec)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not files:
        raise DataError(f"{spec}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    labels, classes = classes_of_folders(root, files)
    return images(files, labels, shape, preprocess, spec, classes, reading)


def images(
    files: Sequence[Path],
    labels: Sequence[object],
    shape: tuple[int, ...],
    preprocess: Preprocess,
    what: str,
    classes: tuple[str, ...] = (),
    reading: Reading | None = None,
) -> Dataset:
    """A data set of image files with their labels. Raises DataError."""
    if len(shape) != 4:
        raise DataError(f"{what}: images need a model with one input [batch, height, width, channels], not {shape}")
    size = (shape[1], shape[2])
    if -1 in size or shape[3] not in (1, 3, 4):
        raise DataError(f"{what}: images do not fit a model input of shape {shape}")

    skipped = Skipped(reading is not None and reading.skip_bad)

    def draw(places: Sequence[int] | None) -> Iterator[Sample]:
        wanted = range(len(files)) if places is None else places
        for place, pixels in read_ahead(lambda number: read_image(files[number], size, shape[3]), wanted):
            if isinstance(pixels, DataError):
                skipped.note(files[place], pixels)
                continue
            yield Sample(preprocess.apply(pixels), labels[place], str(files[place]))

    def peek(place: int) -> Glimpse:
        path = files[place]
        return Glimpse(labels[place], str(path), lambda: digest_of_file(path), lambda: sketch_of_file(path))

    notes = [] if not preprocess.is_identity else ["pixels go in as 0..255 (no --rescale, no --mean and --std)"]
    first = _first_size(files, skipped)
    if first != size:
        notes.append(f"images are resized to {size[0]}x{size[1]} (the first is {first[0]}x{first[1]})")
    return Dataset(draw, len(files), what, classes, notes=tuple(notes), bounds=preprocess.foldable(), peek=peek)


def read_image(path: Path, size: tuple[int, int], channels: int) -> Array:
    """Pixels uint8 [height, width, channels], resized (bilinear with antialiasing). Raises DataError."""
    from PIL import Image, ImageOps

    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{path}: has more than 8 bits per channel ({image.mode}); convert it, or give arrays")
            upright = ImageOps.exif_transpose(image).convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image: {error}") from error
    if (upright.height, upright.width) != size:
        upright = upright.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(upright, np.uint8)
    return pixels[..., np.newaxis] if channels == 1 else pixels


def _first_size(files: Sequence[Path], skipped: Skipped) -> tuple[int, int]:
    """Height and width of the first image that can be read."""
    for path in files:
        try:
            return _image_size(path)
        except DataError as error:
            skipped.note(path, error)
    raise DataError(f"none of the {len(files)} images can be read")


def _image_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image: {error}") from error
