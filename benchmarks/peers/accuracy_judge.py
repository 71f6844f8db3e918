"""One judge for the files of all: agreement with float, SQNR, top-1, and paired differences; in tersor's environment.

    python accuracy_judge.py FOLDER

Runs ``float.tflite`` and every ``TOOL.FLAVOUR.tflite`` on ``samples.npy`` by LiteRT's interpreter alone, each file and
kernel set in a process that may die, and writes ``report.json``. The figures are XNNPACK's; ``builtin`` has those of
the builtin kernels, beside the same float answers (not for int16x8, where XNNPACK leaves the work to them anyway).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from compare_files import KERNELS, File
from paired import bootstrap, exact_mcnemar, wilson

OURS = "tersor"
SLOW = ".int16x8"


class Answers:
    """What one file answers to all samples, beside the float model's answers and the labels."""

    def __init__(self, given: Any, wanted: Any, labels: Any) -> None:
        self.same = given.argmax(-1) == wanted.argmax(-1)
        self.right = given.argmax(-1) == labels
        self.noise = ((given - wanted) ** 2).sum(-1)
        self.signal = (wanted**2).sum(-1)

    def figures(self) -> dict[str, Any]:
        """Shares with their 95 % intervals, and the SQNR of all samples together."""
        noise = float(self.noise.sum())
        return {
            "agreement": float(self.same.mean()),
            "agreement_interval": wilson(self.same),
            "sqnr_db": 10 * float(np.log10(self.signal.sum() / noise)) if noise else None,
            "top1": float(self.right.mean()),
            "top1_interval": wilson(self.right),
        }


def against(ours: Answers, theirs: Answers) -> dict[str, Any]:
    """Our figures less theirs, on the same samples."""
    return {
        "agreement": {
            "difference": float(ours.same.mean() - theirs.same.mean()),
            "p": exact_mcnemar(ours.same, theirs.same),
        },
        "sqnr_db": bootstrap(ours.noise, theirs.noise),
    }


def run(file: Path, kernels: str) -> Any:
    """A file's answers `[samples, classes]`, or None where it does not run."""
    target = file.with_suffix(f".{kernels}.npy")
    target.unlink(missing_ok=True)
    command = [sys.executable, __file__, str(file.parent), str(file), kernels, str(target)]
    subprocess.run(command, check=False, capture_output=True)
    return np.load(target) if target.exists() else None


def judge(folder: Path) -> dict[str, Any]:
    """The figures of every file."""
    labels = np.load(folder / "labels.npy")
    files = sorted(file for file in folder.glob("*.*.tflite"))
    jobs = [(folder / "float.tflite", "xnnpack")]
    jobs += [(file, kernels) for file in files for kernels in KERNELS if kernels == "xnnpack" or SLOW not in file.name]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        wanted, *given = pool.map(run, *zip(*jobs, strict=True))
    answers = {
        (file.name.removesuffix(".tflite"), kernels): Answers(output, wanted, labels)
        for (file, kernels), output in zip(jobs[1:], given, strict=True)
        if output is not None
    }
    reference = Answers(wanted, wanted, labels)
    report: dict[str, Any] = {
        "float": {**reference.figures(), "bytes": (folder / "float.tflite").stat().st_size},
        "measured": len(labels),
        "calibrated": len(np.load(folder / "calibration.npy", mmap_mode="r")),
        "files": {},
    }
    for file in files:
        name = file.name.removesuffix(".tflite")
        own = answers.get((name, "xnnpack"))
        if own is None:
            report["files"][name] = {"error": "does not run on XNNPACK's kernels"}
            continue
        entry = report["files"][name] = {"bytes": file.stat().st_size, **own.figures()}
        entry["to_float"] = {
            "difference": float(own.right.mean() - reference.right.mean()),
            "p": exact_mcnemar(own.right, reference.right),
        }
        if SLOW not in name:
            builtin = answers.get((name, "builtin"))
            entry["builtin"] = None if builtin is None else builtin.figures()
        ours = answers.get((f"{OURS}.{name.partition('.')[2]}", "xnnpack"))
        if ours is not None and ours is not own:
            entry["tersor_less_this"] = against(ours, own)
    return report


def main(arguments: Iterable[str]) -> None:
    """Judge a folder, or run one file."""
    folder, *one = map(str, arguments)
    if one:
        file, kernels, target = one
        loaded = File(Path(file), kernels)
        np.save(
            target, np.stack([loaded.run(sample) for sample in np.load(Path(folder) / "samples.npy", mmap_mode="r")])
        )
    else:
        (Path(folder) / "report.json").write_text(json.dumps(judge(Path(folder))))


if __name__ == "__main__":
    main(sys.argv[1:])
