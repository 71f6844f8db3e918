"""Samples and labels as arrays, the same for both programs: photographs in a zip with a CSV, or an `.npz` of x and y.

    python keras2_samples.py DATA FOLDER

Writes ``samples.npy`` (float32, ``[count, height, width, 3]``) and ``labels.npy``.
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def photos(folder: Path) -> tuple[Any, list[int]]:
    """Photographs as MobileNetV1 wants them, in [-1, 1]."""
    with (folder / "photos.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        pixels = [np.asarray(Image.open(io.BytesIO(archive.read(row["file"]))).convert("RGB")) for row in rows]
    return np.stack(pixels).astype(np.float32) / np.float32(127.5) - 1, [int(row["class_index"]) for row in rows]


def main() -> None:
    """Write the arrays."""
    data, folder = map(Path, sys.argv[1:])
    if data.is_dir():
        samples, labels = photos(data)
    else:
        with np.load(data) as arrays:
            samples, labels = arrays["x"].astype(np.float32), arrays["y"]
    np.save(folder / "samples.npy", samples)
    np.save(folder / "labels.npy", np.asarray(labels))


if __name__ == "__main__":
    main()
