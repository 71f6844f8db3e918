"""The page about training, from its results: goals, then every file."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

METHODS = (
    "float",
    "qat_int8",
    "qat_int8_w4",
    "pruned_50",
    "pruned_2_4",
    "pruned_80",
    "pruned_80_int8",
    "channels",
    "ternary",
    "binary",
    "naive_pruned_80",
    "naive_ternary",
    "naive_binary",
    "tfmot_int8",
    "tfmot_pruned_50",
    "tfmot_pruned_80",
    "tfmot_pruned_80_int8",
    "steps",
)
"""In the order in which they are run."""

TITLES = {
    "float": "float, as it was given",
    "float_trained": "float, trained for as long as the others",
    "int8": "int8, not trained",
    "int8_w4": "int8 with 4-bit weights, not trained",
    "qat_int8": "int8, quantization-aware",
    "qat_int8_w4": "int8 with 4-bit weights, quantization-aware",
    "pruned_50": "50 % pruned",
    "pruned_2_4": "2:4 pruned",
    "pruned_80": "80 % pruned",
    "pruned_80_int8": "80 % pruned, then int8 quantization-aware",
    "channels": "a quarter of the channels removed",
    "ternary": "ternary weights",
    "binary": "binary weights",
    "naive_pruned_80": "80 % pruned, naively",
    "naive_ternary": "ternary weights, naively",
    "naive_binary": "binary weights, naively",
    "tfmot_int8": "tfmot: int8, quantization-aware",
    "tfmot_pruned_50": "tfmot: 50 % pruned",
    "tfmot_pruned_80": "tfmot: 80 % pruned",
    "tfmot_pruned_80_int8": "tfmot: 80 % pruned, then int8 quantization-aware",
}
POINTS = {
    "qat_int8": 0.0,
    "qat_int8_w4": -1.5,
    "pruned_50": -1.0,
    "pruned_2_4": -1.5,
}
"""What may be lost against the float model that was given, in points of top-1."""

AHEAD = {"pruned_80": "naive_pruned_80", "ternary": "naive_ternary", "binary": "naive_binary"}
PEERS = {"qat_int8": "tfmot_int8", "pruned_50": "tfmot_pruned_50", "pruned_80": "tfmot_pruned_80"}
PEERS |= {"pruned_80_int8": "tfmot_pruned_80_int8"}
SMALL = 0.12
"""What the gzipped file may be, of the gzipped float file."""

MOST_STEP = 2.0
MOST_PARTED = 0.995


def page(document: dict[str, Any]) -> str:
    """Markdown."""
    files = document["files"]
    seeds = max((item["seeds"] for item in files.values()), default=0)
    return "\n".join(
        [
            "# Training",
            "",
            f"`{document['model']}` (ResNet-8 of MLPerf Tiny) trained on the 50,000 training images of CIFAR-10 for",
            f"{document['epochs']} epochs by each method: Adam, a cosine, batches of 128, mirrored and moved images;",
            "asked all 10,000 test images. Rates and epochs were fixed beforehand, but the training code was tried on",
            f"these images while it was written. {_seeds(seeds)} Made by",
            f"`python benchmarks/training.py MODEL --work DIR`, {document['date']}, on the TensorFlow backend,",
            f"2 processors ({document['processor']}), tersor's source {', '.join(document['sources'])}.",
            "",
            "## Goals",
            "",
            "| goal | measured |  |",
            "| --- | --- | --- |",
            *(f"| {what} | {found} | {'met' if met else '**missed**'} |" for what, found, met in goals(document)),
            "",
            "Differences are to the float model as it was given, in points of top-1 on the same images, with their",
            "95 % interval; a method also gains by being trained on, as the float model does in the table below.",
            "",
            "## Beside tfmot",
            "",
            "TensorFlow's model optimization toolkit (Keras 2), trained likewise and converted by TensorFlow:",
            "",
            "| | top-1 | tfmot's | difference, points | gzip kB | tfmot's |",
            "| --- | --- | --- | --- | --- | --- |",
            *(
                _beside(TITLES[name], files[name], files[PEERS[name]])
                for name in PEERS
                if "to_peer" in files.get(name, {})
            ),
            "",
            "## Files",
            "",
            "| | top-1 | to float, points | agrees with its network | kB | gzip kB | sparse kB | zeros |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_row(TITLES[name], files[name]) for name in TITLES if name in files),
            "",
            "Top-1 of files is LiteRT's; the naive forms are asked in Keras. *Zeros* is the share of zero weights in",
            "the layers that were pruned. *Sparse* is the file with its zeros left out. kB are 1000 bytes.",
            "",
        ]
    )


def goals(document: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """What was asked, what was measured, and whether it is met; of what was measured."""
    files = document["files"]
    for name, points in POINTS.items():
        if name in files and "to_float" in files[name]:
            asked = "not below float" if not points else f"within {-points:g} point{'s' * (points != -1)} of float"
            difference = 100 * files[name]["to_float"]["difference"]
            yield f"{TITLES[name]}: {asked}", _difference(files[name]), difference >= points
    for name, naive in AHEAD.items():
        if name in files and naive in files:
            ours, theirs = files[name]["top1"], files[naive]["top1"]
            yield f"{TITLES[name]}: ahead of the naive form", f"{ours:.1%} against {theirs:.1%}", ours > theirs
    if "pruned_80_int8" in files and "float" in files:
        share = files["pruned_80_int8"]["gzip_bytes"] / files["float"]["gzip_bytes"]
        asked = f"{TITLES['pruned_80_int8']}: gzipped, at most {SMALL} of the gzipped float file"
        yield asked, f"{share:.3f}", share <= SMALL
    for name in ("qat_int8", "qat_int8_w4"):
        if name in files:
            least = files[name]["agreement_least"]
            yield f"{TITLES[name]}: the file answers as the network in 99.5 %", f"{least:.2%}", least >= MOST_PARTED
    if document["steps"]:
        ratios = [step["qat"] / step["float"] for step in document["steps"]]
        middle = statistics.median(ratios)
        spread = f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        yield f"a quantization-aware step: at most {MOST_STEP:g} times a float step", spread, middle <= MOST_STEP


def _seeds(count: int) -> str:
    return "One seed." if count == 1 else f"Means of {count} seeds, the least and the most behind."


def _row(title: str, item: dict[str, Any]) -> str:
    top1 = f"{item['top1']:.2%}"
    if item["seeds"] > 1:
        top1 += f" ({item['top1_least']:.2%} to {item['top1_most']:.2%})"
    agreement = f"{item['agreement_least']:.2%}" if "agreement_least" in item else ""
    zeros = f"{item['sparsity']:.1%}" if "sparsity" in item else ""
    sizes = [f"{item[key] / 1e3:.1f}" if key in item else "" for key in ("bytes", "gzip_bytes", "sparse_bytes")]
    return f"| {' | '.join([title, top1, _difference(item), agreement, *sizes, zeros])} |"


def _beside(title: str, ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    sizes = [f"{item['gzip_bytes'] / 1e3:.1f}" for item in (ours, theirs)]
    shares = [f"{item['top1']:.2%}" for item in (ours, theirs)]
    return f"| {' | '.join([title, *shares, _difference(ours, 'to_peer'), *sizes])} |"


def _difference(item: dict[str, Any], key: str = "to_float") -> str:
    if key not in item:
        return ""
    low, high = (100 * bound for bound in item[key]["interval"])
    return f"{100 * item[key]['difference']:+.2f} ({low:+.2f} to {high:+.2f})"
