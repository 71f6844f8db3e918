"""TensorFlow's converter from `.keras` to a float `.tflite`, a whole process; runs in TensorFlow's environment."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf


def main() -> None:
    """Convert, and report the seconds of each step after the imports."""
    source, target, report = map(Path, sys.argv[1:])
    started = time.perf_counter()
    model = keras.models.load_model(source, compile=False)
    loaded = time.perf_counter()
    target.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    seconds = {"read": loaded - started, "convert and write": time.perf_counter() - loaded}
    report.write_text(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
