"""The page about the peers, from the results: goals, then one table per question."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

MB = 1e6
FASTEST_LITERT_QUANTIZER = ("litert_quantizer_profiler",)
CONVERTERS = ("tensorflow_saved_model", "tensorflow_keras")
"""TensorFlow's public ways to int8; goals are measured against the fastest."""

MOST_MEMORY = 250 * MB
SPEEDUP_OVER_TENSORFLOW = 8.0
CALIBRATION_OVER_INFERENCE = 2.0
LATENCY_NOISE = 0.02
"""Chosen, not measured: a ratio up to 1 + this counts as "no slower". Twins (both of tersor's files) show the noise."""


@dataclass(frozen=True)
class Goal:
    """One goal: what was wanted, what was measured, and whether it is met."""

    what: str
    measured: str
    met: bool

    def row(self) -> list[str]:
        """Cells of a table."""
        return [self.what, self.measured, "met" if self.met else "**missed**"]


def goals(results: dict[str, Any]) -> list[Goal]:
    """Every goal."""
    found = []
    all_of = results["contestants"]
    converter = min(CONVERTERS, key=lambda name: statistics.median(all_of[name]["wall_seconds"]))
    rival = min(FASTEST_LITERT_QUANTIZER, key=lambda name: statistics.median(all_of[name]["wall_seconds"]))
    for own in ("tersor_library", "tersor_cli"):
        item = all_of[own]
        title = item["title"]
        slower = ratios(item["wall_seconds"], all_of[rival]["wall_seconds"])
        met = statistics.median(slower) <= 1
        found.append(Goal(f"{title}: time at most litert-quantizer's, profiler mode", spread(slower), met))
        faster = ratios(all_of[converter]["wall_seconds"], item["wall_seconds"])
        met = statistics.median(faster) >= SPEEDUP_OVER_TENSORFLOW
        found.append(Goal(f"{title}: at least 8 times faster than TensorFlow's converter", spread(faster), met))
        peak = item["tree_rss_bytes"]
        found.append(
            Goal(f"{title}: peak of all its processes at most 250 MB", f"{peak / MB:.0f} MB", peak <= MOST_MEMORY)
        )
    own_file, their_file = all_of["tersor_cli"]["file"], all_of[converter]["file"]
    smallest = min(all_of[name]["file"]["bytes"] for name in CONVERTERS)
    sizes = f"{own_file['bytes']:,} against {smallest:,} bytes"
    found.append(Goal("file no larger than TensorFlow's", sizes, own_file["bytes"] <= smallest))
    latency = ratios(own_file["seconds"], their_file["seconds"])
    met = statistics.median(latency) <= 1 + LATENCY_NOISE
    found.append(Goal(f"file no slower than TensorFlow's (within {LATENCY_NOISE:.0%})", spread(latency), met))
    for name, title in (("calibrate", "calibration"), ("calibrate_started", "calibration in a running engine")):
        over = over_bare(results["calibration"]["seconds"], name)
        met = statistics.median(over) <= CALIBRATION_OVER_INFERENCE
        found.append(Goal(f"{title}: at most twice the bare float inferences", spread(over), met))
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Median and extremes of ratios."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def over_bare(seconds: dict[str, list[float]], name: str) -> list[float]:
    """Calibration over bare inference, round by round, against the faster of its two ways (by median)."""
    bare = min(("threads", "interpreters"), key=lambda way: statistics.median(seconds[way]))
    return ratios(seconds[name], seconds[bare])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def cost_table(results: dict[str, Any]) -> str:
    """Time and memory."""
    all_of = results["contestants"]
    reference = all_of["tersor_library"]["wall_seconds"]
    rows = []
    for item in all_of.values():
        walls = item["wall_seconds"]
        rows.append(
            [
                item["title"],
                f"{statistics.median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f})",
                spread(ratios(walls, reference)),
                f"{statistics.median(item['cpu_seconds']):.2f}",
                f"{item['largest_process_bytes'] / MB:.0f}",
                f"{item['tree_rss_bytes'] / MB:.0f}",
                f"{item['tree_pss_bytes'] / MB:.0f}",
                str(item["processes"]),
            ]
        )
    head = ["whole process", "s", "ratio", "CPU s", "largest process MB", "tree RSS MB", "tree PSS MB", "processes"]
    return table(head, rows)


