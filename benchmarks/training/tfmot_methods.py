"""The methods of TensorFlow's model optimization toolkit, which takes Keras 2; in its environment.

    python tfmot_methods.py METHOD --model FILE --data CIFAR.npz --epochs N --seed N --output FOLDER

Files are made by TensorFlow's converter, as the toolkit's guides do it.
"""

from __future__ import annotations

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
from course import Course, begun

keras = tf.keras


def quantization_aware(course: Course) -> Any:
    """int8 with scales per channel, the toolkit's default."""
    model = keras.models.load_model(course.model, compile=False)
    network = course.fit(keras, tfmot.quantization.keras.quantize_model(model), "rounding")
    return _converted(network, quantized=True)


def pruned(sparsity: float) -> Callable[[Course], Any]:
    """Polynomial decay over the first half of the steps, in all layers that it takes."""

    def method(course: Course) -> Any:
        return _converted(_stripped(course, sparsity), quantized=False)

    return method


def pruned_and_quantized(course: Course) -> Any:
    """80 % pruned, then quantization-aware with the pruning kept (PQAT)."""
    kept = tfmot.quantization.keras.quantize_annotate_model(_stripped(course, 0.8))
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    network = course.fit(keras, tfmot.quantization.keras.quantize_apply(kept, scheme), "rounding")
    return _converted(network, quantized=True)


def _stripped(course: Course, sparsity: float) -> Any:
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, 0, course.steps // 2, frequency=50)
    model = keras.models.load_model(course.model, compile=False)
    network = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
    course.fit(keras, network, "weights", [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(network)


def _converted(network: Any, *, quantized: bool) -> Any:
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


METHODS: dict[str, Callable[[Course], Any]] = {
    "tfmot_int8": quantization_aware,
    "tfmot_pruned_50": pruned(0.5),
    "tfmot_pruned_80": pruned(0.8),
    "tfmot_pruned_80_int8": pruned_and_quantized,
}

if __name__ == "__main__":
    name, course, folder = begun()
    Path(folder / f"{name}.tflite").write_bytes(METHODS[name](course))
