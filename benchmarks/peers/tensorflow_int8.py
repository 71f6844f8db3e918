"""TensorFlow's converter to int8, a whole process; runs in TensorFlow's environment.

Modes, all to int8 operators with int8 inputs and outputs:

- ``keras``: the ``.keras`` file, `TFLiteConverter.from_keras_model`;
- ``saved_model``: the saved model, `TFLiteConverter.from_saved_model`;
- ``concrete``: the saved model's function, `TFLiteConverter.from_concrete_functions` (slower, so not in the table);
- ``internal``: the float ``.tflite`` file, through the two private functions with which the converter ends. No public
  interface; here to see what the converter costs without the conversion.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from samples import stream


def converter(mode: str, folder: Path) -> Any:
    """The public converter, from the model of that mode."""
    if mode == "keras":
        import keras

        return tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(folder / "model.keras", compile=False))
    if mode == "saved_model":
        return tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"))
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    return tf.lite.TFLiteConverter.from_concrete_functions([loaded.signatures["serving_default"]], loaded)


def main() -> None:
    """Convert, and report the seconds of each step after the imports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=("keras", "saved_model", "concrete", "internal"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("report", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()

    def representative() -> Iterator[list[Any]]:
        for sample in stream(arguments.folder / "samples.npy"):
            yield [sample]

    if arguments.mode == "internal":
        from tensorflow.lite.python.convert import mlir_quantize
        from tensorflow.lite.python.optimize.calibrator import Calibrator

        calibrator = Calibrator((arguments.folder / "model.tflite").read_bytes())
        loaded = time.perf_counter()
        calibrated = calibrator.calibrate(representative)
        content = mlir_quantize(calibrated, fully_quantize=True, input_data_type=tf.int8, output_data_type=tf.int8)
    else:
        convert = converter(arguments.mode, arguments.folder)
        convert.optimizations = [tf.lite.Optimize.DEFAULT]
        convert.representative_dataset = representative
        convert.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        convert.inference_input_type = tf.int8
        convert.inference_output_type = tf.int8
        loaded = time.perf_counter()
        content = convert.convert()
    arguments.output.write_bytes(content)
    done = time.perf_counter()
    stages = {"load": loaded - started, "calibrate and quantize": done - loaded}
    arguments.report.write_text(json.dumps(stages))


if __name__ == "__main__":
    main()
