"""tersor beside other quantizers: calibrate and quantize MobileNetV2 to int8, every contestant in its own environment.

    python benchmarks/peers.py --work DIR

Makes, in the folder given, a virtual environment per contestant with pinned versions, a model and samples; then runs
all contestants in turn, round after round, each as a whole process. Environments and model are kept for the next time.
Writes ``docs/benchmarks/peers.json`` and ``docs/benchmarks/peers.md``. Needs Linux, ``pip``, about 3 GB of disk.
Runs on Python alone, without packages.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from page import page

from environments import REQUIREMENTS, ROOT, add_pythons, fingerprint, processor, pythons, source, versions
from whole_process import CommandFailure, Cost, Memory, measure, measure_memory

WORKERS = ROOT / "benchmarks" / "peers"


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to an int8 file.

    Attributes:
        name: its key in the results, and the stem of its file.
        title: as the page calls it.
        environment: whose Python runs it.
        worker: the script in `peers/`, or "" for the command line of tersor.
        mode: the script's first argument, or "" if it takes none.
    """

    name: str
    title: str
    environment: str
    worker: str = ""
    mode: str = ""

    def command(self, python: Path, model: Path, output: Path, report: Path) -> list[str]:
        """What to run."""
        if not self.worker:
            data = str(model / "samples.npy")
            tersor = str(python.with_name("tersor"))
            return [tersor, "quantize", str(model / "model.tflite"), "--data", data, "--as", "int8", "-o", str(output)]
        mode = [self.mode] if self.mode else []
        return [str(python), str(WORKERS / self.worker), *mode, str(model), str(output), str(report)]


_LITERT = ("litert_quantizer", "litert_quantizer_int8.py")
_TENSORFLOW = ("tensorflow", "tensorflow_int8.py")
CONTESTANTS = (
    Contestant("tersor_cli", "`tersor quantize`, verified and measured", "tersor"),
    Contestant("tersor_library", "tersor's library, not verified", "tersor", "tersor_int8.py"),
    Contestant("litert_quantizer_profiler", "litert-quantizer, profiler mode", *_LITERT, "profiler"),
    Contestant(
        "litert_quantizer_profiler_min_max",
        "litert-quantizer, profiler mode with min/max",
        *_LITERT,
        "profiler_min_max",
    ),
    Contestant(
        "litert_quantizer_preserve_all", "litert-quantizer, preserve-all mode (default)", *_LITERT, "preserve_all"
    ),
    Contestant("tensorflow_saved_model", "TensorFlow converter, saved model", *_TENSORFLOW, "saved_model"),
    Contestant("tensorflow_keras", "TensorFlow converter, `.keras`", *_TENSORFLOW, "keras"),
    Contestant("tensorflow_internal", "TensorFlow's private functions, `.tflite`", *_TENSORFLOW, "internal"),
)


def model_folder(work: Path, python: Path) -> Path:
    """The folder with the model and the samples, which are made if they are not there or are made otherwise now."""
    folder, script = work / "model", WORKERS / "make_model.py"
    stamp = folder / "made_by.txt"
    wanted = fingerprint((script, WORKERS.parent / "images.py"))
    if not (stamp.exists() and stamp.read_text() == wanted):
        print("making the model", flush=True)
        subprocess.run([python, script, folder], check=True, cwd=work, capture_output=True)
        stamp.write_text(wanted)
    return folder


