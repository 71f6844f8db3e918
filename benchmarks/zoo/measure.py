"""What tersor makes of one network of the zoo; runs in tersor's environment, after `make` and `convert`.

    python measure.py FOLDER REPORT

A column of the table is a function here: it is given the `Subject` and returns what is kept under its name in the
network's JSON. `page` shows it. Everything runs on one processor.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import tersor
from tersor.errors import PlanError
from tersor.ir.plan import OpPlan
from tersor.recipe import Recipe, adjusted, load_recipe
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import KERNEL_SETS
from tersor.stages.benchmark import benchmark
from tersor.stages.compare import compare, real_outputs
from tersor.stages.correct import SAMPLES as CORRECTION_SAMPLES
from tersor.stages.correct import Corrected, correct
from tersor.stages.verify import SAMPLES, verify_against

TIME_LIMIT = 3600.0
"""Seconds for one answer of the runtime: int16 kernels of the largest networks take a minute per image."""

LATENCY_ROUNDS = 7


@dataclass
class Subject:
    """A network, its images, and what is computed once for all columns."""

    folder: Path
    engine: Engine
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def float_path(self) -> Path:
        """The file that `convert` wrote."""
        return self.folder / "model.tflite"

    @cached_property
    def model(self) -> tersor.Model:
        """The float model, optimized."""
        return tersor.optimize(tersor.load(self.folder / "model.keras"))

    @cached_property
    def held_back(self) -> list[Any]:
        """Images ``[1, height, width, 3]`` that calibration does not see."""
        return [image[None] for image in np.load(self.folder / "held_back.npy", mmap_mode="r")]

    @cached_property
    def statistics(self) -> tersor.Statistics:
        """Ranges of all activations."""
        started = time.perf_counter()
        found = tersor.calibrate(self.model, self.calibration(), engine=self.engine, threads=1)
        self.seconds["calibrate"] = time.perf_counter() - started
        return found

    @cached_property
    def wanted(self) -> list[list[Any]]:
        """What the float file answers to the held-back images."""
        return self.outputs(self.float_path, self.held_back)

    def outputs(self, path: Path, images: Sequence[Any], kernels: str = "xnnpack") -> list[list[Any]]:
        """The answers of a file."""
        handle = self.engine.open(str(path), kernels)
        found = list(real_outputs(handle, images))
        handle.close()
        return found

    def make(self, recipe: Recipe, path: Path) -> tersor.Plan:
        """Quantize, with the recipe's corrections, and write; none of it is verified yet."""
        decided = tersor.plan(self.model, recipe, self.statistics if recipe.needs_calibration else None)
        draft = Corrected(self.model, decided)
        if recipe.algorithms:
            draft = correct(
                self.model,
                decided,
                self.calibration(CORRECTION_SAMPLES),
                recipe.algorithms,
                fan_in_limit=recipe.fan_in_limit,
                engine=self.engine,
            )
        tersor.save(tersor.quantize(draft.model, draft.plan), path)
        return draft.plan

    def calibration(self, count: int | None = None) -> Iterator[Any]:
        """Images ``[1, height, width, 3]`` to calibrate on, all or the first."""
        return (image[None] for image in np.load(self.folder / "calibration.npy", mmap_mode="r")[:count])


def float32(subject: Subject) -> dict[str, Any]:
    """How far the float file's answers are from Keras's, and both from the same network in float64."""
    keras, referee = (np.load(subject.folder / f"{name}.npy") for name in ("keras", "referee"))
    images = subject.held_back[: len(keras)]
    found: dict[str, Any] = {"bytes": subject.float_path.stat().st_size, "images": len(keras)}
    found["keras_to_float64"] = difference(keras[: len(referee)], referee)
    for kernels in KERNEL_SETS:
        ours = np.concatenate([outputs[0] for outputs in subject.outputs(subject.float_path, images, kernels)])
        found[kernels] = {
            "to_keras": difference(ours, keras),
            "to_float64": difference(ours[: len(referee)], referee),
        }
    found["median_confidence"] = float(np.median([outputs[0].max() for outputs in subject.wanted]))
    found["classes_seen"] = len({int(outputs[0].argmax()) for outputs in subject.wanted})
    return found


