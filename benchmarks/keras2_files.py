"""Trained Keras 2 files, which Keras 3 may refuse: tersor's float answers beside those of TensorFlow's own Keras 2.

    python benchmarks/keras2_files.py DATA --work DIR

DATA holds ``imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5`` (Keras Applications) with ``photos_500/`` (photographs:
a zip, and a CSV of classes), and ``cifar10_resnet8/pretrainedResnet.h5`` (MLPerf Tiny) with ``ic01_200.npz``. What is
not there is left out. Writes ``docs/benchmarks/keras2_files.json`` and ``.md``. Runs on Python alone.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from page import table

from environments import ROOT, add_pythons, pythons, source, versions

ENVIRONMENTS = ("keras_2", "tersor")
WORKERS = ROOT / "benchmarks" / "peers"
CASES = {
    "MobileNetV1 0.25, 224 pixels": ("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5", "photos_500"),
    "ResNet-8, CIFAR-10": ("cifar10_resnet8/pretrainedResnet.h5", "cifar10_resnet8/ic01_200.npz"),
}


def measure(name: str, data: Path, work: Path, pythons: Mapping[str, Path]) -> dict[str, Any]:
    """Both programs' answers to the same samples."""
    model, samples = (data / part for part in CASES[name])
    folder = work / "keras_2" / model.stem
    folder.mkdir(parents=True, exist_ok=True)
    for program, *arguments in (
        ("tersor", "keras2_samples.py", samples, folder),
        ("keras_2", "keras2_reference.py", model, folder),
        ("tersor", "keras2_judge.py", model, folder),
    ):
        worker, *rest = arguments
        subprocess.run([pythons[program], WORKERS / worker, *rest], check=True, cwd=work, stderr=subprocess.PIPE)
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return {"file": model.name, "data": samples.name, **found}


def page(results: dict[str, Any]) -> str:
    """The page in Markdown."""
    rows = [
        [
            name,
            str(each["samples"]),
            each["keras_3"],
            f"{each['reference_correct'] / each['samples']:.1%}",
            *(f"{each[kernels]['correct'] / each['samples']:.1%}" for kernels in ("xnnpack", "builtin")),
            f"{min(each[kernels]['same_answer'] for kernels in ('xnnpack', 'builtin'))} of {each['samples']}",
            f"{max(each[kernels]['difference'] for kernels in ('xnnpack', 'builtin')):.1e}",
        ]
        for name, each in results["files"].items()
    ]
    head = ["network", "samples", "Keras 3", "top-1, TensorFlow", "top-1, XNNPACK", "top-1, builtin"]
    head += ["same answer", "largest difference"]
    packages = results["versions"]["keras_2"]
    return f"""# Keras 2 files

Trained networks in files of Keras 2, read by tersor as they are and run in float, beside TensorFlow's Keras 2. Made by
`python benchmarks/keras2_files.py DATA --work DIR`, {results["date"]}, tersor source {results["tersor_source"]},
tf-keras {packages["tf-keras"]}, tensorflow-cpu {packages["tensorflow-cpu"]}, keras {packages["keras"]}.

{table(head, rows)}

Difference: between probabilities, relative to the largest of the sample; the worst sample and kernel set.
"""


def main() -> None:
    """Make what is missing, measure what is there, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for environments and results")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks")
    add_pythons(parser, ENVIRONMENTS)
    arguments = parser.parse_args()
    work, data = arguments.work.resolve(), arguments.data.resolve()
    work.mkdir(parents=True, exist_ok=True)
    present = [name for name, parts in CASES.items() if all((data / part).exists() for part in parts)]
    if not present:
        sys.exit(f"{data}: holds none of the files")
    used = pythons(arguments, work, ENVIRONMENTS)
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "tersor_source": source(),
        "versions": versions(used),
        "files": {name: measure(name, data, work, used) for name in present},
    }
    (arguments.output / "keras2_files.json").write_text(json.dumps(results, indent=1) + "\n")
    (arguments.output / "keras2_files.md").write_text(page(results))


if __name__ == "__main__":
    main()
