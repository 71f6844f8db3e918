"""The same step with TensorFlow Model Optimization, which takes Keras 2 only; runs where it and tf-keras are.

    python train_tfmot.py NAME report.json

The network is the one of Keras 2's applications. `quantize_model` is its whole-model quantization-aware training.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from models import NETWORKS

BATCH = 2
SIDE = 128


def main() -> None:
    """Try it, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("report", type=Path)
    arguments = parser.parse_args()
    network = next(each for each in NETWORKS if each.name == arguments.name)
    side = min(network.side, SIDE)
    images = np.random.default_rng(0).uniform(-1, 1, (BATCH, side, side, 3)).astype(np.float32)
    found: dict[str, Any] = {"side": side, "batch": BATCH}
    started = time.perf_counter()
    try:
        model = getattr(tf_keras.applications, network.name)(weights=None, input_shape=(side, side, 3))
        ready = tfmot.quantization.keras.quantize_model(model)
        ready.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        found["loss"] = float(ready.train_on_batch(images, np.arange(BATCH)))
    except Exception as error:  # what does not train is a result
        said = str(error).splitlines()[0].partition(". You can")[0]
        found["error"] = f"{type(error).__name__}: {said}"
    found["seconds"] = time.perf_counter() - started
    arguments.report.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
