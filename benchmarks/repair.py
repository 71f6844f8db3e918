"""What repair and mixed precision get back on trained networks, on samples that nothing was chosen by.

    python benchmarks/repair.py DATA --kws kws.tflite

DATA and `--kws` are those of `benchmarks/algorithms.py`; networks that are not there are left out. Each network's
samples are divided by a random draw: 100 to calibrate on, half of the others to tune on, half to report on. Writes
``docs/benchmarks/repair.json`` and ``.md``. XNNPACK kernels; seconds are of one run each, on a machine whose load is
told.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from algorithms import MADE, REPOSITORY, networks
from environments import processor, source

ASKED = (
    ("int8", {}, 0.005),
    ("int8", {}, 0.001),
    ("int8", {"per_tensor": True}, 0.005),
    ("int8_w4", {}, 0.01),
    ("int8_w4", {}, 0.005),
)
"""Flavours, what is changed in them, and what may be lost."""

CALIBRATION = 100
"""Samples to calibrate on."""

SHARES = (0.25, 0.5, 0.75)
"""Of the bytes that 8 bits for all weights would add to 4-bit weights: what mixtures may take."""


class Bench:
    """One network, its three sets of samples, and a folder for files."""

    def __init__(self, model: Any, samples: list[Any], labels: Any, seed: int, folder: Path) -> None:
        from tersor.data.dataset import from_iterable
        from tersor.data.feed import Sample
        from tersor.stages.optimize import optimize

        self.model = optimize(model)
        self._folder = folder
        places = np.random.default_rng(seed).permutation(len(samples))
        own = [Sample(samples[place], label=int(labels[place])) for place in places]
        tuned = (len(own) - CALIBRATION) // 2
        self.tuning = tuned
        self.known = from_iterable(own[: CALIBRATION + tuned])
        self.calibration = self.known.split(CALIBRATION)[0]  # those that repair takes
        self.reporting = from_iterable(own[CALIBRATION + tuned :])

    def plain(self, recipe: Any) -> dict[str, Any]:
        """The recipe as it comes."""
        from tersor.stages.produce import produce

        outcome = produce(self.model, {recipe: self._folder / "plain.tflite"}, self.calibration, self.reporting)
        return {"float_bytes": outcome.reference.size_bytes, **_figures(outcome.products[0])}

    def repaired(self, recipe: Any, max_drop: float) -> dict[str, Any]:
        """What repair makes of it, and how."""
        from tersor.stages.outcome import Options
        from tersor.stages.repair import repair

        started = time.perf_counter()
        found = repair(
            self.model,
            recipe,
            self._folder / "repaired.tflite",
            self.known,
            self.reporting,
            max_drop=max_drop,
            options=Options(calibration_samples=len(self.calibration)),
        )
        kept = [step for step in found.steps[1:] if step.kept]
        return {
            **_figures(found.outcome.products[0]),
            "verdict": found.verdict.value,
            "kept": [step.rung for step in kept],
            "slowdown": found.slowdown,
            "seconds": time.perf_counter() - started,
        }

    def mixed(self) -> Iterator[dict[str, Any]]:
        """4-bit weights, with 8 bits for the layers that matter."""
        from tersor.recipe import load_recipe
        from tersor.stages.calibrate import calibrate
        from tersor.stages.mixed_precision import mixtures

        recipe = load_recipe("int8_w4")
        found = mixtures(
            self.model, recipe, calibrate(self.model, self.calibration), self.calibration, widen="int8_weights"
        )
        if not found:
            return
        for share in SHARES:
            allowed = share * found[-1].extra_bytes
            chosen = [item for item in found if item.extra_bytes <= allowed]
            if chosen:
                yield {
                    "layers": len(chosen[-1].operators),
                    "of": len(found[-1].operators),
                    "share": share,
                    **self.plain(chosen[-1].recipe),
                }


def _figures(product: Any) -> dict[str, Any]:
    return {
        "bytes": product.size_bytes,
        "agreement": product.agreement,
        "sqnr_db": product.sqnr_db,
        "top1": product.score.value,
        "change": product.change.value,
        "interval": list(product.change.interval),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--kws", type=Path)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "benchmarks")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of the samples")
    parser.add_argument("--only", nargs="*", help="networks to measure, for a look")
    parser.add_argument("--page-only", action="store_true", help="measure nothing; write the page again")
    arguments = parser.parse_args()
    path = arguments.output / "repair.json"
    if not arguments.page_only:
        path.write_text(json.dumps(measured(arguments), indent=1) + "\n")
    path.with_suffix(".md").write_text(page(json.loads(path.read_text())))


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every network, one after the other."""
    from tersor.recipe import adjusted, load_recipe

    found = []
    for name, model, samples, labels, _ in networks(arguments.data, arguments.kws):
        if name.startswith(MADE) or (arguments.only and name not in arguments.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(model, samples, labels, arguments.seed, Path(folder))
            rows = []
            for flavour, changes, max_drop in ASKED:
                recipe = adjusted(load_recipe(flavour), **changes)
                rows.append({
                    "flavour": flavour + ("".join(f", {key.replace('_', ' ')}" for key in changes)),
                    "max_drop": max_drop,
                    "plain": bench.plain(recipe),
                    "repaired": bench.repaired(recipe, max_drop),
                })  # fmt: skip
                print(name, rows[-1], flush=True)
            mixed = list(bench.mixed())
            print(name, mixed, flush=True)
        counts = {"calibrated": CALIBRATION, "tuned": bench.tuning, "reported": len(bench.reporting)}
        found.append({"network": name, **counts, "rows": rows, "mixed": mixed})
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "tersor_source": source(),
        "processor": processor(),
        "load_average": os.getloadavg()[2],
        "seed": arguments.seed,
        "networks": found,
    }


