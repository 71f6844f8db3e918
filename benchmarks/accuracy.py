"""What int8 and its kin cost trained networks: tersor, TensorFlow's converter and litert-quantizer, as they come.

    python benchmarks/accuracy.py DATA --work DIR

DATA holds ``imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5`` (Keras Applications) with ``photos_500/``, and of
MLPerf Tiny ``cifar10_resnet8/`` (``pretrainedResnet.h5``, ``ic01_200.npz``) and ``kws_dscnn/`` (``kws_ref_model``, a
SavedModel, and ``kws_mfcc_500.npz``). What is not there is left out; the demo's network always takes part. All start
from one float `.tflite` file and the same samples. Writes ``docs/benchmarks/accuracy.json`` and ``.md``. Runs on Python
alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from accuracy_page import page

from environments import ROOT, add_pythons, processor, pythons, source, versions

ENVIRONMENTS = ("tensorflow", "litert_quantizer", "tersor")
WORKERS = ROOT / "benchmarks" / "peers"
DEMO = ROOT / "demo"
SAMPLES = 100
COMPARED = 2
"""Draws of samples that all tools take part in."""

FLAVOURS = {
    "int8": ("--as", "int8"),
    "int8_per_tensor": ("--as", "int8", "--per-tensor"),
    "int16x8": ("--as", "int16x8"),
    "int8_w4": ("--as", "int8_w4"),
}
"""What `tersor quantize` is told; everything else is its default."""


@dataclass(frozen=True)
class Case:
    """A trained network and its data.

    Attributes:
        model: a Keras file or a SavedModel.
        data: labelled samples.
        calibration: others to calibrate on; None to take them from `data`.
        rescale: what raw values are multiplied by.
        views: kind of the views that agreement is judged on, of those in `accuracy_views.py`; chosen by how long a run
            takes and how many samples there are, before any was judged.
        has_goals: whether it has goals that are means over all draws.
    """

    model: Path
    data: Path
    views: str
    calibration: Path | None = None
    rescale: float = 1.0
    has_goals: bool = False


def cases(data: Path) -> dict[str, Case]:
    """What is there."""
    tiny = Path("cifar10_resnet8"), Path("kws_dscnn")
    photos = data / "imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5", data / "photos_500"
    clothes = DEMO / "fashion_mnist.keras", DEMO / "fashion_mnist.npz"
    known = {
        "MobileNetV1 0.25": Case(*photos, "photograph", has_goals=True),
        "ResNet-8": Case(data / tiny[0] / "pretrainedResnet.h5", data / tiny[0] / "ic01_200.npz", "small image"),
        "KWS DS-CNN": Case(data / tiny[1] / "kws_ref_model", data / tiny[1] / "kws_mfcc_500.npz", "spectrogram"),
        "demo": Case(*clothes, "image", DEMO / "fashion_mnist_calibration.npz", 1 / 255),
    }
    return {name: case for name, case in known.items() if case.model.exists() and case.data.exists()}


class Bench:
    """Runs the workers for one network and one draw of samples to calibrate on, each in its environment."""

    def __init__(self, case: Case, folder: Path, seed: int, pythons: Mapping[str, Path]) -> None:
        self.folder = folder
        self._case = case
        self._seed = seed
        self._pythons = pythons
        self._float = folder / "float.tflite"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.*"):
            old.unlink()

    def measure(self) -> dict[str, Any]:
        """Everything about the network, of all tools."""
        made = {"tersor": self._begun()}
        public = self._given("--saved-model", self._saved_model)
        for program, *command in (
            ("tensorflow", "accuracy_tensorflow.py", "quantize", self.folder, *public),
            ("litert_quantizer", "accuracy_litert_quantizer.py", self.folder),
        ):
            self._worker(program, *command)
        for tool in ("tensorflow", "litert_quantizer", "litert_quantizer_min_max"):
            made[tool] = json.loads((self.folder / f"{tool}.json").read_text())
        judged = self._judged(self._case.views)
        return {"file": self._case.model.name, "data": self._case.data.name, **judged, "made": made}

    def measure_tersor(self) -> dict[str, Any]:
        """Everything about tersor's files alone."""
        self._begun()
        return self._judged()

    def views(self, folders: Iterable[Path]) -> dict[str, Any]:
        """What the views of the samples of several draws say together."""
        target = self.folder / "views.json"
        self._worker("tersor", "accuracy_views.py", target, *folders)
        found: dict[str, Any] = json.loads(target.read_text())
        return found

    @property
    def _saved_model(self) -> Path | None:
        return self._case.model if self._case.model.is_dir() else None

    def _begun(self) -> dict[str, Any]:
        """The samples drawn, the float file and tersor's files made."""
        case = self._case
        drawn = [case.data, self.folder, "--samples", SAMPLES, "--rescale", case.rescale, "--seed", self._seed]
        self._worker("tersor", "accuracy_samples.py", *drawn, *self._given("--calibration", case.calibration))
        if self._saved_model is None:
            self._tersor(str(case.model), "--as", "float32", "--output", self._float)
        else:
            self._worker("tensorflow", "accuracy_tensorflow.py", "float", self._saved_model, self._float)
        return self._by_tersor()

    def _judged(self, *views: str) -> dict[str, Any]:
        self._worker("tersor", "accuracy_judge.py", self.folder, *views)
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    def _by_tersor(self) -> dict[str, Any]:
        """Every flavour by the command line; seconds of the whole process, or the error, by flavour."""
        found: dict[str, Any] = {}
        data = ("--data", self.folder / "calibration.npy", "--samples", SAMPLES, "--eval-samples", 10)
        for flavour, asked in FLAVOURS.items():
            started = time.perf_counter()
            output = self.folder / f"tersor.{flavour}.tflite"
            try:
                self._tersor(self._float, *data, *asked, "--output", output)
            except subprocess.CalledProcessError as error:
                found[flavour] = {"error": error.stderr.decode().strip().splitlines()[-1]}
                continue
            found[flavour] = {"seconds": time.perf_counter() - started}
        return found

    def _given(self, option: str, path: Path | None) -> tuple[Any, ...]:
        return () if path is None else (option, path)

    def _tersor(self, *arguments: object) -> None:
        self._run("tersor", "-c", "from tersor.cli.main import main; main()", "quantize", *arguments)

    def _worker(self, program: str, worker: str, *arguments: object) -> None:
        try:
            self._run(program, WORKERS / worker, *arguments)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{worker}: {error}\n{error.stderr.decode()}")

    def _run(self, program: str, *arguments: object) -> None:
        """A process; tersor is the one of this source tree, whatever its environment has."""
        settings = {**os.environ, "PYTHONPATH": str(ROOT / "src")} if program == "tersor" else dict(os.environ)
        command = [self._pythons[program], *map(str, arguments)]
        subprocess.run(command, check=True, cwd=self.folder, env=settings, capture_output=True)


