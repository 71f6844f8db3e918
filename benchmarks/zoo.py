"""Every image-classification network of Keras Applications through tersor: read, compared with Keras, quantized, run.

    python benchmarks/zoo.py --work DIR

Makes, in the folder given, an environment for Keras and one for tersor. For each network three processes follow one
another: `zoo/make.py` builds it with live random weights and asks Keras and a float64 referee for answers,
`zoo/convert.py` turns the `.keras` file into a float `.tflite`, `zoo/measure.py` makes and measures the flavours. Two
more train a step for int8: `zoo/train.py` with tersor, `zoo/train_tfmot.py` with TensorFlow Model Optimization. What
was found goes to ``docs/benchmarks/zoo/NAME.json`` at once, and ``docs/results.md`` is written anew. A network whose
JSON was made by the same state of tersor and of these scripts is skipped, so that a run that was cut short goes on
where it stopped. Needs Linux, ``pip``, 12 GB of disk, 16 GB of memory for the largest. Runs on Python alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "zoo"))

from models import NETWORKS, Network
from page import page

from environments import ROOT, add_pythons, fingerprint, processor, pythons, source, versions
from whole_process import CommandFailure, measure

ENVIRONMENTS = ("tensorflow", "tersor", "training", "tfmot")
WORKERS = ROOT / "benchmarks" / "zoo"
RECIPE = ("alive.py", "convert.py", "make.py", "measure.py", "models.py")
"""The scripts that decide what is measured and how."""

TRAINING = {"qat": "train", "tfmot": "train_tfmot"}
"""Columns of a step of training, and the scripts that fill them."""


class Zoo:
    """One run of this script."""

    def __init__(self, work: Path, output: Path, pythons: Mapping[str, Path], *, quick: bool) -> None:
        self._work = work
        self._results = output / "benchmarks" / "zoo"
        self._page = output / "results.md"
        self._pythons = pythons
        self._quick = quick
        self._made_with = {
            "tersor_source": source(),
            "benchmark_source": fingerprint([WORKERS / name for name in RECIPE] + [WORKERS.parent / "images.py"]),
            "quick": quick,
            "versions": versions(pythons),
            "processor": processor(),
        }
        self._results.mkdir(parents=True, exist_ok=True)

    def is_trained(self, network: Network, *, any_state: bool) -> bool:
        """Whether its JSON has the columns of training, made by this state of the code (or by any)."""
        path = self._results / f"{network.name}.json"
        columns = json.loads(path.read_text()).get("columns", {}) if path.exists() else {}
        stamp = self._made_with["tersor_source"]
        return all(name in columns and (any_state or columns[name]["tersor_source"] == stamp) for name in TRAINING)

    def train(self, network: Network) -> None:
        """Put the columns of training into the JSON of a network that was measured."""
        path = self._results / f"{network.name}.json"
        if not path.exists():
            sys.exit(f"{network.name}: not measured yet; run without --training")
        found = json.loads(path.read_text())
        found["columns"] |= self._trained(network)
        path.write_text(json.dumps(found, indent=1) + "\n")
        self.write_page()
        print(f"{network.name}: trained", flush=True)

    def _trained(self, network: Network) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        # Keras builds these on TensorFlow and JAX only
        own = "tensorflow" if network.module == "nasnet" else "training"
        for name, environment in (("qat", own), ("tfmot", "tfmot")):
            report = self._work / f"{network.name}.{name}.json"
            try:
                self._process(environment, TRAINING[name], network, [network.name, str(report)])
                columns[name] = json.loads(report.read_text())
                report.unlink()
            except CommandFailure as failure:
                columns[name] = {"error": str(failure).splitlines()[-1].replace(str(self._work), ".")}
            columns[name] |= {
                "tersor_source": self._made_with["tersor_source"],
                "versions": self._made_with["versions"][environment],
            }
        return columns

    def is_finished(self, network: Network, *, any_state: bool) -> bool:
        """Whether its JSON is there, made by this state of the code (or by any)."""
        path = self._results / f"{network.name}.json"
        if not path.exists():
            return False
        made_with = json.loads(path.read_text())["made_with"]
        return any_state or all(
            made_with[key] == self._made_with[key] for key in ("tersor_source", "benchmark_source", "quick")
        )

    def run(self, network: Network) -> None:
        """Measure one network, keep what was found, and write the page anew."""
        folder = self._work / network.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found: dict[str, Any] = {
            "name": network.name,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "made_with": self._made_with,
        }
        try:
            found |= self._measured(network, folder)
        except CommandFailure as failure:
            found["error"] = str(failure).splitlines()[-1].replace(str(self._work), ".")
        (self._results / f"{network.name}.json").write_text(json.dumps(found, indent=1) + "\n")
        shutil.rmtree(folder)
        self.write_page()
        print(f"{network.name}: {found.get('error', 'done')}", flush=True)

    def write_page(self) -> None:
        """The page, from what is there."""
        order = [network.name for network in NETWORKS]
        results = [json.loads(path.read_text()) for path in self._results.glob("*.json")]
        results.sort(key=lambda each: order.index(each["name"]))
        self._page.write_text(page(results, order))

    def _measured(self, network: Network, folder: Path) -> dict[str, Any]:
        quick = ["--quick"] if self._quick else []
        self._process("tensorflow", "make", network, [network.name, str(folder), *quick])
        facts = json.loads((folder / "facts.json").read_text())
        files = [str(folder / name) for name in ("model.keras", "model.tflite", "convert.json")]
        cost = self._process("tersor", "convert", network, files)
        converted = json.loads((folder / "convert.json").read_text())
        self._process("tersor", "measure", network, [str(folder), str(folder / "report.json")])
        report = json.loads((folder / "report.json").read_text())
        read = converted | {
            "keras_bytes": (folder / "model.keras").stat().st_size,
            "process_seconds": cost.wall,
            "peak_bytes": cost.largest_process,
        }
        columns = {"read": read, **report["columns"], **self._trained(network)}
        return {**facts, "seconds": report["seconds"], "columns": columns}

    def _process(self, environment: str, worker: str, network: Network, arguments: Sequence[str]) -> Any:
        command = [str(self._pythons[environment]), str(WORKERS / f"{worker}.py"), *arguments]
        return measure(command, self._work / f"{network.name}.{worker}.log", self._work)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and what is in the making")
    parser.add_argument("--only", action="append", metavar="NAME", help="this network; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="networks at the same time; latencies suffer from more")
    parser.add_argument("--quick", action="store_true", help="few images: to see that it works, not for the table")
    parser.add_argument("--keep", action="store_true", help="skip networks that another state of the code has measured")
    parser.add_argument("--training", action="store_true", help="fill the columns of training only")
    parser.add_argument("--page", action="store_true", help="write the page from the JSON files, and measure nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder for results.md and benchmarks/zoo/")
    add_pythons(parser, ENVIRONMENTS)
    return parser.parse_args()


def main() -> None:
    """Make what is missing, measure what is not finished."""
    arguments = parse()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    found = {} if arguments.page else pythons(arguments, work, ENVIRONMENTS)
    zoo = Zoo(work, arguments.output.resolve(), found, quick=arguments.quick)
    wanted = [network for network in NETWORKS if not arguments.only or network.name in arguments.only]
    unknown = set(arguments.only or ()) - {network.name for network in wanted}
    if unknown:
        sys.exit(f"unknown networks: {', '.join(sorted(unknown))}; there are {', '.join(n.name for n in NETWORKS)}")
    if not arguments.page:
        os.nice(10)

        def run(network: Network) -> None:
            if arguments.training:
                if not zoo.is_trained(network, any_state=arguments.keep):
                    zoo.train(network)
            elif not zoo.is_finished(network, any_state=arguments.keep):  # another run may have come first
                zoo.run(network)

        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(run, wanted))
    zoo.write_page()


if __name__ == "__main__":
    main()
