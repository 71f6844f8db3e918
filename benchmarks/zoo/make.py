"""Make a network, its images, and Keras's own answers; runs where Keras is, on TensorFlow or PyTorch.

    python make.py NAME FOLDER [--quick] [--side PIXELS]

Written to the folder: ``model.keras`` (weights=None, made alive by `alive`), ``calibration.npy`` and ``held_back.npy``
(preprocessed as the application wants, drawn separately), ``keras.npy`` (`predict` of the first held-back images),
``referee.npy`` (the same in float64) and at last ``facts.json``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
from alive import enliven
from models import NETWORKS, Network, amounts

from images import structured_images

SEED = 0


def build(network: Network, side: int) -> keras.Model:
    """The application with its initial weights."""
    make = getattr(keras.applications, network.name)
    model: keras.Model = make(weights=None, input_shape=(side, side, 3))
    return model


def images(network: Network, count: int, seed: int, side: int) -> Any:
    """Images as the application wants them."""
    preprocess = importlib.import_module(f"keras.applications.{network.module}").preprocess_input
    return preprocess((structured_images(count, seed, side) + 1) * np.float32(127.5))


def referee(network: Network, side: int, weights: list[Any], samples: Any) -> Any:
    """The same network computed in float64: what float32 answers are rounded from. ``[samples, classes]``."""
    keras.backend.clear_session()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = build(network, side)
    model.set_weights(weights)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return model.predict(samples.astype(np.float64), batch_size=1, verbose=0)


def _use_one_thread() -> None:
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(1)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def main() -> None:
    """Write everything to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--side", type=int)
    arguments = parser.parse_args()
    _use_one_thread()
    network = next(each for each in NETWORKS if each.name == arguments.name)
    side = arguments.side or network.side
    count = amounts(network, quick=arguments.quick)
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(SEED)
    started = time.perf_counter()
    model = build(network, side)
    enliven(model, images(network, count.statistics, SEED + 1, side), SEED, norms=network.norms)
    model.save(folder / "model.keras")
    np.save(folder / "calibration.npy", images(network, count.calibration, SEED + 2, side))
    held_back = images(network, count.held_back, SEED + 3, side)
    np.save(folder / "held_back.npy", held_back)
    answers = model.predict(held_back[: count.keras], batch_size=1, verbose=0)
    np.save(folder / "keras.npy", answers)
    weights, parameters = model.get_weights(), model.count_params()
    del model
    np.save(folder / "referee.npy", referee(network, side, weights, held_back[: count.referee]))
    facts = {
        "side": side,
        "backend": keras.backend.backend(),
        "parameters": parameters,
        "seconds_to_make": time.perf_counter() - started,
        "images": {
            "statistics": count.statistics,
            "calibration": count.calibration,
            "held_back": count.held_back,
            "keras": count.keras,
            "referee": count.referee,
        },
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
