"""Quantizes every float model of the PyPI collection and lists what came of it.

    python benchmarks/pypi_models.py fetch --to DIR
    python benchmarks/real_models.py DIR --output docs/benchmarks

For each float `.tflite`: is it read and written without loss, do its outputs stay bit-identical, does its int8 form
(float fallback allowed) load and run on both kernel sets, and what stays in float. Models are fed with random inputs,
which tells whether a file works, not how accurate it is. Each model runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = 16


def main() -> None:
    """Command line: run all models, or one (`--one`) and print its result as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where pypi_models.py put its models")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--one", type=Path, help="a single model file")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(examine(arguments.one)))
        return
    listed = json.loads((arguments.folder / "models.json").read_text())
    entries = listed["models"] if isinstance(listed, dict) else listed
    rows = []
    for entry in entries:
        path = arguments.folder / "models" / Path(entry["file"]).name
        row = {"model": path.name, "class": entry["class"], **in_own_process(arguments.folder, path)}
        print(f"{row['model']}: {row['result']}", flush=True)
        rows.append(row)
    write(rows, arguments.output)


def in_own_process(folder: Path, path: Path) -> dict[str, Any]:
    """`examine` in a child, so that one model cannot spoil the run."""
    command = [sys.executable, __file__, str(folder), "--one", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return {"result": "time limit"}
    if done.returncode:
        return {"result": "failed", "reason": done.stderr.strip().splitlines()[-1:]}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def examine(path: Path) -> dict[str, Any]:
    """Round trip and int8 of one model."""
    import tersor
    from tersor.errors import TersorError
    from tersor.formats import tflite
    from tersor.recipe import load_recipe

    model = tersor.load(path)
    data = tflite.write_bytes(model)
    facts: dict[str, Any] = {
        "operators": len(model.graph.ops),
        "round_trip": tflite.read_bytes(data) == model,
        "same_outputs": same_outputs(path, data, model),
    }
    samples = random_samples(model, SAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        try:
            outcome = tersor.produce(
                model,
                {load_recipe("int8_float_io"): Path(folder) / "model.int8.tflite"},
                samples,
                options=tersor.Options(calibration_samples=SAMPLES),
            )
        except TersorError as error:
            return facts | {
                "result": f"refused ({type(error).__name__})",
                "reason": str(error).replace(str(path), path.name),
            }
    product = outcome.products[0]
    assert product.plan is not None
    left = product.plan.left_in_float()
    return facts | {
        "result": "int8" if len(left) < len(model.graph.ops) else "nothing to quantize",
        "integer_operators": sum(op.compute == "integer" for op in product.plan.ops.values()),
        "left_in_float": sorted({f"{op.kind}: {op.why}" for op in left.values()}),
        "sqnr_db": None if product.sqnr_db is None else round(min(max(product.sqnr_db, -999.0), 999.0), 1),
        "size_ratio": round(product.size_bytes / path.stat().st_size, 3),
    }


def random_samples(model: Any, count: int) -> Any:
    """Inputs that are random within what images and audio are scaled to; small integers for integer inputs."""
    from tersor.data.dataset import from_iterable

    generator = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        arrays = []
        for name in model.graph.inputs:
            tensor = model.graph.tensors[name]
            if tensor.dtype.is_float:
                low = generator.normal(0, 0.5, [min(8, size) for size in tensor.shape])
                smooth = np.zeros(tensor.shape, np.float32)
                smooth[...] = np.resize(low, tensor.shape)
                arrays.append(np.clip(smooth + generator.normal(0, 0.1, tensor.shape), -1, 1).astype(np.float32))
            else:
                arrays.append(generator.integers(0, 2, tensor.shape).astype(tensor.dtype.numpy))
        samples.append(tuple(arrays))
    return from_iterable(samples, "random inputs")


def same_outputs(path: Path, data: bytes, model: Any) -> bool | str:
    """Whether the file as we write it answers bit by bit what the original answers."""
    from tersor.data.feed import fit
    from tersor.errors import TersorError
    from tersor.runtimes.engine import Engine

    sample = next(iter(random_samples(model, 1)))
    with tempfile.TemporaryDirectory() as folder, Engine(120) as engine:
        again = Path(folder) / "again.tflite"
        again.write_bytes(data)
        try:
            first, second = (engine.open(str(each)) for each in (path, again))
            pairs = zip(first.run(fit(sample, first.inputs)), second.run(fit(sample, second.inputs)), strict=True)
            return all(a.tobytes() == b.tobytes() for a, b in pairs)
        except TersorError as error:
            return f"the original does not run: {error}".replace(str(path), path.name)


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    """The table, as JSON and Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "real_models.json").write_text(json.dumps(rows, indent=1) + "\n")
    floats = [row for row in rows if row["class"] in ("float32", "float16")]
    done = sum(row["result"] == "int8" for row in floats)
    summary = (
        f"{len(rows)} files, {sum(row.get('round_trip') is True for row in rows)} read and written without loss, "
        f"{sum(row.get('same_outputs') is True for row in rows)} with bit-identical outputs (the others do not run as "
        f"they are). Of {len(floats)} float models {done} became int8 files that run on both kernel sets."
    )
    lines = [
        "# Real models out of PyPI packages",
        "",
        "Written by `benchmarks/real_models.py`. Inputs are random: this tells that a file works, not how well.",
        "",
        summary,
        "",
        "| model | kind | result | integer operators | stays in float, or why refused |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        why = "; ".join(row.get("left_in_float", [])) or str(row.get("reason", ""))
        why = why.replace("\n", " ").replace("|", "/")[:300]
        share = f"{row['integer_operators']} of {row['operators']}" if "integer_operators" in row else ""
        lines.append(f"| {row['model']} | {row['class']} | {row['result']} | {share} | {why} |")
    (folder / "real_models.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
