"""litert-quantizer to int8, a whole process; runs in its environment.

Modes of calibration:

- ``profiler``: `CALIBRATION_PROFILER_BASED`, minima and maxima taken in C++: its fastest;
- ``preserve_all``: `CALIBRATION_PRESERVE_ALL_TENSORS`, its default, statistics taken in Python;
- ``profiler_min_max``: as ``profiler``, but the samples' ranges are united instead of averaged, as the others do.
  `Quantizer.calibrate` does not offer it, its `Calibrator` does.

The number of threads is what is fastest here, one per processor; the default of 16 is slower on few processors.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe
from litert_quantizer.calibrator import CalibrationMode, Calibrator
from litert_quantizer.utils import qsv_utils

MODES = {
    "profiler": CalibrationMode.CALIBRATION_PROFILER_BASED,
    "profiler_min_max": CalibrationMode.CALIBRATION_PROFILER_BASED,
    "preserve_all": CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
}


class Samples:
    """What it wants as data: to be gone through more than once, a dictionary by input name per sample.

    Views of the mapped file: it makes a list of all samples first, to count them.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._arrays = np.load(path, mmap_mode="r")
        self._name = name

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for sample in self._arrays:
            yield {self._name: sample[None]}


def main() -> None:
    """Quantize, and report the seconds of each step after the imports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=tuple(MODES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("report", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()

    model = str(arguments.folder / "model.tflite")
    (key, signature), *_ = Interpreter(model).get_signature_list().items()
    work = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    data = {key: Samples(arguments.folder / "samples.npy", signature["inputs"][0])}
    threads = len(os.sched_getaffinity(0))
    loaded = time.perf_counter()
    mode = MODES[arguments.mode]
    if arguments.mode == "profiler_min_max":
        from litert_quantizer.recipe_manager import RecipeManager

        recipes = RecipeManager()
        recipes.load_quantization_recipe(recipe.static_wi8_ai8())
        calibrator = Calibrator(
            Path(model).read_bytes(), num_threads=threads, mode=mode, qsv_update_func=qsv_utils.min_max_update
        )
        calibrator.calibrate(data, recipes)
        ranges = calibrator.get_model_qsvs()
    else:
        ranges = work.calibrate(data, num_threads=threads, mode=mode)
    calibrated = time.perf_counter()
    result = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    result.export_model(str(arguments.output), overwrite=True)
    done = time.perf_counter()
    stages = {
        "load": loaded - started,
        "calibrate": calibrated - loaded,
        "quantize": done - calibrated,
    }
    arguments.report.write_text(json.dumps(stages))


if __name__ == "__main__":
    main()
