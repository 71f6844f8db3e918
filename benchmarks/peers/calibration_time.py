"""Library time of calibration against bare float inference, in one process; runs in tersor's environment.

Takes turns between

- ``threads``: the samples through one interpreter that uses every processor;
- ``interpreters``: the samples through one single-threaded interpreter per processor, in as many Python threads;
- ``calibrate``: `tersor.calibrate` as a program calls it, with the start of its child process;
- ``calibrate_started``: the same in an engine that is running already, as a second calibration has it.

The bare interpreters are loaded beforehand and that is not counted, while `calibrate` writes, loads and prepares the
model each time. The samples are in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import tersor
from tersor.runtimes.engine import Engine


def loaded(model: Path, threads: int) -> Interpreter:
    """An interpreter that is ready to run."""
    interpreter = Interpreter(str(model), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def run(interpreter: Interpreter, samples: list[Any]) -> None:
    """Every sample through the model."""
    index = interpreter.get_input_details()[0]["index"]
    for sample in samples:
        interpreter.set_tensor(index, sample)
        interpreter.invoke()


def run_side_by_side(interpreters: list[Interpreter], samples: list[Any]) -> None:
    """The samples shared between interpreters that run at the same time."""
    count = len(interpreters)
    workers = [
        threading.Thread(target=run, args=(interpreter, samples[place::count]))
        for place, interpreter in enumerate(interpreters)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main() -> None:
    """Take turns, and report the seconds of each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    path = arguments.folder / "model.tflite"
    samples = [sample[None] for sample in np.load(arguments.folder / "samples.npy")]
    processors = len(os.sched_getaffinity(0))
    model = tersor.optimize(tersor.load(path))
    wide = loaded(path, processors)
    narrow = [loaded(path, 1) for _ in range(processors)]
    with Engine() as engine:
        contestants: dict[str, Callable[[], object]] = {
            "threads": lambda: run(wide, samples),
            "interpreters": lambda: run_side_by_side(narrow, samples),
            "calibrate": lambda: tersor.calibrate(model, samples),
            "calibrate_started": lambda: tersor.calibrate(model, samples, engine=engine),
        }
        for work in contestants.values():
            work()
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(arguments.rounds):
            for name, work in contestants.items():
                start = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - start)
    arguments.report.write_text(json.dumps({"samples": len(samples), "processors": processors, "seconds": seconds}))


if __name__ == "__main__":
    main()
