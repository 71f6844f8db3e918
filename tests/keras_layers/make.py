"""Writes `cases.zip`: small models of every layer that is read, as Keras itself saves them, with what it answers.

Run where Keras 3 and TensorFlow are installed: python tests/keras_layers/make.py. TensorFlow does not convolve
channels_first on a CPU: with KERAS_BACKEND=jax the script writes `not_in_tensorflow.zip`. The tests need the archives
only.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import functions
import keras
import numpy as np
from keras import layers as L  # noqa: N812
from sequences import ON_ROWS, ON_SEQUENCES, ROW, SEQUENCE
from special import SPECIAL, functional

from images import (
    CHANNELS_FIRST,
    IMAGE,
    NOT_IN_TENSORFLOW,
    ON_IMAGES,
    ON_VOLUMES,
    VOLUME,
    VOLUMES_NOT_IN_TENSORFLOW,
)


def enliven(model: Any, generator: np.random.Generator) -> None:
    """Random values for everything that layers begin with as zeros or ones."""
    for layer in model._flatten_layers(include_self=False):  # the public list leaves nested layers out
        if isinstance(layer, L.Normalization):
            continue
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if variable.dtype == "float32":
                low = 0.5 if variable.name in ("moving_variance", "gamma", "scale") else -0.5
                variable.assign(generator.uniform(low, low + 1, variable.shape))


def groups() -> dict[str, Callable[[], Any]]:
    """The models by name; those that TensorFlow does not compute on a CPU on another backend."""
    models: dict[str, Callable[[], Any]]
    if keras.backend.backend() != "tensorflow":
        first = (IMAGE[2], *IMAGE[:2])
        models = {f"first_{name}": partial(functional, first, body) for name, body in CHANNELS_FIRST.items()}
        models |= {name: partial(functional, VOLUME, body) for name, body in VOLUMES_NOT_IN_TENSORFLOW.items()}
        return models | {name: partial(functional, IMAGE, body) for name, body in NOT_IN_TENSORFLOW.items()}
    tables = [(IMAGE, ON_IMAGES), (ROW, ON_ROWS), (SEQUENCE, ON_SEQUENCES), (VOLUME, ON_VOLUMES)]
    tables += [(IMAGE, functions.ON_IMAGES), (SEQUENCE, functions.ON_SEQUENCES)]
    models = dict(SPECIAL)
    for shape, cases in tables:
        models |= {name: partial(functional, shape, body) for name, body in cases.items()}
    return models


def main() -> None:
    """Write the archive beside this file."""
    generator = np.random.default_rng(0)
    target = "cases.zip" if keras.backend.backend() == "tensorflow" else "not_in_tensorflow.zip"
    chosen = sys.argv[1:]
    with (
        zipfile.ZipFile(Path(__file__).parent / target, "w", zipfile.ZIP_LZMA) as archive,
        tempfile.TemporaryDirectory() as folder,
    ):
        for name, make in groups().items():
            if chosen and name not in chosen:
                continue
            keras.backend.clear_session()
            model = make()
            enliven(model, generator)
            inputs = [
                generator.integers(0, 11, (1, *item.shape[1:])).astype(np.int32)
                if item.dtype == "int32"
                else generator.normal(0, 2, (1, *item.shape[1:])).astype(np.float32)
                for item in model.inputs
            ]
            answers = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
            arrays = {f"input_{number}": item for number, item in enumerate(inputs)}
            listed = keras.tree.flatten(answers)
            arrays |= {f"output_{number}": item for number, item in enumerate(listed)}
            for suffix in (".keras", ".h5"):
                path = Path(folder) / f"{name}{suffix}"
                model.save(path)
                archive.write(path, path.name)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
            archive.writestr(f"{name}.npz", buffer.getvalue())


if __name__ == "__main__":
    main()
