"""Puts measured figures into README.md, from the files that the other benchmarks wrote.

    python benchmarks/readme.py            # measures the demo again, and fills the README
    python benchmarks/readme.py --check    # fails if the README is not what the files say

Each table stands between `<!-- name -->` and `<!-- /name -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "benchmarks"
FLAVOURS = "float16,dynamic,int8,uint8,int16x8,int8_w4"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something would change")
    parser.add_argument("--fill", action="store_true", help="fill the README, but do not measure the demo again")
    arguments = parser.parse_args()
    if not (arguments.check or arguments.fill):
        measure_demo()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    filled = text
    contents = {
        "demo": demo_table,
        "accuracy": accuracy_table,
        "peers": peers_table,
        "keras": keras_table,
        "zoo": zoo,
        "real-models": real_models,
    }
    for name, content in ((name, make()) for name, make in contents.items()):
        block = f"<!-- {name} -->{content}<!-- /{name} -->"
        filled = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", block.replace("\\", r"\\"), filled, flags=re.DOTALL)
    if arguments.check:
        sys.exit("README.md is not what docs/benchmarks says; run benchmarks/readme.py" if filled != text else 0)
    readme.write_text(filled, encoding="utf-8")


def measure_demo() -> None:
    """The demo's flavours, measured now."""
    demo = ROOT / "demo"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from tersor.cli.main import main; main()", "quantize"]
        command += [str(demo / "fashion_mnist.keras"), "--data", str(demo / "fashion_mnist_calibration.npz")]
        command += ["--samples", "200", "--eval-data", str(demo / "fashion_mnist.npz"), "--rescale", "1/255"]
        command += ["--as", FLAVOURS, "--latency", "--json", "--output", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    for product in result["products"]:
        product["file"] = Path(product["file"]).name
    (RESULTS / "demo.json").write_text(json.dumps(result, indent=1) + "\n")


def demo_table() -> str:
    """Accuracy, size and latency of the demo's flavours."""
    result = json.loads((RESULTS / "demo.json").read_text())
    lines = ["", "| flavour | size | top-1 [95 %] | same answer | SQNR | latency |", "|---|---|---|---|---|---|"]
    base = result["float"]
    for item in (base, *result["products"]):
        low, high = (100 * bound for bound in item["accuracy"]["interval"])
        ratio = "" if item is base else f" ({item['size_bytes'] / base['size_bytes']:.2f}x)"
        agreement = "" if item["agreement"] is None else f"{100 * item['agreement']:.1f} %"
        sqnr = "" if item["sqnr_db"] is None else f"{item['sqnr_db']:.1f} dB"
        lines.append(
            f"| {item['name']} | {item['size_bytes'] / 1000:.1f} kB{ratio} "
            f"| {100 * item['accuracy']['value']:.1f} % [{low:.1f}, {high:.1f}] | {agreement} | {sqnr} "
            f"| {item['latency_ratio']:.2f}x |"
        )
    note = f"{base['accuracy']['samples']} test images; latency relative to float, one thread of a desktop CPU."
    return "\n".join([*lines, "", note, ""])


def accuracy_table() -> str:
    """What integer flavours cost trained networks, beside the peers."""
    result = json.loads((RESULTS / "accuracy.json").read_text())
    tools = {"tersor": "tersor", "tensorflow": "TensorFlow", "litert_quantizer": "litert-quantizer"}
    flavours = {"int8": "int8", "int8_per_tensor": "int8, per tensor", "int8_w4": "int8, 4-bit weights"}
    lines = ["", f"| agreement with float, SQNR | {' | '.join(tools.values())} |", f"|{'---|' * (len(tools) + 1)}"]
    for name, network in result["networks"].items():
        for flavour, title in flavours.items():
            files = [network["files"].get(f"{tool}.{flavour}", {}) for tool in tools]
            cells = [
                f"{100 * file['agreement']:.1f} %, {file['sqnr_db']:.1f} dB" if "agreement" in file else ""
                for file in files
            ]
            lines.append(f"| {name}, {title} | {' | '.join(cells)} |")
    note = (
        "Defaults of every tool, the same float file and samples; which differences are not chance, top-1, int16x8:\n"
        "[all figures](docs/benchmarks/accuracy.md)."
    )
    return "\n".join([*lines, "", note, ""])


def peers_table() -> str:
    """Time, memory, file and fidelity beside the peers."""
    result = json.loads((RESULTS / "peers.json").read_text())
    contestants = result["contestants"]
    base = contestants["tersor_library"]
    lines = [
        "",
        "| MobileNetV2 to int8, 100 samples | time | peak memory | file | agreement | SQNR |",
        "|---|---|---|---|---|---|",
    ]
    shown = ("tersor_library", "tersor_cli", "litert_quantizer_profiler", "litert_quantizer_preserve_all")
    for key in (*shown, "tensorflow_saved_model", "tensorflow_keras"):
        item = contestants[key]
        pairs = zip(item["wall_seconds"], base["wall_seconds"], strict=True)
        ratio = statistics.median(own / other for own, other in pairs)
        lines.append(
            f"| {item['title']} | {ratio:.2f}x | {item['tree_rss_bytes'] / 1e6:.0f} MB "
            f"| {item['file']['bytes'] / 1e6:.2f} MB | {100 * item['file']['agreement']:.1f} % "
            f"| {item['file']['sqnr_db']:.1f} dB |"
        )
    note = (
        "Whole processes side by side in one run, time relative to the first row, memory of all processes together;\n"
        "random weights: agreement compares tools, it does not say what int8 costs a trained network\n"
        "([all figures](docs/benchmarks/peers.md), `make benchmark`)."
    )
    return "\n".join([*lines, "", note, ""])


def keras_table() -> str:
    """From `.keras` files, beside TensorFlow."""
    results: dict[str, Any] = json.loads((RESULTS / "keras_files.json").read_text())
    lines = [
        "",
        "| from the `.keras` file | TensorFlow's time over ours | processor time | our peak memory | TensorFlow's |",
        "|---|---|---|---|---|",
    ]
    for result in results.values():
        is_float = result["kind"] == "float"
        ours, theirs = ("tersor", "tensorflow_float") if is_float else ("tersor_cli", "tensorflow")
        own, other = (result["contestants"][name] for name in (ours, theirs))
        wall, processor = (
            statistics.median(slow / fast for slow, fast in zip(other[key], own[key], strict=True))
            for key in ("wall_seconds", "cpu_seconds")
        )
        what = "float" if is_float else f"int8, {result['model']['samples']} samples"
        lines.append(
            f"| {result['model']['model']} to {what} | {wall:.1f}x | {processor:.1f}x "
            f"| {own['tree_rss_bytes'] / 1e6:.0f} MB | {other['tree_rss_bytes'] / 1e6:.0f} MB |"
        )
    note = "`tersor quantize` with its corrections and checks ([all figures](docs/benchmarks/keras_files.md))."
    return "\n".join([*lines, "", note, ""])


def zoo() -> str:
    """One sentence about the Keras applications."""
    found = [json.loads(path.read_text()) for path in sorted((RESULTS / "zoo").glob("*.json"))]
    networks = [each["columns"] for each in found if "columns" in each]
    worst = [max(each["float32"][kernels]["to_keras"] for kernels in ("xnnpack", "builtin")) for each in networks]
    flavours = ("float16", "dynamic", "int8", "int16x8")
    made = sum(all("error" not in each[name] for name in flavours) for each in networks)
    return (
        f"{len(networks)} are read, {sum(value <= 1e-4 for value in worst)} answer within 1e-4 of Keras, and {made} "
        "become float16, dynamic, int8 and int16x8 files"
    )


def real_models() -> str:
    """One sentence about the models out of PyPI packages."""
    rows: list[dict[str, Any]] = json.loads((RESULTS / "real_models.json").read_text())
    floats = [row for row in rows if row["class"] in ("float32", "float16")]
    done = sum(row["result"] == "int8" for row in floats)
    return (
        f"{len(rows)} are read and written without loss, and {done} of the {len(floats)} float ones become int8 files"
    )


if __name__ == "__main__":
    main()
