"""Measures what each algorithm buys on real networks, on other samples than those calibrated on.

    python benchmarks/algorithms.py DATA --kws kws.h5 --draws 2 --output docs/benchmarks

DATA holds the folders `imagenet_mobilenetv1_025`, `photos_500`, `cifar10_resnet8` and `kws_dscnn` (see the README for
where they come from); `--kws` is the keyword network of MLPerf Tiny, saved as `.h5` by tf_keras from its SavedModel, so
that its batch normalizations show, or as a float `.tflite`. The demo network lies in the repository, and two dense
networks with outliers are made. What is not there is left out. For each network and flavour, each list of algorithms:
agreement with the float network's arg-max, SQNR and top-1 on the samples that were not calibrated on, and processor
seconds for the algorithms beside those of one calibration pass, all in one run. Each draw calibrates on other samples.
XNNPACK kernels.
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
    "+ outlier_splitting instead": ["outlier_splitting", "zero_dead_channels", *FITTED],
    "+ staggered_copies instead": ["staggered_copies", "zero_dead_channels", *FITTED],
}
"""Each with its name in the table."""

WITHOUT_DATA = "analytic_bias_correction, no data"

FLOAT_LISTS: dict[str, list[str]] = {
    "none": [],
    WITHOUT_DATA: ["analytic_bias_correction"],
    "bias_correction": ["bias_correction"],
    "+ coordinate_descent": ["coordinate_descent", "bias_correction"],
}
"""Likewise for flavours whose activations stay in float."""

OUTLIER_LISTS = {
    "bias_correction": ["bias_correction"],
    "+ outlier_splitting": ["outlier_splitting", "bias_correction"],
}
"""Likewise for the networks that are made to have outliers."""

FLAVOURS = ("int8", "int8 per tensor", "int16x8", "int8_w4")

FLOAT_FLAVOURS = ("dynamic", "dynamic per tensor", "weight_only")

MADE = "dense, one "
"""How the names of networks that are made begin."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--kws", type=Path)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "benchmarks")
    parser.add_argument("--only", nargs="*", help="networks to measure; the figures of others stay")
    parser.add_argument("--flavours", nargs="*", default=[*FLAVOURS, *FLOAT_FLAVOURS], help="likewise for flavours")
    parser.add_argument("--defaults", action="store_true", help="only what the presets do")
    parser.add_argument("--draws", type=int, default=1, help="how often to calibrate on other samples")
    arguments = parser.parse_args()
    path = arguments.output / "algorithms.json"
    part = arguments.only or len(arguments.flavours) < len(FLAVOURS) + len(FLOAT_FLAVOURS)
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() and part else []
    for name, model, samples, labels, pool in networks(arguments.data, arguments.kws):
        if arguments.only and name not in arguments.only:
            continue
        rows = [row for row in rows if row["network"] != name or row["flavour"] not in arguments.flavours]
        for draw in range(arguments.draws):
            order = np.random.default_rng(draw).permutation(pool) if draw else np.arange(pool)
            rest = order[CALIBRATION:] if pool == len(samples) else np.arange(pool, len(samples))
            parts = [samples[place] for place in order[:CALIBRATION]], [samples[place] for place in rest]
            own = [item for item in arguments.flavours if item in FLAVOURS or not name.startswith(MADE)]
            for row in measured(name, model, *parts, labels[rest], own, defaults=arguments.defaults):
                rows.append(row | {"draw": draw})
                print(rows[-1], flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.output / "algorithms.md").write_text(page(rows))


CALIBRATION = 100
"""Samples to calibrate on."""

Network = tuple[str, Any, list[Any], Any, int]
"""Name, model, samples, labels, and how many of the first samples those to calibrate on are drawn from."""


