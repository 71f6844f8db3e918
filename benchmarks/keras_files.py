"""tersor beside TensorFlow from a `.keras` file: to int8 (MobileNetV2, ResNet152), and to float (EfficientNetV2L).

    python benchmarks/keras_files.py --work DIR

Contestants run in turn as whole processes, each in its own environment (those of `peers.py`, in the same folder);
ratios are taken within a round. Writes ``docs/benchmarks/keras_files.json`` and ``docs/benchmarks/keras_files.md``.
Needs Linux, ``pip``, 6 GB of disk and 14 GB of free memory (TensorFlow's float conversion of EfficientNetV2L). Runs on
Python alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from keras_page import page

from environments import ROOT, add_pythons, fingerprint, processor, pythons, source, versions
from whole_process import CommandFailure, measure, measure_memory

ENVIRONMENTS = ("tensorflow", "tersor")
WORKERS = ROOT / "benchmarks" / "peers"
CONVERT = ROOT / "benchmarks" / "zoo" / "convert.py"


@dataclass(frozen=True)
class Case:
    """One network and what is made of it.

    Attributes:
        network: its name in `keras.applications`.
        kind: "int8" or "float".
        samples: to calibrate on.
        rounds: times that each contestant is timed.
    """

    network: str
    kind: str
    samples: int
    rounds: int

    @property
    def name(self) -> str:
        """Its key in the results."""
        return f"{self.network}_{self.kind}"


CASES = (
    Case("MobileNetV2", "int8", 100, 5),
    Case("ResNet152", "int8", 100, 3),
    Case("EfficientNetV2L", "float", 0, 1),
)
EVALUATION = 32
TITLES = {
    "tersor_cli": "`tersor quantize`: corrected, verified and measured",
    "tersor_uncorrected": "`tersor quantize --algorithms none`: rounded to nearest, verified and measured",
    "tersor_library": "tersor's library, rounded to nearest, not verified",
    "tensorflow": "TensorFlow: load, convert, calibrate",
    "tersor": "tersor: load, optimize, save",
    "tensorflow_float": "TensorFlow: load, convert",
}
CONTESTANTS = {
    "int8": ("tersor_cli", "tersor_uncorrected", "tersor_library", "tensorflow"),
    "float": ("tersor", "tensorflow_float"),
}


class Match:
    """One case: its files, and who runs what."""

    def __init__(self, case: Case, work: Path, pythons: Mapping[str, Path]) -> None:
        self._case = case
        self._work = work
        self._pythons = pythons
        self._model = work / "networks" / case.network
        self._results = work / "results"
        self._results.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Make the network and its samples, if they are not there or are made otherwise now."""
        scripts = [WORKERS / "make_network.py", *(WORKERS.parent / name for name in ("images.py", "zoo/alive.py"))]
        stamp = self._model / "made_by.txt"
        wanted = f"{fingerprint(scripts)} {self._case.samples}"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        print(f"making {self._case.network}", flush=True)
        command = [str(self._pythons["tensorflow"]), str(scripts[0]), self._case.network, str(self._model)]
        command += ["--samples", str(self._case.samples), "--evaluation", str(EVALUATION)]
        subprocess.run(command, check=True, cwd=self._work, capture_output=True)
        stamp.write_text(wanted)

    def play(self) -> dict[str, Any]:
        """Memory once and time every round, in turn."""
        names = CONTESTANTS[self._case.kind]
        found: dict[str, dict[str, Any]] = {
            name: {"title": TITLES[name], "wall_seconds": [], "cpu_seconds": []} for name in names
        }
        for name in names:
            peak = measure_memory(self._command(name), self._log(name), self._work)
            found[name] |= {"tree_rss_bytes": peak.rss, "tree_pss_bytes": peak.pss}
            print(f"{self._case.name} memory of {name}: {peak.rss / 1e6:.0f} MB", flush=True)
        for number in range(self._case.rounds):
            for name in names:
                cost = measure(self._command(name), self._log(name), self._work)
                found[name]["wall_seconds"].append(cost.wall)
                found[name]["cpu_seconds"].append(cost.cpu)
                peaks = (found[name].get("largest_process_bytes", 0), cost.largest_process)
                found[name]["largest_process_bytes"] = max(peaks)
                print(f"{self._case.name} round {number + 1} {name}: {cost.wall:.2f} s", flush=True)
        for name in names:
            found[name]["bytes"] = self._file(name).stat().st_size
            if self._report(name).exists():
                report = json.loads(self._report(name).read_text())
                found[name]["steps"] = report.get("seconds", report)
        facts = json.loads((self._model / "model.json").read_text())
        return {"kind": self._case.kind, "model": facts, "contestants": found}

    def judge(self) -> dict[str, Any]:
        """Size, speed and error of the int8 files; see `peers/compare_files.py`."""
        reference, report = self._results / f"{self._case.name}.float.tflite", self._report("judge")
        converted = [str(self._pythons["tersor"]), str(CONVERT), str(self._model / "model.keras"), str(reference)]
        subprocess.run([*converted, str(self._report("reference"))], check=True, cwd=self._work)
        command = [str(self._pythons["tersor"]), str(WORKERS / "compare_files.py"), "compare", str(reference)]
        command += [str(self._model / "evaluation.npy"), str(report)]
        command += [str(self._file(name)) for name in CONTESTANTS[self._case.kind]]
        subprocess.run([*command, "--rounds", "7", "--runs", "5"], check=True, cwd=self._work)
        files: dict[str, Any] = json.loads(report.read_text())
        return {"float": files["float"]} | {name: files[self._file(name).name] for name in CONTESTANTS[self._case.kind]}

    def _command(self, name: str) -> list[str]:
        python = self._pythons["tensorflow" if name.startswith("tensorflow") else "tersor"]
        model, output, report = str(self._model), str(self._file(name)), str(self._report(name))
        keras = str(self._model / "model.keras")
        quantize = ("-c", "from tersor.cli.main import main; main()", "quantize", keras, "--as", "int8")
        quantize += ("--data", f"{model}/samples.npy", "-o", output)
        arguments: dict[str, Sequence[str | Path]] = {
            "tersor_cli": quantize,
            "tersor_uncorrected": (*quantize, "--algorithms", "none"),
            "tersor_library": (WORKERS / "tersor_int8.py", model, output, report, "--model", "model.keras"),
            "tensorflow": (WORKERS / "tensorflow_int8.py", "keras", model, output, report),
            "tersor": (CONVERT, keras, output, report),
            "tensorflow_float": (WORKERS / "tensorflow_float.py", keras, output, report),
        }
        return [str(python), *map(str, arguments[name])]

    def _file(self, name: str) -> Path:
        return self._results / f"{self._case.name}.{name}.tflite"

    def _report(self, name: str) -> Path:
        return self._results / f"{self._case.name}.{name}.json"

    def _log(self, name: str) -> Path:
        return self._results / f"{self._case.name}.{name}.log"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for environments, networks and results")
    parser.add_argument("--only", action="append", metavar="CASE", help=f"of {', '.join(c.name for c in CASES)}")
    parser.add_argument("--samples", type=int, help="calibrate int8 on so many instead of 100; the page says so")
    parser.add_argument("--rounds", type=int, help="times that each contestant is timed, instead of what the case says")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--note", default="", help="a sentence for the page, for instance that the machine was busy")
    parser.add_argument("--page", action="store_true", help="write the page from the JSON file, and measure nothing")
    add_pythons(parser, ENVIRONMENTS)
    return parser.parse_args()


def main() -> None:
    """Make what is missing, measure, write; cases that are not measured now keep their figures."""
    arguments = parse()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kept = arguments.output / "keras_files.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if not arguments.page:
        used = pythons(arguments, work, ENVIRONMENTS)
        for case in CASES:
            if arguments.only and case.name not in arguments.only:
                continue
            if arguments.samples and case.samples:
                case = replace(case, samples=arguments.samples)
            if arguments.rounds:
                case = replace(case, rounds=arguments.rounds)
            match = Match(case, work, used)
            match.prepare()
            load = os.getloadavg()[0]
            try:
                found = match.play()
            except CommandFailure as failure:
                sys.exit(str(failure))
            found["load_average"] = [load, os.getloadavg()[0]]
            if case.kind == "int8":
                found["files"] = match.judge()
            found |= {
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "note": arguments.note,
                "tersor_source": source(),
                "processor": processor(),
                "processors": len(os.sched_getaffinity(0)),
                "versions": versions(used),
            }
            results[case.name] = found
            kept.write_text(json.dumps(results, indent=1) + "\n")
    ordered = {case.name: results[case.name] for case in CASES if case.name in results}
    (arguments.output / "keras_files.md").write_text(page(ordered))


if __name__ == "__main__":
    main()
