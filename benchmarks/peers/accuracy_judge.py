"""One judge for the files of all: agreement with float, SQNR, top-1, and paired differences; in tersor's environment.

    python accuracy_judge.py FOLDER [VIEWS]

Runs ``float.tflite`` and every ``TOOL.FLAVOUR.tflite`` on ``samples.npy`` by LiteRT's interpreter alone, each file and
kernel set in a process that may die, and writes ``report.json``. The figures are XNNPACK's; ``builtin`` has those of
the builtin kernels, beside the same float answers (not for int16x8, where XNNPACK leaves the work to them anyway).
With a kind of views (`accuracy_views.py`), ``same.npz`` says which views of which samples each file answers as float
does, on XNNPACK's kernels. Answers are kept in ``answers``, by what was run on what.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_views import VIEWS
from compare_files import File
from paired import bootstrap, exact_mcnemar, wilson

OURS = "tersor"
SLOW = ".int16x8"
PLAIN = "none"
"""No views beside the samples themselves."""


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


def run(file: Path, kernels: str, kind: str) -> Any:
    """A file's answers `[samples, views, classes]`, or None where it does not run."""
    answers = file.parent / "answers"
    answers.mkdir(exist_ok=True)
    samples, sources = (file.with_name(f"{name}.npy") for name in ("samples", "sources"))
    views = VIEWS[kind](np.load(samples, mmap_mode="r")[0], int(np.load(sources)[0]))
    digest = hashlib.sha256()
    for part in (file.read_bytes(), samples.read_bytes(), sources.read_bytes(), views.tobytes()):
        digest.update(hashlib.sha256(part).digest())
    target = answers / f"{digest.hexdigest()[:24]}.{kernels}.npy"
    if not target.exists():
        command = [sys.executable, __file__, str(file.parent), kind, str(file), kernels, str(target)]
        subprocess.run(command, check=False, capture_output=True)
    return np.load(target) if target.exists() else None


def judge(folder: Path, kind: str) -> dict[str, Any]:
    """The figures of every file."""
    labels = np.load(folder / "labels.npy")
    files = sorted(file for file in folder.glob("*.*.tflite"))
    jobs = [(file, "xnnpack", kind) for file in (folder / "float.tflite", *files)]
    jobs += [(file, "builtin", PLAIN) for file in files if SLOW not in file.name]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        wanted, *given = pool.map(run, *zip(*jobs, strict=True))
    found = {
        (file.name.removesuffix(".tflite"), kernels): output
        for (file, kernels, _), output in zip(jobs[1:], given, strict=True)
        if output is not None
    }
    best = wanted.argmax(-1)
    same = {name: output.argmax(-1) == best for (name, kernels), output in found.items() if kernels == "xnnpack"}
    np.savez(folder / "same.npz", sources=np.load(folder / "sources.npy"), **same)
    wanted = wanted[:, 0]
    answers = {key: Answers(output[:, 0], wanted, labels) for key, output in found.items()}
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


def main(arguments: Sequence[str]) -> None:
    """Judge a folder, or run one file."""
    folder, kind, *one = arguments if len(arguments) > 1 else (*arguments, PLAIN)
    if one:
        file, kernels, target = one
        loaded, views = File(Path(file), kernels), VIEWS[kind]
        samples, sources = (np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("samples", "sources"))
        found = [[loaded.run(view) for view in views(*item)] for item in zip(samples, sources, strict=True)]
        np.save(target, found)
    else:
        (Path(folder) / "report.json").write_text(json.dumps(judge(Path(folder), kind)))


if __name__ == "__main__":
    main(sys.argv[1:])
