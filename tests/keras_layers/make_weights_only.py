"""Writes `weights_only.zip`: weights without architecture in both layouts, as Keras 3 and Keras 2 save them.

Run where TensorFlow, Keras 3 and tf_keras are installed: python tests/keras_layers/make_weights_only.py. The tests need
the archive only.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tf_keras


def network(library: Any) -> Any:
    """Two convolutions that got no name, a nested model, and a dense layer that has one."""
    layers = library.layers
    inside = library.Input((7, 7, 4))
    block = library.Model(inside, layers.BatchNormalization()(layers.Conv2D(4, 1)(inside)), name="block")
    image = library.Input((9, 9, 3), name="image")
    x = layers.ReLU()(layers.Conv2D(4, 3)(image))
    x = block(block(x))
    x = layers.DepthwiseConv2D(3)(layers.Conv2D(4, 3, padding="same")(x))
    return library.Model(image, layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D()(x)))


def enliven(model: Any, generator: np.random.Generator) -> None:
    """Random values for everything that layers begin with as zeros or ones."""
    model.set_weights([generator.uniform(0.1, 0.9, values.shape) for values in model.get_weights()])


def main() -> None:
    """Write the archive beside this file."""
    generator = np.random.default_rng(0)
    with (
        zipfile.ZipFile(Path(__file__).parent / "weights_only.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        tempfile.TemporaryDirectory() as folder,
    ):
        for library, name in ((keras, "three"), (tf_keras, "two")):
            library.backend.clear_session()
            architecture = network(library).to_json()
            model = network(library)  # the second of its session: layers without a name get later numbers
            enliven(model, generator)
            image = generator.normal(0, 1, (1, 9, 9, 3)).astype(np.float32)
            weights = Path(folder) / ("three.weights.h5" if library is keras else "two.h5")
            model.save_weights(weights)
            archive.write(weights, weights.name)
            archive.writestr(f"{name}.json", architecture)
            if library is tf_keras:
                model.save(Path(folder) / "whole.h5")
                archive.write(Path(folder) / "whole.h5", "two_whole.h5")
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, input=image, output=model.predict(image, verbose=0))
            archive.writestr(f"{name}.npz", buffer.getvalue())


if __name__ == "__main__":
    main()