def page(found: Mapping[str, Any]) -> str:
    """The tables in Markdown."""
    counts = ", ".join(
        f"{item['network']} {item['calibrated']} / {item['tuned']} / {item['reported']}" for item in found["networks"]
    )
    told = (
        "What `--max-drop` and mixtures of 4-bit and 8-bit weights get back. Samples to calibrate on / to tune on / "
        f"to report on, none in two of these: {counts} (draw {found['seed']}). Made by "
        f"`python benchmarks/repair.py DATA`, "
        f"{found['date']}, tersor source {found['tersor_source']}, XNNPACK kernels. Each cell: agreement with float "
        "(arg-max) · SQNR of the output · top-1 below (-) or above float in points [95 %, paired]. Seconds are those "
        f"of a whole repair on 2 cores at a load of {found['load_average']:.1f}."
    )
    lines = [
        "# Repair and mixed precision",
        "",
        textwrap.fill(told, 120),
        "",
        "## `--max-drop`",
        "",
        "| network | flavour | asked | as it comes | repaired | size | kept | verdict | s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for item in found["networks"]:
        lines += [_repair_row(item["network"], row) for row in item["rows"]]
    lines += [
        "",
        "## 4-bit weights, 8 bits for the layers that matter",
        "",
        "The first layers of `tersor.mixtures`, as many as fit into a share of what 8 bits everywhere would add.",
        "",
        "| network | share of the bytes | layers | size | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for item in found["networks"]:
        for row in item["mixed"]:
            size = row["bytes"] / row["float_bytes"]
            layers = f"{row['layers']} of {row['of']}"
            lines.append(f"| {item['network']} | {row['share']:.0%} | {layers} | {size:.2f}x | {_cell(row)} |")
    return "\n".join(lines) + "\n"


def _repair_row(network: str, row: Mapping[str, Any]) -> str:
    plain, repaired = row["plain"], row["repaired"]
    slower = "" if repaired["slowdown"] is None else f" ({repaired['slowdown']:.1f}x the time)"
    cells = (
        network,
        row["flavour"],
        f"{row['max_drop']:.1%}",
        _cell(plain),
        _cell(repaired),
        f"{repaired['bytes'] / plain['float_bytes']:.2f}x",
        (", ".join(repaired["kept"]) or "nothing") + slower,
        repaired["verdict"],
        f"{repaired['seconds']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _cell(row: Mapping[str, Any]) -> str:
    low, high = (100 * bound for bound in row["interval"])
    agreement, change = 100 * row["agreement"], 100 * row["change"]
    return f"{agreement:.1f} % · {row['sqnr_db']:.1f} dB · {change:+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    main()