def main() -> None:
    """Make what is missing, measure what is there, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and results")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of the samples to calibrate on")
    parser.add_argument("--draws", type=int, default=5, help="draws of samples that goals are measured on")
    parser.add_argument("--only", action="append", metavar="NETWORK", help="measure these; others stay")
    parser.add_argument("--page-only", action="store_true", help="measure nothing; write the page again")
    add_pythons(parser, ENVIRONMENTS)
    arguments = parser.parse_args()
    target = arguments.output / "accuracy.json"
    if not arguments.page_only:
        known = json.loads(target.read_text())["networks"] if arguments.only and target.exists() else {}
        target.write_text(json.dumps(measure(arguments, known), indent=1) + "\n")
    target.with_suffix(".md").write_text(page(json.loads(target.read_text())))


def measure(arguments: argparse.Namespace, known: Mapping[str, Any]) -> dict[str, Any]:
    """The networks that are asked for, one after the other; of the others what is known."""
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    used = pythons(arguments, work, ENVIRONMENTS)
    networks = {}
    for name, case in cases(arguments.data.resolve()).items():
        if not arguments.only or name in arguments.only:
            print(name, flush=True)
            started = time.perf_counter()
            found = measured(case, work / "accuracy" / name.replace(" ", "_"), arguments, used)
            seconds = time.perf_counter() - started
            networks[name] = {"tersor_source": source(), "seconds": seconds, **found}
        elif name in known:
            networks[name] = known[name]
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(used),
        "processor": processor(),
        "seed": arguments.seed,
        "load_average": os.getloadavg()[2],
        "networks": networks,
    }


def measured(case: Case, folder: Path, arguments: argparse.Namespace, used: Mapping[str, Path]) -> dict[str, Any]:
    """One network: all tools on the first draws, tersor alone on the others that goals are measured on."""
    count = arguments.draws if case.has_goals else min(COMPARED, arguments.draws)
    seeds = range(arguments.seed, arguments.seed + count)
    benches = [Bench(case, folder / f"draw_{seed}", seed, used) for seed in seeds]
    found, *more = (bench.measure() for bench in benches[:COMPARED])
    more += [bench.measure_tersor() for bench in benches[COMPARED:]]
    found["draws"] = [of_tersor(report["files"]) for report in more]
    found["views"] = benches[0].views(bench.folder for bench in benches[:COMPARED])
    return found


def of_tersor(files: Mapping[str, Any]) -> dict[str, Any]:
    """What tersor's files do, by flavour."""
    figures = ("agreement", "sqnr_db", "top1")
    return {flavour: {name: files[f"tersor.{flavour}"].get(name) for name in figures} for flavour in FLAVOURS}


if __name__ == "__main__":
    main()
