"""One way to train ResNet-8 for CIFAR-10, and what its files do on the 10,000 test images; in tersor's environment.

    python methods.py METHOD --model FILE --data CIFAR.npz --epochs N --seed N --output FOLDER

Writes the files into the folder, ``result.json``, and ``right.npz``: which test images each file gets right.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cifar
import keras
import naive
import numpy as np
import tersor
from tersor.recipe import load_recipe
from tersor.training import qat
from tersor.training.network import Network

BATCH = 128
CALIBRATION = 100
RATES = {"rounding": 1e-4, "weights": 1e-3}
"""Adam's first step size: where rounding is all that is new to a network, and where its weights change a lot."""


class Batches(keras.utils.PyDataset):
    """Shuffled and augmented training images, others in every epoch."""

    def __init__(self, images: Any, labels: Any, seed: int) -> None:
        super().__init__()
        self._images, self._labels = images, labels
        self._generator = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self) -> int:
        return len(self._images) // BATCH

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows = self._order[index * BATCH : (index + 1) * BATCH]
        return cifar.augmented(self._images[rows], self._generator), self._labels[rows]

    def on_epoch_end(self) -> None:
        """Another order."""
        self._order = self._generator.permutation(len(self._images))


@dataclass
class Course:
    """What every method is given.

    Attributes:
        model: the trained float network, a Keras file.
        images: uint8 [50000,32,32,3], to train on; the first ones also to calibrate on.
        labels: int64 [50000].
        epochs: how often all of them are seen.
        seed: of order, augmentation and calibration.
    """

    model: Path
    images: Any
    labels: Any
    epochs: int
    seed: int

    @property
    def steps(self) -> int:
        """Of training in all."""
        return self.epochs * (len(self.images) // BATCH)

    @property
    def calibration(self) -> list[Any]:
        """Training images, as the network takes them."""
        drawn = np.random.default_rng(self.seed).choice(len(self.images), CALIBRATION, replace=False)
        return [self.images[index][None].astype(np.float32) for index in drawn]

    def fit(self, network: Any, rate: float) -> Any:
        """The network, trained: Adam, a cosine down to nothing; the same for all methods."""
        schedule = keras.optimizers.schedules.CosineDecay(rate, self.steps)
        network.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
        network.fit(Batches(self.images, self.labels, self.seed), epochs=self.epochs, verbose=2)
        return network

    def keras_model(self) -> Any:
        """The network as Keras has it."""
        return keras.models.load_model(self.model, compile=False)