def networks(data: Path, kws: Path | None) -> Iterator[Network]:
    """The networks that are there."""
    import tersor

    path = data / "imagenet_mobilenetv1_025" / "mobilenet_v1_0.25_224.h5"
    if path.exists():
        yield "MobileNetV1 0.25", tersor.load(path), *photos(data / "photos_500"), 500
    path = data / "cifar10_resnet8" / "pretrainedResnet.h5"
    if path.exists():
        loaded = np.load(data / "cifar10_resnet8" / "ic01_200.npz")
        yield "ResNet-8", tersor.load(path), list(loaded["x"].astype(np.float32)[:, None]), loaded["y"].reshape(-1), 200
    if kws is not None and kws.exists():
        loaded = np.load(data / "kws_dscnn" / "kws_mfcc_500.npz")
        yield "keyword DS-CNN", tersor.load(kws), list(loaded["x"].astype(np.float32)[:, None]), loaded["y"], 500
    own, others = (np.load(REPOSITORY / "demo" / f"fashion_mnist{end}.npz") for end in ("_calibration", ""))
    samples = np.concatenate([own["x"], others["x"]]).astype(np.float32) / 255
    model = tersor.load(REPOSITORY / "demo" / "fashion_mnist.keras")
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    labels = np.concatenate([own["y"].reshape(-1), others["y"].reshape(-1)])
    yield "demo", model, [sample.reshape(shape) for sample in samples], labels, len(own["x"])
    for side in ("channel", "column of weights"):
        inputs = list(np.random.default_rng(1).uniform(-1, 1, (500, 1, 24)).astype(np.float32))
        yield f"{MADE}{side} ten times as large", lopsided(side), inputs, np.zeros(500, int), 500


def lopsided(side: str) -> Any:
    """A dense network with 128 hidden channels, of which one stands out by a factor of ten.

    It takes as much larger values than the others, or is read with as much larger weights.
    """
    from tersor.ir.build import Builder

    numbers, builder = np.random.default_rng(0), Builder()
    sizes = np.ones(128)
    sizes[7] = 10 if side == "channel" else 0.1
    first = numbers.normal(size=(128, 24)) / 5 * sizes[:, None], numbers.normal(size=128) / 10 * sizes
    second = numbers.normal(size=(16, 128)) / 6 / sizes, numbers.normal(size=16)
    value, relu = builder.input("x", [1, 24]), 1
    for name, (weights, bias), activation in (("hidden", first, relu), ("y", second, 0)):
        operands = [builder.constant(f"{name}/{part}", item.astype(np.float32))
                    for part, item in (("weights", weights), ("bias", bias))]  # fmt: skip
        options = {"fused_activation_function": activation}
        value = builder.op("FULLY_CONNECTED", [value, *operands], [1, len(bias)], options, name=name)
    return builder.model([value])


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
    name: str,
    model: Any,
    calibration: list[Any],
    samples: list[Any],
    labels: Any,
    flavours: list[str],
    *,
    defaults: bool,
) -> Iterator[dict[str, Any]]:
    """A row for each flavour and list of algorithms, measured on samples that are not those of the calibration."""
    from tersor.formats import tflite
    from tersor.ir.work import macs
    from tersor.recipe import adjusted, load_recipe
    from tersor.runtimes.engine import Engine
    from tersor.stages.optimize import optimize

    model = optimize(model)
    with Engine() as engine:
        wanted = answers(engine, model, samples)
        for flavour in flavours:
            preset, _, tensor = flavour.partition(" ")
            recipe = adjusted(load_recipe(preset), per_tensor=bool(tensor), interface="float32", allow_float=True)
            lists = OUTLIER_LISTS if name.startswith(MADE) else LISTS if recipe.needs_calibration else FLOAT_LISTS
            for title, names in {**({} if defaults else lists), "default": recipe.algorithms}.items():
                limit = recipe.fan_in_limit if title == "default" else 1024
                own = replace(recipe, algorithms=tuple(names), fan_in_limit=limit)
                seconds, unit, found = made(model, own, None if title == WITHOUT_DATA else calibration)
                given = answers(engine, found, samples)
                yield {
                    "network": name,
                    "flavour": flavour,
                    "algorithms": title,
                    "samples": len(given),
                    "top1": round(float(np.mean(given.argmax(1) == labels)), 4),
                    "float_top1": round(float(np.mean(wanted.argmax(1) == labels)), 4),
                    "agreement": round(float(np.mean(given.argmax(1) == wanted.argmax(1))), 4),
                    "sqnr_db": round(float(10 * np.log10((wanted**2).sum() / ((wanted - given) ** 2).sum())), 2),
                    "seconds": round(seconds, 1),
                    "calibration_seconds": round(unit, 2),
                    "bytes": len(tflite.write_bytes(found)),
                    "macs": sum(macs(found.graph, op) for op in found.graph.ops),
                }


