"""The page about `.keras` files, from the results: goals, then one table per network."""

from __future__ import annotations

import statistics
from typing import Any

from page import MB, Goal, ratios, spread, table

SPEEDUP = {"MobileNetV2_int8": 8.0, "ResNet152_int8": 5.0}
"""How many times faster than TensorFlow it is to be."""

MEMORY_SHARE = 1 / 3
FLOAT_MEMORY = 3000 * MB


def goals(results: dict[str, Any]) -> list[Goal]:
    """Every goal."""
    found = []
    for name, result in results.items():
        contestants = result["contestants"]
        network = result["model"]["model"]
        if result["kind"] == "float":
            peak = contestants["tersor"]["tree_rss_bytes"]
            what = f"{network} to float: peak memory under {FLOAT_MEMORY / MB:.0f} MB"
            found.append(Goal(what, f"{peak / MB:.0f} MB", peak < FLOAT_MEMORY))
            continue
        theirs = contestants["tensorflow"]
        for item in (item for own, item in contestants.items() if own.startswith("tersor")):
            faster = ratios(theirs["wall_seconds"], item["wall_seconds"])
            what = f"{network}, {item['title']}: at least {SPEEDUP[name]:.0f} times faster than TensorFlow"
            processor = statistics.median(ratios(theirs["cpu_seconds"], item["cpu_seconds"]))
            measured = f"{spread(faster)}; of processor seconds {processor:.2f}"
            found.append(Goal(what, measured, statistics.median(faster) >= SPEEDUP[name]))
            share = item["tree_rss_bytes"] / theirs["tree_rss_bytes"]
            what = f"{network}, {item['title']}: peak of all its processes at most a third of TensorFlow's"
            found.append(Goal(what, f"{share:.2f}", share <= MEMORY_SHARE))
    return found


def cost_table(result: dict[str, Any]) -> str:
    """Time and memory of the contestants of one case."""
    contestants = result["contestants"]
    base = contestants["tersor_library" if result["kind"] == "int8" else "tersor"]["wall_seconds"]
    rows = [
        [
            item["title"],
            f"{statistics.median(item['wall_seconds']):.2f}",
            spread(ratios(item["wall_seconds"], base)),
            f"{statistics.median(item['cpu_seconds']):.2f}",
            f"{item['largest_process_bytes'] / MB:.0f}",
            f"{item['tree_rss_bytes'] / MB:.0f}",
            f"{item['tree_pss_bytes'] / MB:.0f}",
            ", ".join(f"{step} {seconds:.2f}" for step, seconds in item.get("steps", {}).items()),
        ]
        for item in contestants.values()
    ]
    head = [
        "whole process",
        "s",
        "ratio",
        "CPU s",
        "largest process MB",
        "tree RSS MB",
        "tree PSS MB",
        "steps of the last, s",
    ]
    return table(head, rows)


def file_table(result: dict[str, Any]) -> str:
    """The int8 files of one case."""
    rows = []
    reference = result["files"]["tensorflow"]
    for name, file in result["files"].items():
        title = "float32, by tersor" if name == "float" else result["contestants"][name]["title"]
        compared = "agreement" in file
        rows.append(
            [
                title,
                f"{file['bytes']:,}",
                spread(ratios(file["seconds"], reference["seconds"])),
                f"{file['agreement']:.1%}" if compared else "",
                f"{file['sqnr_db']:.1f}" if compared else "",
                ", ".join(file["runs_on"]),
            ]
        )
    return table(["file", "bytes", "latency beside TensorFlow's", "agreement", "SQNR dB", "runs on"], rows)


def section(result: dict[str, Any]) -> str:
    """Everything about one case."""
    model = result["model"]
    loads = " before and ".join(f"{load:.1f}" for load in result["load_average"])
    rounds = len(next(iter(result["contestants"].values()))["wall_seconds"])
    what = "to float" if result["kind"] == "float" else f"to int8, {model['samples']} samples"
    versions = result["versions"]["tensorflow"]
    text = f"""
## {model["model"]} ({model["side"]} pixels, {model["parameters"] / 1e6:.1f} million parameters) {what}

{cost_table(result)}

{result["date"]}, {result["processors"]} processors ({result["processor"]}), load average {loads} after; {rounds} rounds
in turn, median, ratios within a round; memory in a run of its own. tensorflow-cpu {versions["tensorflow-cpu"]}, keras
{versions["keras"]}. {result["note"]}
"""
    if "files" in result:
        text += f"\n{file_table(result)}\n"
    return text


def page(results: dict[str, Any]) -> str:
    """The whole page in Markdown."""
    return f"""# `.keras` files

From the file that Keras saved to a `.tflite` file, a whole process: tersor beside TensorFlow's converter. Made by
`python benchmarks/keras_files.py --work DIR`. Weights are random and made alive (see [the zoo](../results.md)). MB are
10^6 bytes; memory is the sum of the resident sets of all processes (RSS counts a page that two share twice, PSS once).
Where the machine had other work, processor seconds say more than the clock. Agreement and SQNR are with the float
model, on other samples than those of calibration.

{table(["goal", "measured", ""], (goal.row() for goal in goals(results)))}
{"".join(section(result) for result in results.values())}"""
