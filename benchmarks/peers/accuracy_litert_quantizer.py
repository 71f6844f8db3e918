"""litert-quantizer, its integer flavours of one float `.tflite` file; runs in its environment.

    python accuracy_litert_quantizer.py FOLDER

Reads ``float.tflite`` and ``calibration.npy``; writes ``litert_quantizer.FLAVOUR.tflite`` with its own calibration (a
moving average of the samples' ranges), ``litert_quantizer_min_max.FLAVOUR.tflite`` with the samples' ranges united,
which only its `Calibrator` offers, and a ``.json`` for each of the two (seconds, or the error, by flavour).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import qtyping, quantizer
from litert_quantizer.calibrator import Calibrator
from litert_quantizer.recipe_manager import RecipeManager
from litert_quantizer.utils import qsv_utils
from litert_quantizer_int8 import Samples

PER_TENSOR = qtyping.QuantGranularity.TENSORWISE
FLAVOURS: dict[str, dict[str, Any]] = {
    "int8": {"activation_num_bits": 8, "weight_num_bits": 8},
    "int8_per_tensor": {"activation_num_bits": 8, "weight_num_bits": 8, "weight_granularity": PER_TENSOR},
    "int16x8": {"activation_num_bits": 16, "weight_num_bits": 8},
    "int8_w4": {"activation_num_bits": 8, "weight_num_bits": 4},
}
"""Arguments of its static recipe; `recipe.static_wi8_ai8` and `static_wi8_ai16` are the first and the third."""


def make(folder: Path, flavour: str, *, min_max: bool) -> Any:
    """A quantized model."""
    model = str(folder / "float.tflite")
    (key, signature), *_ = Interpreter(model).get_signature_list().items()
    data = {key: Samples(folder / "calibration.npy", signature["inputs"][0])}
    recipes = RecipeManager()
    recipes.add_static_config(".*", qtyping.TFLOperationName.ALL_SUPPORTED, **FLAVOURS[flavour])
    recipe = recipes.get_quantization_recipe()
    work = quantizer.Quantizer(model, recipe)
    threads = len(os.sched_getaffinity(0))
    if min_max:
        update = qsv_utils.min_max_update
        calibrator = Calibrator(Path(model).read_bytes(), num_threads=threads, qsv_update_func=update)
        calibrator.calibrate(data, recipes)
        ranges = calibrator.get_model_qsvs()
    else:
        ranges = work.calibrate(data, num_threads=threads)
    return work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)


def main() -> None:
    """Quantize."""
    folder = Path(sys.argv[1])
    for name, min_max in (("litert_quantizer", False), ("litert_quantizer_min_max", True)):
        report: dict[str, Any] = {}
        for flavour in FLAVOURS:
            started = time.perf_counter()
            try:
                made = make(folder, flavour, min_max=min_max)
                made.export_model(str(folder / f"{name}.{flavour}.tflite"), overwrite=True)
            except Exception as error:  # whatever it raises, the flavour is not to be had
                report[flavour] = {"error": (str(error).splitlines() or [type(error).__name__])[0]}
                continue
            report[flavour] = {"seconds": time.perf_counter() - started}
        (folder / f"{name}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
