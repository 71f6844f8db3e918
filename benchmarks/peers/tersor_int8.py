"""tersor's library to int8, a whole process, the result not verified; runs in tersor's environment.

What the other quantizers do and no more: read, calibrate, plan, quantize, write. `tersor quantize`, which is measured
beside it, runs the result on both kernel sets and measures how far it is from the float model.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import tersor


def main() -> None:
    """Quantize, and report the seconds of each step after the imports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--model", default="model.tflite", help="the file in the folder to start from")
    arguments = parser.parse_args()

    marks = [("start", time.perf_counter())]
    model = tersor.optimize(tersor.load(arguments.folder / arguments.model))
    data = tersor.load_data(str(arguments.folder / "samples.npy"), model)
    marks.append(("import and load", time.perf_counter()))
    statistics = tersor.calibrate(model, data)
    marks.append(("calibrate", time.perf_counter()))
    plan = tersor.plan(model, tersor.load_recipe("int8"), statistics)
    marks.append(("plan", time.perf_counter()))
    quantized = tersor.quantize(model, plan)
    marks.append(("quantize", time.perf_counter()))
    tersor.save(quantized, arguments.output)
    marks.append(("save", time.perf_counter()))
    stages = {name: end - start for (_, start), (name, end) in pairwise(marks)}
    arguments.report.write_text(json.dumps(stages))


if __name__ == "__main__":
    main()