def made(model: Any, recipe: Any, samples: list[Any] | None) -> tuple[float, float, Any]:
    """Processor seconds of the algorithms and of a calibration (0 if there is none), and the quantized model."""
    from tersor.stages.calibrate import calibrate
    from tersor.stages.correct import correct, rewrite
    from tersor.stages.plan import plan
    from tersor.stages.quantize import quantize

    def corrected(engine: Any) -> Any:
        limit = recipe.fan_in_limit
        return correct(rewritten, decided, samples, recipe.algorithms, fan_in_limit=limit, engine=engine)

    idle, _ = timed(lambda _: None)
    first, rewritten, unit, seen = idle, model, idle, None
    if samples is not None and recipe.needs_calibration:
        first, rewritten = timed(
            lambda engine: rewrite(model, samples, recipe.algorithms, scheme=recipe.scheme, engine=engine)
        )
    if samples is not None:
        unit, seen = timed(lambda engine: calibrate(rewritten, samples, recipe.observer, engine=engine))
    decided = plan(rewritten, recipe, seen)
    second, found = timed(corrected)
    return (
        max(first + second - 2 * idle, 0.0),
        0.0 if samples is None else max(unit - idle, 1e-3),
        quantize(found.model, found.plan),
    )


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
        "other samples than those calibrated on, as means over draws of the calibration samples, with half the range",
        "of the SQNR; the cost is processor time in passes of calibration. `default` is what the flavour does without",
        "options, the other rows are without limit of the fan-in (1024), each with one algorithm more than the row",
        "before; those that say *instead* have it in place of the last one. The lists of the presets and the",
        "constants of the algorithms were chosen on MobileNetV1 and its photos, so its figures flatter; the other",
        "networks had no part in that.",
    ]
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        top1 = np.mean([row["float_top1"] for row in own])
        labelled = "" if network.startswith(MADE) else f", float top-1 {top1:.1%}"
        lines += [
            "",
            f"## {network[0].upper()}{network[1:]}",
            "",
            f"{own[0]['samples']} samples measured on{labelled}.",
        ]
        for flavours in (FLAVOURS, FLOAT_FLAVOURS):
            lines += table([row for row in own if row["flavour"] in flavours], flavours)
        lines += added(own)
    return "\n".join(lines) + "\n"


def added(rows: list[dict[str, Any]]) -> list[str]:
    """Which lists make a file of int8 do more work than it does without, and how much larger they make it."""
    own = {row["algorithms"]: row for row in rows if row["flavour"] == "int8" and "macs" in row}
    plain = own.get("none") or own.get("bias_correction")
    if plain is None:
        return []
    more = [
        f"`{title.removeprefix('+ ').removesuffix(' instead')}` {row['macs'] / plain['macs'] - 1:.1%} and "
        f"{row['bytes'] / plain['bytes'] - 1:.1%}"
        for title, row in own.items()
        if row["macs"] > plain["macs"]
    ]
    return ["", f"More multiplications, and bytes, at int8: {', '.join(more) or 'none by any'}."]


def table(rows: list[dict[str, Any]], flavours: tuple[str, ...]) -> list[str]:
    """The lines of a network's table of some flavours; none without rows."""
    if not rows:
        return []
    draws = len({row["draw"] for row in rows})
    title = f"{draws} draw{'s' if draws > 1 else ''} of {CALIBRATION}"
    lines = ["", f"| {title} | " + " | ".join(f"{flavour} | cost" for flavour in flavours) + " |"]
    lines.append("|---|" + "---|---|" * len(flavours))
    for title in dict.fromkeys(row["algorithms"] for row in rows):
        own = [[r for r in rows if (r["flavour"], r["algorithms"]) == (flavour, title)] for flavour in flavours]
        lines.append(f"| {title} | " + " | ".join(map(cell, own)) + " |")
    return lines


def cell(rows: list[dict[str, Any]]) -> str:
    """Two cells: the quality over all draws, and what it cost."""
    if not rows:
        return " | "
    qualities = [row["sqnr_db"] for row in rows]
    spread = f" ±{np.ptp(qualities) / 2:.1f}" if len(rows) > 1 else ""
    agreement = np.mean([row["agreement"] for row in rows])
    costs = [row["seconds"] / row["calibration_seconds"] for row in rows if row["calibration_seconds"] > 0]
    cost = f"{np.mean(costs):.1f}" if costs else f"{np.mean([row['seconds'] for row in rows]):.1f} s"
    return f"{agreement:.1%} / {np.mean(qualities):.1f}{spread} dB | {cost}"


if __name__ == "__main__":
    main()
