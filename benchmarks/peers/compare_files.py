"""Speed and error of finished files on XNNPACK's kernels, side by side; runs in tersor's environment.

Uses the LiteRT interpreter and NumPy only, so that no contestant judges itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

KERNELS = {"xnnpack": OpResolverType.BUILTIN, "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


class File:
    """A loaded file that takes and gives real numbers, whatever it computes with."""

    def __init__(self, path: Path, kernels: str = "xnnpack") -> None:
        self.interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=KERNELS[kernels])
        self.interpreter.allocate_tensors()
        (self._input,) = self.interpreter.get_input_details()
        (self._output,) = self.interpreter.get_output_details()

    def run(self, sample: Any) -> Any:
        """Output for one sample `[height, width, channels]`, the batch dimension taken off, float64."""
        values = sample[None]
        scale, zero_point = self._input["quantization"]
        if scale:
            limits = np.iinfo(self._input["dtype"])
            values = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(self._input["dtype"])
        self.interpreter.set_tensor(self._input["index"], values)
        self.interpreter.invoke()
        result = self.interpreter.get_tensor(self._output["index"])[0].astype(np.float64)
        scale, zero_point = self._output["quantization"]
        return (result - zero_point) * scale if scale else result

    def time(self, runs: int) -> float:
        """Mean seconds of one run, without filling the input."""
        start = time.perf_counter()
        for _ in range(runs):
            self.interpreter.invoke()
        return (time.perf_counter() - start) / runs

    @property
    def interface(self) -> str:
        """Types of input and output."""
        return f"{np.dtype(self._input['dtype']).name} to {np.dtype(self._output['dtype']).name}"


def errors(files: dict[str, File], reference: File, samples: Any) -> dict[str, dict[str, float]]:
    """Share of samples with the float model's arg-max, and signal to quantization noise ratio in decibel."""
    wanted = np.stack([reference.run(sample) for sample in samples])
    found = {}
    for name, file in files.items():
        given = np.stack([file.run(sample) for sample in samples])
        noise = float(((wanted - given) ** 2).sum())
        found[name] = {
            "agreement": float((wanted.argmax(-1) == given.argmax(-1)).mean()),
            "sqnr_db": 10 * float(np.log10((wanted**2).sum() / noise)) if noise else float("inf"),
        }
    return found


def latencies(files: dict[str, File], rounds: int, runs: int) -> dict[str, list[float]]:
    """Seconds of one run of each file, once per round; the files take turns."""
    for file in files.values():
        file.time(runs)
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(rounds):
        for name, file in files.items():
            seconds[name].append(file.time(runs))
    return seconds


def runs_on(path: Path, sample: Path) -> list[str]:
    """The kernel sets that load and run the file, each tried in a process that may die."""
    return [
        kernels
        for kernels in KERNELS
        if subprocess.run(
            [sys.executable, __file__, "probe", str(path), str(sample), kernels], check=False, capture_output=True
        ).returncode
        == 0
    ]


def main() -> None:
    """Compare files with the float one, or try one file on one kernel set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    probe = commands.add_parser("probe")
    probe.add_argument("file", type=Path)
    probe.add_argument("samples", type=Path)
    probe.add_argument("kernels", choices=tuple(KERNELS))
    compare = commands.add_parser("compare")
    compare.add_argument("reference", type=Path)
    compare.add_argument("samples", type=Path)
    compare.add_argument("report", type=Path)
    compare.add_argument("files", type=Path, nargs="+")
    compare.add_argument("--rounds", type=int, default=15)
    compare.add_argument("--runs", type=int, default=40)
    arguments = parser.parse_args()
    samples = np.load(arguments.samples, mmap_mode="r")
    if arguments.command == "probe":
        File(arguments.file, arguments.kernels).run(samples[0])
        return
    files = {path.name: File(path) for path in arguments.files}
    reference = File(arguments.reference)
    found = errors(files, reference, samples)
    seconds = latencies({"float": reference, **files}, arguments.rounds, arguments.runs)
    report = {
        name: {
            "bytes": path.stat().st_size,
            "interface": file.interface,
            "runs_on": runs_on(path, arguments.samples),
            **found.get(name, {}),
            "seconds": seconds[name],
            "median_seconds": statistics.median(seconds[name]),
        }
        for name, path, file in [
            ("float", arguments.reference, reference),
            *((path.name, path, files[path.name]) for path in arguments.files),
        ]
    }
    arguments.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
