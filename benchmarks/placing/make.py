"""Make a network with random weights, in seconds; runs where Keras is.

    python make.py NAME PIXELS FILE.keras

Weights are those of the application's initializers with noise added, so that none of its constants is 0 or 1 and no
operator is left out for that; variances stay positive.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

NOISE = 0.05


def main() -> None:
    """Write the file."""
    name, side, path = sys.argv[1:]
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(int(side), int(side), 3))
    noise = np.random.default_rng(0)
    for variable in model.weights:
        if variable.dtype == "float32":
            added = NOISE * np.abs(noise.standard_normal(variable.shape, np.float32))
            variable.assign(np.asarray(variable) + added)
    model.save(path)


if __name__ == "__main__":
    main()