def difference(given: Any, wanted: Any) -> float:
    """Largest difference relative to the largest output, of the worst image. Both ``[images, classes]``."""
    wanted = wanted.astype(np.float64)
    return float((np.abs(given - wanted).max(-1) / np.abs(wanted).max(-1)).max())


def flavour(name: str, images: int = SAMPLES) -> Callable[[Subject], dict[str, Any]]:
    """The column of a flavour: made, loaded and run on every kernel set, on so many images."""

    def column(subject: Subject) -> dict[str, Any]:
        path = subject.folder / f"model.{name}.tflite"
        plan = _with_fallback(subject, load_recipe(name), path)
        seen = verify_against(path, subject.wanted[:images], subject.held_back[:images], subject.engine)
        left = plan.left_in_float() if name.startswith("int") else {}
        found = {
            "bytes": path.stat().st_size,
            "kernels": {each.kernels: {"images": each.samples, "sqnr_db": each.sqnr_db} for each in seen},
            "operators": len(plan.ops),
            "left_in_float": _by_kind(left.values()),
        }
        if name != "int8":
            path.unlink()
        return found

    return column


def _by_kind(plans: Iterable[OpPlan]) -> dict[str, dict[str, Any]]:
    """How many operators of each kind, and the first one's reason."""
    found: dict[str, dict[str, Any]] = {}
    for op in plans:
        found.setdefault(op.kind, {"count": 0, "why": op.why})["count"] += 1
    return found


def _with_fallback(subject: Subject, recipe: Recipe, path: Path) -> tersor.Plan:
    """Integers only, or where that is impossible with operators left in float."""
    try:
        return subject.make(recipe, path)
    except PlanError:
        return subject.make(adjusted(recipe, allow_float=True), path)


def int8_fidelity(subject: Subject) -> dict[str, Any]:
    """How well int8 answers the held-back images, on XNNPACK."""
    return _fidelity(subject, subject.folder / "model.int8.tflite")


def int8_plain(subject: Subject) -> dict[str, Any]:
    """The same of int8 without the recipe's corrections: rounded to nearest."""
    path = subject.folder / "model.int8_plain.tflite"
    _with_fallback(subject, replace(load_recipe("int8"), algorithms=()), path)
    found = _fidelity(subject, path)
    path.unlink()
    return found


def _fidelity(subject: Subject, path: Path) -> dict[str, Any]:
    handle = subject.engine.open(str(path))
    (distance,) = compare(subject.wanted, handle, subject.held_back)
    handle.close()
    return {"images": len(subject.held_back), "sqnr_db": distance.sqnr_db, "agreement": distance.agreement}


def latency(subject: Subject) -> dict[str, Any]:
    """Time of int8 beside float, in turn, one thread of XNNPACK."""
    handles = [subject.engine.open(str(path)) for path in (subject.float_path, subject.folder / "model.int8.tflite")]
    image = subject.held_back[0]
    inputs = [[image], [np.zeros(image.shape, np.dtype(handles[1].inputs[0].dtype))]]
    timings = benchmark(handles, inputs, LATENCY_ROUNDS)
    return {
        name: {"median_ms": timing.median_ms, "low_ms": timing.low_ms, "ratio": timing.ratio}
        for name, timing in zip(("float", "int8"), timings, strict=True)
    }


COLUMNS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "float32": float32,
    "float16": flavour("float16"),
    "dynamic": flavour("dynamic"),
    "int8": flavour("int8"),
    "int8_fidelity": int8_fidelity,
    "int8_plain": int8_plain,
    "latency": latency,
    "int16x8": flavour("int16x8", images=1),
}


def main() -> None:
    """Fill all columns; what fails is kept as a sentence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("report", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found: dict[str, Any] = {}
    with Engine(TIME_LIMIT) as engine:
        subject = Subject(arguments.folder, engine)
        for name, column in COLUMNS.items():
            started = time.perf_counter()
            try:
                found[name] = column(subject)
            except Exception as error:  # a defect in one column is a result, and the others go on
                message = str(error).replace(str(subject.folder), ".")
                found[name] = {"error": f"{type(error).__name__}: {message}"}
            subject.seconds[name] = time.perf_counter() - started
            print(f"{name}: {json.dumps(found[name])}", flush=True)
    report = {"columns": found, "seconds": subject.seconds}
    arguments.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
