"""How long `tersor place` takes for every image-classification network of Keras Applications.

    python benchmarks/place.py --work DIR

Makes, in the folder given, an environment for Keras and one for tersor with what its targets ask. One network after
the other is built with random weights (``placing/make.py``), quantized (``placing/quantize.py``), measured, and removed
again. What was found is kept in the folder, and ``docs/benchmarks/place.json`` and ``.md`` are written anew after each
network; a network that is there is skipped, so that a run that was cut short goes on where it stopped. Needs Linux,
``pip``, 5 GB of disk, 4 GB of memory for the largest. Runs on Python alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "zoo"))
sys.path.insert(0, str(Path(__file__).resolve().parent / "placing"))

from models import NETWORKS, Network
from times import TITLES, page

from environments import ROOT, add_pythons, processor, pythons, source, versions
from whole_process import Cost, measure

ENVIRONMENTS = ("tensorflow", "tersor_targets")
WORKERS = ROOT / "benchmarks" / "placing"
FIXED = ("-S", "-c", "n = 0\nfor i in range(1_000_000): n += i * i % 7")
"""The fixed work that tells how busy the machine is."""


class Places:
    """One run of this script."""

    def __init__(self, work: Path, output: Path, files: Path, pythons: Mapping[str, Path], runs: int) -> None:
        self._work, self._output, self._files, self._pythons, self._runs = work, output, files, pythons, runs
        self._made_with = {
            "tersor_source": source(),
            "versions": {"tersor": versions(pythons)["tersor_targets"]},
            "processor": processor(),
        }

    def run(self, network: Network) -> None:
        """Measure one network, if that is not done, and write the page anew."""
        kept = self._work / f"{network.name}.json"
        if not kept.exists():
            folder = self._work / network.name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            kept.write_text(json.dumps(self._measured(network, folder)))
            shutil.rmtree(folder)
        self.write_page()

    def write_page(self) -> None:
        """The page, from what is there."""
        paths = [self._work / f"{network.name}.json" for network in NETWORKS]
        found = [json.loads(path.read_text()) for path in paths if path.exists()]
        self._output.mkdir(parents=True, exist_ok=True)
        document = {"made_with": self._made_with, "networks": found}
        (self._output / "place.json").write_text(json.dumps(document, indent=1) + "\n")
        (self._output / "place.md").write_text(page(found, len(NETWORKS), self._made_with))

    def _measured(self, network: Network, folder: Path) -> dict[str, Any]:
        made = self._files / network.name / "model.keras"
        files = {"keras": made if made.exists() else folder / "model.keras", "int8": folder / "model.tflite"}
        if not made.exists():
            self._worker("tensorflow", "make.py", network.name, network.side, files["keras"])
        self._worker("tersor_targets", "quantize.py", files["keras"], files["int8"])
        runs: dict[str, list[dict[str, float]]] = {column: [] for column in TITLES}
        for _ in range(self._runs):
            for column, kept in runs.items():
                kind, target = column.split()
                kept.append(self._timed([str(files[kind]), *(() if target == "all" else ("--target", target))]))
        size = files["keras"].stat().st_size
        print(
            network.name,
            {column: round(min(run["wall"] for run in kept), 2) for column, kept in runs.items()},
            flush=True,
        )
        return {"name": network.name, "keras_bytes": size, "runs": runs}

    def _timed(self, arguments: list[str]) -> dict[str, float]:
        python = self._pythons["tersor_targets"]
        before = self._process(python, *FIXED)
        cost = self._process(python.with_name("tersor"), "place", *arguments)
        after = self._process(python, *FIXED)
        return {
            "wall": round(cost.wall, 3),
            "processors": round(cost.cpu, 3),
            "fixed": round((before.cpu + after.cpu) / 2, 4),
            "fixed_wall": round((before.wall + after.wall) / 2, 4),
            "peak_mb": round(cost.largest_process / 1e6),
        }

    def _worker(self, environment: str, script: str, *arguments: object) -> None:
        self._process(self._pythons[environment], WORKERS / script, *arguments)

    def _process(self, *command: object) -> Cost:
        return measure(list(map(str, command)), self._work / "process.log", self._work)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and what is in the making")
    parser.add_argument("--only", action="append", metavar="NAME", help="this network; may be repeated")
    parser.add_argument(
        "--files", type=Path, default=Path(), help="folder with NAME/model.keras, as the zoo makes them"
    )
    parser.add_argument("--page", action="store_true", help="write the page from what was kept, and measure nothing")
    parser.add_argument("--runs", type=int, default=3, help="of each command")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks", help="folder for the page")
    add_pythons(parser, ENVIRONMENTS)
    return parser.parse_args()


def main() -> None:
    """Make what is missing, measure what is not finished."""
    arguments = parse()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each run would compile tersor anew
    found = pythons(arguments, work, ENVIRONMENTS)
    places = Places(work, arguments.output.resolve(), arguments.files.resolve(), found, arguments.runs)
    if arguments.page:
        places.write_page()
        return
    for network in NETWORKS:
        if not arguments.only or network.name in arguments.only:
            places.run(network)


if __name__ == "__main__":
    main()