class Run:
    """All measurements of one run of this script."""

    def __init__(self, work: Path, pythons: Mapping[str, Path], model: Path) -> None:
        self._work = work
        self._pythons = pythons
        self._model = model
        self._results = work / "results"
        self._results.mkdir(parents=True, exist_ok=True)

    def memory(self, rounds: int) -> dict[str, list[Memory]]:
        """Memory of each contestant, once per round."""
        found: dict[str, list[Memory]] = {item.name: [] for item in CONTESTANTS}
        for number in range(rounds):
            for item in CONTESTANTS:
                found[item.name].append(measure_memory(self._command(item), self._log(item), self._work))
                print(f"memory {number + 1} {item.name}: {found[item.name][-1].rss / 1e6:.0f} MB", flush=True)
        return found

    def costs(self, rounds: int) -> tuple[dict[str, list[Cost]], dict[str, list[dict[str, float]]]]:
        """Time of each contestant, once per round, and what it says about its steps."""
        found: dict[str, list[Cost]] = {item.name: [] for item in CONTESTANTS}
        steps: dict[str, list[dict[str, float]]] = {item.name: [] for item in CONTESTANTS if item.worker}
        for number in range(rounds):
            for item in CONTESTANTS:
                found[item.name].append(measure(self._command(item), self._log(item), self._work))
                print(f"round {number + 1} {item.name}: {found[item.name][-1].wall:.2f} s", flush=True)
                if item.worker:
                    steps[item.name].append(json.loads(self._report(item.name).read_text()))
        return found, steps

    def files(self) -> dict[str, Any]:
        """Size, speed and error of each contestant's file; see `peers/compare_files.py`."""
        names = [str(self._file(item)) for item in CONTESTANTS]
        reference, samples = self._model / "model.tflite", self._model / "evaluation.npy"
        return self._judge("compare_files", ["compare", str(reference), str(samples)], names)

    def calibration(self) -> dict[str, Any]:
        """Calibration beside bare inference; see `peers/calibration_time.py`."""
        return self._judge("calibration_time", [str(self._model)], [])

    def _judge(self, worker: str, before: list[str], after: list[str]) -> dict[str, Any]:
        print(worker.replace("_", " "), flush=True)
        script, report = str(WORKERS / f"{worker}.py"), self._report(worker)
        command = [str(self._pythons["tersor"]), script, *before, str(report), *after]
        measure(command, self._results / f"{worker}.log", self._work)
        found = json.loads(report.read_text())
        assert isinstance(found, dict)
        return found

    def _command(self, item: Contestant) -> list[str]:
        python = self._pythons[item.environment]
        return item.command(python, self._model, self._file(item), self._report(item.name))

    def _file(self, item: Contestant) -> Path:
        return self._results / f"{item.name}.tflite"

    def _log(self, item: Contestant) -> Path:
        return self._results / f"{item.name}.log"

    def _report(self, name: str) -> Path:
        return self._results / f"{name}.json"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for environments, model and results")
    parser.add_argument("--rounds", type=int, default=7, help="times that each contestant is timed")
    parser.add_argument("--memory-rounds", type=int, default=2, help="times that each contestant's memory is watched")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "benchmarks", help="folder for peers.md and .json"
    )
    parser.add_argument("--note", default="", help="a sentence for the page, for instance that the machine was busy")
    add_pythons(parser, REQUIREMENTS)
    return parser.parse_args()


def main() -> None:
    """Make what is missing, measure, write."""
    arguments = parse()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    used = pythons(arguments, work, REQUIREMENTS)
    model = model_folder(work, used["tensorflow"])
    run = Run(work, used, model)
    before, loads = source(), [os.getloadavg()[0]]
    try:
        memory = run.memory(arguments.memory_rounds)
        costs, steps = run.costs(arguments.rounds)
        files, calibration = run.files(), run.calibration()
    except CommandFailure as failure:
        sys.exit(str(failure))
    loads.append(os.getloadavg()[0])
    changed = None if source() == before else "tersor's source changed during the run: its figures mix two states."
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python benchmarks/peers.py --work DIR --rounds {arguments.rounds} "
        f"--memory-rounds {arguments.memory_rounds}",
        "note": arguments.note if changed is None else f"{arguments.note} {changed}".strip(),
        "tersor_source": before,
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "load_average": loads,
        "versions": versions(used),
        "model": json.loads((model / "model.json").read_text()),
        "contestants": {
            item.name: {
                "title": item.title,
                "wall_seconds": [cost.wall for cost in costs[item.name]],
                "cpu_seconds": [cost.cpu for cost in costs[item.name]],
                "largest_process_bytes": max(cost.largest_process for cost in costs[item.name]),
                "tree_rss_bytes": max(peak.rss for peak in memory[item.name]),
                "tree_pss_bytes": max(peak.pss for peak in memory[item.name]),
                "processes": max(peak.processes for peak in memory[item.name]),
                "memory_samples": [peak.samples for peak in memory[item.name]],
                "steps": {
                    step: statistics.median(each[step] for each in steps[item.name])
                    for step in (steps[item.name][0] if steps.get(item.name) else ())
                },
                "file": files[f"{item.name}.tflite"],
            }
            for item in CONTESTANTS
        },
        "float": files["float"],
        "calibration": calibration,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "peers.json").write_text(json.dumps(results, indent=2) + "\n")
    text = page(results)
    (arguments.output / "peers.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
