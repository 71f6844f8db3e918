"""One real step of quantization-aware training of a network; runs where tersor and Keras are, on any backend.

    python train.py NAME report.json

With weights that `alive` made. The report holds what was seen: seconds, the loss, how many weights moved, how many
ranges are known, and how far the file's answers on both kernel sets are from those of the network that was trained.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "torch" if importlib.util.find_spec("torch") else "tensorflow")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
from alive import enliven
from models import NETWORKS, Network

import tersor
from images import structured_images
from tersor.errors import PlanError
from tersor.recipe import adjusted, load_recipe
from tersor.runtimes.litert import KERNEL_SETS
from tersor.stages.compare import Accumulator
from tersor.training.qat import QuantizationAware, prepare

BATCH = 2
SIDE = 128
"""Pixels at most: a step of training keeps every activation."""

CHECKED = 8
RATE = 1e-3


def trained(network: Network, images: Any, found: dict[str, Any]) -> QuantizationAware:
    """The network after one step; what was seen on the way is put into `found`."""
    model = getattr(keras.applications, network.name)(weights=None, input_shape=images.shape[1:])
    enliven(model, _images(network, images.shape[1], 1), 0, norms=network.norms)
    own_answers = np.argmax(model.predict(images[:BATCH], batch_size=1, verbose=0), axis=-1)
    started = time.perf_counter(), time.process_time()
    recipe, samples = load_recipe("int8"), [image[None] for image in images]
    try:
        ready = prepare(model, recipe, data=samples)
    except PlanError:
        ready = prepare(model, adjusted(recipe, allow_float=True), data=samples)
    found["seconds"] = {"prepare": time.perf_counter() - started[0]}
    found["cpu_seconds"] = {"prepare": time.process_time() - started[1]}
    del model
    before = [np.array(keras.ops.convert_to_numpy(weight)) for weight in ready.trainable_weights]
    eagerly = keras.backend.backend() == "tensorflow"  # one step is sooner made than its graph
    ready.compile(keras.optimizers.SGD(RATE), "sparse_categorical_crossentropy", run_eagerly=eagerly)
    started = time.perf_counter(), time.process_time()
    history = ready.fit(images[:BATCH], own_answers, batch_size=BATCH, epochs=1, verbose=0)
    found["seconds"]["step"] = time.perf_counter() - started[0]
    found["cpu_seconds"]["step"] = time.process_time() - started[1]
    moved = [
        bool(np.any(old != keras.ops.convert_to_numpy(new)))
        for old, new in zip(before, ready.trainable_weights, strict=True)
    ]
    ranges = [quantizer.bounds() for quantizer in ready.quantizers().values()]
    found |= {
        "loss": float(history.history["loss"][0]),
        "weights": len(moved),
        "weights_moved": sum(moved),
        "ranges": len(ranges),
        "ranges_known": sum(own is not None and bool(np.all(np.isfinite(own))) for own in ranges),
    }
    return ready


def compared(ready: QuantizationAware, images: Any) -> dict[str, Any]:
    """Whether the file can be made and run, and how far its answers are from the network's."""
    model, plan = ready.planned()
    expected = np.asarray(ready.predict(images, batch_size=1, verbose=0))
    samples = [image[None] for image in images]
    found: dict[str, Any] = {"operators_in_float": len(plan.left_in_float()), "operators": len(plan.ops), "kernels": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "qat.tflite"
        tersor.save(tersor.quantize(model, plan), path)
        found["bytes"] = path.stat().st_size
        for kernels in KERNEL_SETS:
            sums = Accumulator("answer")
            for row, answer in zip(expected, tersor.run(path, samples, kernels=kernels), strict=True):
                sums.add(next(iter(answer.values())), row[None])
            distance = sums.distance()
            found["kernels"][kernels] = {"sqnr_db": distance.sqnr_db, "agreement": distance.agreement}
    return found


def _images(network: Network, side: int, seed: int) -> Any:
    preprocess = importlib.import_module(f"keras.applications.{network.module}").preprocess_input
    return preprocess((structured_images(CHECKED, seed, side) + 1) * np.float32(127.5))


def main() -> None:
    """Train a step, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("report", type=Path)
    arguments = parser.parse_args()
    network = next(each for each in NETWORKS if each.name == arguments.name)
    side = min(network.side, SIDE)
    keras.utils.set_random_seed(0)
    images = _images(network, side, 2)
    found: dict[str, Any] = {"backend": keras.backend.backend(), "side": side, "batch": BATCH, "images": CHECKED}
    try:
        ready = trained(network, images, found)
        found |= compared(ready, images)
        if not (np.isfinite(found["loss"]) and found["weights_moved"] and found["ranges_known"] == found["ranges"]):
            found["error"] = "the loss is not finite, or no weight moved, or a range is not known"
    except Exception as error:  # what does not train is a result
        found["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    arguments.report.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
