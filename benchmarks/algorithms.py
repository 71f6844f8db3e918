"""Measures what each algorithm buys on real networks, on other samples than those calibrated on.

    python benchmarks/algorithms.py DATA --kws kws.tflite --output docs/benchmarks

DATA holds the folders `imagenet_mobilenetv1_025`, `photos_500`, `cifar10_resnet8` and `kws_dscnn` (see the README for
where they come from); `--kws` is the keyword network of MLPerf Tiny as a float `.tflite`. The demo network lies in the
repository. What is not there is left out. For each network and flavour, each list of algorithms: agreement with the
float network's arg-max, SQNR and top-1 on the samples that were not calibrated on, and processor seconds for the
algorithms beside those of one calibration pass, all in one run. XNNPACK kernels.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]

MEANS = ["bias_correction", "activation_correction"]
DESCENT = ["coordinate_descent", *MEANS]
FITTED = ["least_squares_refit", "fit_scales", *DESCENT]
LISTS: dict[str, list[str]] = {
    "none": [],
    "bias_correction": ["bias_correction"],
    "+ activation_correction": MEANS,
    "+ coordinate_descent": DESCENT,
    "gptq instead": ["gptq", *MEANS],
    "+ least_squares_refit": ["least_squares_refit", *DESCENT],
    "+ fit_scales": FITTED,
    "+ zero_dead_channels": ["zero_dead_channels", *FITTED],
    "+ cross_layer_equalization": ["zero_dead_channels", "cross_layer_equalization", *FITTED],
}
"""Each with its name in the table."""

FLAVOURS = ("int8", "int8 per tensor", "int16x8", "int8_w4")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--kws", type=Path)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "benchmarks")
    parser.add_argument("--only", nargs="*", help="networks to measure; the figures of others stay")
    parser.add_argument("--defaults", action="store_true", help="only what the presets do")
    arguments = parser.parse_args()
    path = arguments.output / "algorithms.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() and arguments.only else []
    for name, model, samples, labels, calibration in networks(arguments.data, arguments.kws):
        if arguments.only and name not in arguments.only:
            continue
        rows = [row for row in rows if row["network"] != name]
        for row in measured(name, model, samples, labels, calibration, defaults=arguments.defaults):
            print(row, flush=True)
            rows.append(row)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.output / "algorithms.md").write_text(page(rows))


Network = tuple[str, Any, list[Any], Any, int]
"""Name, model, samples, labels, and how many of the samples to calibrate on."""


def networks(data: Path, kws: Path | None) -> Iterator[Network]:
    """The networks that are there."""
    import tersor

    path = data / "imagenet_mobilenetv1_025" / "mobilenet_v1_0.25_224.h5"
    if path.exists():
        yield "MobileNetV1 0.25", tersor.load(path), *photos(data / "photos_500"), 100
    path = data / "cifar10_resnet8" / "pretrainedResnet.tflite"
    if path.exists():
        loaded = np.load(data / "cifar10_resnet8" / "ic01_200.npz")
        yield "ResNet-8", tersor.load(path), list(loaded["x"].astype(np.float32)[:, None]), loaded["y"], 100
    if kws is not None and kws.exists():
        loaded = np.load(data / "kws_dscnn" / "kws_mfcc_500.npz")
        yield "keyword DS-CNN", tersor.load(kws), list(loaded["x"][:, None]), loaded["y"], 100
    own, others = (np.load(REPOSITORY / "demo" / f"fashion_mnist{end}.npz") for end in ("_calibration", ""))
    samples = np.concatenate([own["x"][:100], others["x"]]).astype(np.float32) / 255
    model = tersor.load(REPOSITORY / "demo" / "fashion_mnist.keras")
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    labels = np.concatenate([np.zeros(100, int), others["y"].reshape(-1)])
    yield "demo", model, [sample.reshape(shape) for sample in samples], labels, 100


def photos(folder: Path) -> tuple[list[Any], Any]:
    """The photos, as MobileNetV1 reads them, and their classes."""
    from PIL import Image

    rows = list(csv.DictReader(io.StringIO((folder / "photos.csv").read_text())))
    with zipfile.ZipFile(folder / "photos.zip") as archive:
        places = {name.rpartition("/")[2]: name for name in archive.namelist()}
        images = [Image.open(archive.open(places[row["file"]])).convert("RGB") for row in rows]
        samples = [np.asarray(image, np.float32)[None] / 127.5 - 1 for image in images]
    return samples, np.array([int(row["class_index"]) for row in rows])


def measured(
    name: str, model: Any, samples: list[Any], labels: Any, calibration: int, *, defaults: bool
) -> Iterator[dict[str, Any]]:
    """A row for each flavour and list of algorithms."""
    from tersor.recipe import adjusted, load_recipe
    from tersor.runtimes.engine import Engine
    from tersor.stages.optimize import optimize

    model = optimize(model)
    with Engine() as engine:
        wanted = answers(engine, model, samples[calibration:])
        for flavour in FLAVOURS:
            preset, _, tensor = flavour.partition(" ")
            recipe = adjusted(load_recipe(preset), per_tensor=bool(tensor), interface="float32", allow_float=True)
            lists = {"default": recipe.algorithms} if defaults else {**LISTS, "default": recipe.algorithms}
            for title, names in lists.items():
                limit = recipe.fan_in_limit if title == "default" else 1024
                own = replace(recipe, algorithms=tuple(names), fan_in_limit=limit)
                seconds, unit, found = made(model, own, samples[:calibration])
                given = answers(engine, found, samples[calibration:])
                yield {
                    "network": name,
                    "flavour": flavour,
                    "algorithms": title,
                    "samples": len(given),
                    "top1": round(float(np.mean(given.argmax(1) == labels[calibration:])), 4),
                    "float_top1": round(float(np.mean(wanted.argmax(1) == labels[calibration:])), 4),
                    "agreement": round(float(np.mean(given.argmax(1) == wanted.argmax(1))), 4),
                    "sqnr_db": round(float(10 * np.log10((wanted**2).sum() / ((wanted - given) ** 2).sum())), 2),
                    "seconds": round(seconds, 1),
                    "calibration_seconds": round(unit, 2),
                }


def made(model: Any, recipe: Any, samples: list[Any]) -> tuple[float, float, Any]:
    """Processor seconds of the algorithms and of a calibration, and the quantized model."""
    from tersor.stages.calibrate import calibrate
    from tersor.stages.correct import correct, rewrite
    from tersor.stages.plan import plan
    from tersor.stages.quantize import quantize

    def corrected(engine: Any) -> Any:
        limit = recipe.fan_in_limit
        return correct(rewritten, decided, samples, recipe.algorithms, fan_in_limit=limit, engine=engine)

    idle, _ = timed(lambda _: None)
    first, rewritten = timed(
        lambda engine: rewrite(model, samples, recipe.algorithms, scheme=recipe.scheme, engine=engine)
    )
    unit, seen = timed(lambda engine: calibrate(rewritten, samples, recipe.observer, engine=engine))
    decided = plan(rewritten, recipe, seen)
    second, found = timed(corrected)
    return max(first + second - 2 * idle, 0.0), max(unit - idle, 1e-3), quantize(found.model, found.plan)


def timed(work: Callable[[Any], Any]) -> tuple[float, Any]:
    """Processor seconds of some work, in this process and in an engine of its own, and its result."""
    from tersor.runtimes.engine import Engine

    start = os.times()
    with Engine() as engine:
        result = work(engine)
    end = os.times()
    return sum(end[:4]) - sum(start[:4]), result


def answers(engine: Any, model: Any, samples: list[Any]) -> Any:
    """The first output on each sample, as rows."""
    from tersor.formats import tflite

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        tflite.write(model, path)
        handle = engine.open(str(path), copies=2)
        found = [outputs[0].reshape(-1) for outputs in handle.run_all([sample] for sample in samples)]
        handle.close()
    return np.stack(found).astype(np.float64)


def page(rows: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    lines = [
        "# What the algorithms buy",
        "",
        "Written by `benchmarks/algorithms.py`. Agreement with the float network's arg-max / SQNR of the output, on",
        "other samples than those calibrated on; the cost is processor time in passes of calibration. `default` is",
        "what the flavour does without options, the other rows are without limit of the fan-in (1024). The lists of",
        "the presets and the constants of the algorithms were chosen on MobileNetV1 and its photos, so its figures",
        "flatter; the other networks had no part in that.",
    ]
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        lines += [
            "",
            f"## {network}",
            "",
            f"100 samples calibrated on, {own[0]['samples']} measured on; float top-1 {own[0]['float_top1']:.1%}.",
            "",
            "| algorithms | " + " | ".join(f"{flavour} | cost" for flavour in FLAVOURS) + " |",
            "|---|" + "---|---|" * len(FLAVOURS),
        ]
        for title in dict.fromkeys(row["algorithms"] for row in own):
            cells = []
            for flavour in FLAVOURS:
                row = next((r for r in own if (r["flavour"], r["algorithms"]) == (flavour, title)), None)
                cells.append(cell(row))
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any] | None) -> str:
    """Two cells: the quality, and what it cost."""
    if row is None:
        return " | "
    cost = row["seconds"] / max(row["calibration_seconds"], 1e-9)
    return f"{row['agreement']:.1%} / {row['sqnr_db']:.1f} dB | {cost:.1f}"


if __name__ == "__main__":
    main()
