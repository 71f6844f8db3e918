"""Images made from random numbers that vary as photographs do; runs where Keras is."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def structured_images(count: int, seed: int, side: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Images of low-frequency noise, soft blobs and gratings, each with its own brightness, contrast and grain.

    Uniform noise would do injustice to every calibration: its mean over a receptive field hardly varies.

    Returns:
        ``[count, side, side, 3]`` in [-1, 1].
    """
    draw = np.random.default_rng(seed)
    images = np.empty((count, side, side, 3), np.float32)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    for image in images:
        image[:] = 0
        for cells, strength in ((3, 0.8), (7, 0.4), (21, 0.2)):
            coarse = draw.normal(0, strength, (cells, cells, 3)).astype(np.float32)
            image += keras.ops.convert_to_numpy(keras.ops.image.resize(coarse, (side, side), "bicubic"))
        for _ in range(draw.integers(0, 6)):
            y, x, radius = draw.uniform(0, 1), draw.uniform(0, 1), draw.uniform(0.02, 0.25)
            blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * radius**2))
            image += blob[..., None] * draw.uniform(-1.5, 1.5, 3).astype(np.float32)
        for _ in range(draw.integers(0, 4)):
            angle, cycles = draw.uniform(0, np.pi), np.exp(draw.uniform(np.log(3), np.log(90)))
            wave = np.sin(2 * np.pi * cycles * (rows * np.sin(angle) + columns * np.cos(angle)))
            image += wave[..., None] * draw.uniform(-0.6, 0.6, 3).astype(np.float32)
        image *= np.float32(draw.uniform(0.3, 1.0))
        image += draw.uniform(-0.4, 0.4, 3).astype(np.float32)
        image += draw.normal(0, np.exp(draw.uniform(np.log(0.01), np.log(0.2))), image.shape).astype(np.float32)
    return np.clip(images, -1, 1, out=images)