def step_table(results: dict[str, Any]) -> str:
    """Where the time of each whole process goes."""
    rows = []
    for item in results["contestants"].values():
        if not item["steps"]:
            continue
        rest = statistics.median(item["wall_seconds"]) - sum(item["steps"].values())
        steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in item["steps"].items())
        rows.append([item["title"], f"{rest:.2f}", steps])
    return table(["whole process", "start, imports, end", "steps, s"], rows)


def file_table(results: dict[str, Any]) -> str:
    """The files."""
    reference = results["contestants"]["tensorflow_saved_model"]["file"]
    rows = []
    for title, file in [
        ("float32", results["float"]),
        *((item["title"], item["file"]) for item in results["contestants"].values()),
    ]:
        compared = "agreement" in file
        rows.append(
            [
                title,
                f"{file['bytes']:,}",
                f"{file['median_seconds'] * 1e3:.2f}",
                spread(ratios(file["seconds"], reference["seconds"])),
                f"{file['agreement']:.1%}" if compared else "",
                f"{file['sqnr_db']:.1f}" if compared else "",
                file["interface"],
                ", ".join(file["runs_on"]),
            ]
        )
    head = ["file", "bytes", "ms", "ratio to TensorFlow's", "agreement", "SQNR dB", "interface", "runs on"]
    return table(head, rows)


def calibration_table(results: dict[str, Any]) -> str:
    """Calibration against bare inference."""
    seconds = results["calibration"]["seconds"]
    processors = results["calibration"]["processors"]
    titles = {
        "threads": f"bare inference, one interpreter with {processors} threads",
        "interpreters": f"bare inference, {processors} interpreters in {processors} Python threads",
        "calibrate": "`tersor.calibrate`, starts its own child process",
        "calibrate_started": "`tersor.calibrate` in a running engine",
    }
    rows = [
        [title, f"{statistics.median(seconds[name]):.3f}", spread(over_bare(seconds, name))]
        for name, title in titles.items()
    ]
    return table([f"{results['calibration']['samples']} samples", "s", "ratio to the faster bare inference"], rows)


def page(results: dict[str, Any]) -> str:
    """The whole page in Markdown."""
    model = results["model"]
    loads = " before and ".join(f"{load:.1f}" for load in results["load_average"])
    versions = "; ".join(
        f"{name.replace('_', '-')}: " + ", ".join(f"{package} {version}" for package, version in found.items())
        for name, found in results["versions"].items()
    )
    rounds = len(results["contestants"]["tersor_cli"]["wall_seconds"])
    memory_rounds = len(results["contestants"]["tersor_cli"]["memory_samples"])
    note = f"\n{results['note']}\n" if results["note"] else ""
    return f"""# Peers

Calibrate and quantize {model["model"]}, to int8 with int8 inputs and outputs, {model["samples"]} samples. Made by
`{results["command"]}`, {results["date"]}, with {results["processors"]} processors
({results["processor"]}); no process is pinned to one.
{note}
Times are noisy (load average {loads} after): contestants take turns, {rounds} rounds; figures are
medians, ratios are taken within a round, smallest and largest in brackets. MB are 10^6 bytes.

## Goals

{table(["goal", "measured", ""], (goal.row() for goal in goals(results)))}

TensorFlow's converter is the faster of its two public ways; for the size, the one with the smaller file. Memory is the
sum of the resident sets of all processes.

## Time and memory of the whole process

{cost_table(results)}

The ratio is to tersor's library. Time is taken undisturbed. Memory of the tree is watched about every 10 ms in runs of
their own, largest of {memory_rounds}: RSS counts a page that two processes share twice, PSS once. Samples are
read when they are needed, except that litert-quantizer lists all of them first; for it they are mapped from a file, and
the pages count (60 MB). The largest process is the kernel's figure.
`tersor quantize` also runs the result on both kernel sets and measures its distance from the float model on some
of the samples; no other contestant does. TensorFlow's converter starts from the Keras or saved model, the others from
the float `.tflite` file; its private functions from there are no public interface.

{step_table(results)}

## The files

{file_table(results)}

XNNPACK, one thread, files taking turns. Agreement (same arg-max) and SQNR are with the float model on
{model["evaluation"]} other samples, on which it answers {model["classes_seen"]} classes. The weights are random, and
such a network is more sensitive to rounding than a trained one: the figures compare contestants, they do not say what
int8 costs.

## Calibration and bare inference

{calibration_table(results)}

In one process. Calibration also writes, loads and prepares the model each time; the bare interpreters are ready.

## Versions

{versions}
"""
