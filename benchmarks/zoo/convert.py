"""A `.keras` file to a float `.tflite`, a process of its own, so that its time and memory are this alone.

python convert.py model.keras model.tflite report.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import tersor
import tersor.formats.keras
import tersor.stages.optimize
import tersor.stages.save


def main() -> None:
    """Convert, and report the seconds of each step after the imports."""
    source, target, report = map(Path, sys.argv[1:])
    marks = [time.perf_counter()]
    model = tersor.load(source)
    marks.append(time.perf_counter())
    optimized = tersor.optimize(model)
    marks.append(time.perf_counter())
    tersor.save(optimized, target)
    marks.append(time.perf_counter())
    seconds = dict(zip(("read", "optimize", "write"), np.diff(marks).tolist(), strict=True))
    report.write_text(json.dumps({"seconds": seconds, "operators": len(optimized.graph.ops)}))


if __name__ == "__main__":
    main()
