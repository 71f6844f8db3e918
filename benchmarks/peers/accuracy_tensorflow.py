"""TensorFlow's converter, its integer flavours of one float `.tflite` file; runs in TensorFlow's environment.

    python accuracy_tensorflow.py float SAVED_MODEL FILE
    python accuracy_tensorflow.py quantize FOLDER [--saved-model SAVED_MODEL]

`quantize` reads ``float.tflite`` and ``calibration.npy``, and writes ``tensorflow.FLAVOUR.tflite`` and
``tensorflow.json`` (seconds, or the error, by flavour). It calls the private functions with which
`TFLiteConverter.convert` ends (`TFLiteConverterBase._quantize`), so that it starts from the same float file as the
others. With a SavedModel, ``tensorflow.public.int8.tflite`` comes from there by the public interface: to see that the
two ways agree.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from samples import stream
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

Maker = Callable[[], bytes]


def loadable(saved_model: Path, folder: Path) -> str:
    """A copy without the optimizer's variables, for which TensorFlow would want the Keras that wrote them."""
    for source in (item for item in saved_model.rglob("*") if item.is_file()):
        target = folder / source.relative_to(saved_model)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    file = folder / "saved_model.pb"
    saved = SavedModel.FromString((saved_model / file.name).read_bytes())
    for meta_graph in saved.meta_graphs:
        for node in meta_graph.object_graph_def.nodes:
            del node.slot_variables[:]
    file.write_bytes(saved.SerializeToString())
    return str(folder)


def makers(folder: Path, saved_model: Path | None) -> dict[str, Maker]:
    """How each flavour is made."""
    content = (folder / "float.tflite").read_bytes()

    def representative() -> Iterator[list[Any]]:
        for sample in stream(folder / "calibration.npy"):
            yield [sample]

    def int8(disable_per_channel: bool) -> bytes:
        calibrated = Calibrator(add_intermediate_tensors(content)).calibrate(representative)
        made: bytes = mlir_quantize(
            calibrated, disable_per_channel, fully_quantize=True, input_data_type=tf.int8, output_data_type=tf.int8
        )
        return made

    def int16x8() -> bytes:
        made: bytes = Calibrator(add_intermediate_tensors(content)).calibrate_and_quantize(
            representative, tf.float32, tf.float32, False, tf.int16, tf.int64
        )
        return made

    def public(saved_model: Path) -> bytes:
        converter = tf.lite.TFLiteConverter.from_saved_model(loadable(saved_model, folder / "saved_model"))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        made: bytes = converter.convert()
        return made

    found: dict[str, Maker] = {
        "int8": lambda: int8(disable_per_channel=False),
        "int8_per_tensor": lambda: int8(disable_per_channel=True),
        "int16x8": int16x8,
    }
    return found if saved_model is None else {**found, "public.int8": lambda: public(saved_model)}


def main() -> None:
    """Convert."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    to_float = commands.add_parser("float")
    to_float.add_argument("saved_model", type=Path)
    to_float.add_argument("file", type=Path)
    quantize = commands.add_parser("quantize")
    quantize.add_argument("folder", type=Path)
    quantize.add_argument("--saved-model", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "float":
        source = loadable(arguments.saved_model, arguments.file.with_name("saved_model"))
        arguments.file.write_bytes(tf.lite.TFLiteConverter.from_saved_model(source).convert())
        return
    report: dict[str, Any] = {}
    for flavour, make in makers(arguments.folder, arguments.saved_model).items():
        started = time.perf_counter()
        try:
            content = make()
        except Exception as error:  # whatever it raises, the flavour is not to be had
            report[flavour] = {"error": (str(error).splitlines() or [type(error).__name__])[0]}
            continue
        (arguments.folder / f"tensorflow.{flavour}.tflite").write_bytes(content)
        report[flavour] = {"seconds": time.perf_counter() - started}
    (arguments.folder / "tensorflow.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
