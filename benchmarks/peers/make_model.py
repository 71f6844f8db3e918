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
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

SIDE = 224
STATISTICS_SAMPLES = 48
DIRECTIONS = 4
LOGIT_SCALE = 30.0
"""On top of the initial kernel of the classifier."""


def structured_images(count: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Images of low-frequency noise, soft blobs and gratings, each with its own brightness, contrast and grain.

    Uniform noise would do injustice to every calibration: its mean over a receptive field hardly varies.

    Returns:
        ``[count, SIDE, SIDE, 3]`` in [-1, 1].
    """
    draw = np.random.default_rng(seed)
    images = np.empty((count, SIDE, SIDE, 3), np.float32)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    for image in images:
        image[:] = 0
        for cells, strength in ((3, 0.8), (7, 0.4), (21, 0.2)):
            coarse = draw.normal(0, strength, (cells, cells, 3)).astype(np.float32)
            image += tf.image.resize(coarse, (SIDE, SIDE), "bicubic").numpy()
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


def make_model(seed: int) -> keras.Model:
    """MobileNetV2 whose activations are alive."""
    keras.utils.set_random_seed(seed)
    model = keras.applications.MobileNetV2(weights=None, input_shape=(SIDE, SIDE, 3))
    images = structured_images(STATISTICS_SAMPLES, seed + 1)
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
    np.save(folder / "samples.npy", structured_images(arguments.samples, arguments.seed + 2))
    evaluation = structured_images(arguments.evaluation, arguments.seed + 3)
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
