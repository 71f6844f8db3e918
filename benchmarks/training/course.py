"""What every method is given: the network, the images, and how long. For tersor and for its peers."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cifar
import numpy as np

BATCH = 128
CALIBRATION = 100
RATES = {"rounding": 1e-4, "weights": 1e-3}
"""Adam's first step size: where rounding is all that is new to a network, and where its weights change a lot."""


@dataclass
class Course:
    """What every method is given.

    Attributes:
        model: the trained float network, a Keras file.
        images: uint8 [50000,32,32,3], to train and to calibrate on.
        labels: int64 [50000].
        test_images: uint8 [10000,32,32,3].
        test_labels: int64 [10000].
        epochs: how often the images are seen.
        seed: of order, augmentation and calibration.
    """

    model: Path
    images: Any
    labels: Any
    test_images: Any
    test_labels: Any
    epochs: int
    seed: int

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return len(self.images) // BATCH

    @property
    def steps(self) -> int:
        """Of training in all."""
        return self.epochs * self.epoch

    @property
    def calibration(self) -> list[Any]:
        """Training images, as the network takes them: float32 [1,32,32,3]."""
        drawn = np.random.default_rng(self.seed).choice(len(self.images), CALIBRATION, replace=False)
        return [self.images[index][None].astype(np.float32) for index in drawn]

    def fit(self, keras: Any, network: Any, rate: str, callbacks: Any = ()) -> Any:
        """The network, trained: Adam, a cosine down to nothing; the same for all methods."""
        keras.utils.set_random_seed(self.seed)
        schedule = keras.optimizers.schedules.CosineDecay(RATES[rate], self.steps)
        network.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
        batches = cifar.batches(self.images, self.labels, BATCH, self.seed)
        network.fit(batches, steps_per_epoch=self.epoch, epochs=self.epochs, verbose=2, callbacks=list(callbacks))
        return network


def begun() -> tuple[str, Course, Path]:
    """The command line of a worker: the method's name, what it is given, and the folder to write to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("method")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--images", type=int, default=50_000, help="train on fewer, to try the script")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    with np.load(given.data) as data:
        training = data["x"][: given.images], data["y"][: given.images]
        course = Course(given.model, *training, data["test_x"], data["test_y"], given.epochs, given.seed)
    return given.method, course, given.output
