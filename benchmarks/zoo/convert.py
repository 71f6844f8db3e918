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
    marks = [now()]
    model = tersor.load(source)
    marks.append(now())
    optimized = tersor.optimize(model)
    marks.append(now())
    tersor.save(optimized, target)
    marks.append(now())
    walls, processors = np.diff(marks, axis=0).T.tolist()
    steps = ("read", "optimize", "write")
    found = {"seconds": dict(zip(steps, walls, strict=True)), "cpu_seconds": dict(zip(steps, processors, strict=True))}
    report.write_text(json.dumps(found | {"operators": len(optimized.graph.ops)}))


def now() -> tuple[float, float]:
    """Seconds on the clock, and of the processor: other work on the machine shows in the first only."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main()
