"""Make the model and the samples that all contestants get; runs in TensorFlow's environment.

MobileNetV2 224 with random weights, so that nothing is downloaded. Three things make it behave more like a trained one:

- the statistics of every batch normalization are those of a batch of the samples, so that activations are alive;
- the classifier looks only at the directions in which features differ most between samples, and not at their mean: a
  random one answers the same class for nearly every sample, or follows directions that are mostly rounding noise in
  int8, whoever quantizes;
- the classifier's kernel is scaled up: the softmax of the initial weights is so flat that it is 0 in int8.

Written to the folder: ``model.keras``, ``saved_model/`` and ``model.tflite`` (all with the batch fixed to 1),
``samples.npy`` and ``evaluation.npy`` (float32, ``[count, 224, 224, 3]``, in [-1, 1], drawn separately), and at last
``model.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

from images import structured_images

SIDE = 224
STATISTICS_SAMPLES = 48
DIRECTIONS = 4
LOGIT_SCALE = 30.0
"""On top of the initial kernel of the classifier."""


def make_model(seed: int) -> keras.Model:
    """MobileNetV2 whose activations are alive."""
    keras.utils.set_random_seed(seed)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(SIDE, SIDE, 3))
    images = structured_images(STATISTICS_SAMPLES, seed + 1, SIDE)
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    usual = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(normalizations, usual, strict=True):
        layer.momentum = momentum
    classifier = model.layers[-1]
    features = keras.Model(model.input, classifier.input).predict(images, verbose=0)
    mean = features.mean(0)
    directions = np.linalg.svd(features - mean, full_matrices=False)[2][:DIRECTIONS]
    kernel = directions.T @ directions @ classifier.kernel.numpy() * LOGIT_SCALE
    classifier.kernel.assign(kernel)
    classifier.bias.assign(-mean @ kernel)
    return model


def main() -> None:
    """Write everything to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--evaluation", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)

    model = make_model(arguments.seed)
    fixed = keras.applications.MobileNetV2(weights=None, input_tensor=keras.Input(batch_shape=(1, SIDE, SIDE, 3)))
    fixed.set_weights(model.get_weights())
    fixed.save(folder / "model.keras")
    fixed.export(folder / "saved_model", verbose=False)
    (folder / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(fixed).convert())
    np.save(folder / "samples.npy", structured_images(arguments.samples, arguments.seed + 2, SIDE))
    evaluation = structured_images(arguments.evaluation, arguments.seed + 3, SIDE)
    np.save(folder / "evaluation.npy", evaluation)

    answers = model.predict(evaluation, verbose=0)
    facts = {
        "model": "MobileNetV2 224, random weights",
        "seed": arguments.seed,
        "samples": arguments.samples,
        "evaluation": arguments.evaluation,
        "classes_seen": len(set(answers.argmax(-1).tolist())),
        "median_top_probability": float(np.median(answers.max(-1))),
        "float_bytes": (folder / "model.tflite").stat().st_size,
    }
    (folder / "model.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
