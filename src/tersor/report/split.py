"""A split network for people and machines: its parts, what goes between them, and what was seen when they ran."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.dtypes import DType
from tersor.ir.placement import CPU
from tersor.report.outcome import finite
from tersor.report.placement import percent
from tersor.stages.chain import Chained
from tersor.stages.outcome import Outcome
from tersor.stages.quantities import size
from tersor.stages.save_split import SplitFiles
from tersor.stages.split import Part, Split

_MOVING = ("QUANTIZE", "DEQUANTIZE")
"""Operators that bring values from one kind of numbers to another."""


def headline(found: Split) -> str:
    """What the accelerator runs, in one sentence."""
    total = sum(len(part.model.graph.ops) for part in found.parts)
    device = found.placement.device
    if len(found.parts) == 1:
        return f"the {device} runs all {total} operators: there is nothing to split off, one file is enough"
    share = "" if math.isnan(found.share_of_macs) else f" and {percent(found.share_of_macs)} of MACs"
    there, back = map(size, found.crossing)
    count = len(found.on_device.model.graph.ops)
    moved = f"{there} go there in each run, {back} come back"
    return f"split: {count} of {total} operators{share} run on the {device}; {moved}"


def parts_table(files: SplitFiles) -> Table:
    """One row per part."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("part", overflow="fold")
    for title in ("on", "numbers"):
        table.add_column(title)
    for title in ("operators", "MACs", "size"):
        table.add_column(title, justify="right")
    for part, path in zip(files.split.parts, files.paths, strict=True):
        cells = (path.name, part.on, _numbers(part), str(len(part.model.graph.ops)), f"{part.macs:,}")
        table.add_row(*map(escape, cells), size(path.stat().st_size))
    return table


def _numbers(part: Part) -> str:
    """What it computes with: "float32", "int8", or both."""
    graph = part.model.graph
    own = [graph.tensors[name] for op in graph.ops if op.kind not in _MOVING for name in op.outputs]
    found = dict.fromkeys(str(tensor.dtype) for tensor in own if tensor.dtype.is_float or tensor.quant is not None)
    return ", ".join(found) or ("float32" if part.on == CPU else str(DType.INT8))


def split_notes(files: SplitFiles) -> list[str]:
    """Why there is a CPU part, what was verified, and what was written."""
    if not files.paths:
        return []
    found = files.split
    graph = found.whole.graph
    left = {place: graph.ops[place].label for place in found.left}
    place = next((place for place, kind in left.items() if kind not in _MOVING), next(iter(left)))
    others = sum(len(part.model.graph.ops) for part in found.parts if part.on == CPU) - 1
    more = f", and {others} more" if others else ""
    on_device = files.paths[found.parts.index(found.on_device)]
    return [
        f"on the CPU: {left[place]} (operator {place}): {found.left[place]}{more}",
        _verified(files.chained),
        f"wrote {', '.join(str(path) for path in files.paths)} and {files.manifest}",
        f"for the device: tersor compile {on_device} --target {found.target}",
    ]


def _verified(chained: Sequence[Chained]) -> str:
    equal = " and ".join(item.kernels for item in chained if item.is_equal)
    said = f"run one after the other on {chained[0].samples} samples, the parts answer bit for bit as the whole file"
    others = [f"on {item.kernels} with an SQNR of {item.sqnr_db:.1f} dB to it" for item in chained if not item.is_equal]
    return "; ".join([f"{said} on {equal}", *others])


def outcome_split_notes(outcome: Outcome) -> list[str]:
    """Sentences about every product that was split."""
    said = []
    for product in outcome.products:
        if product.split is None:
            continue
        name = f"{product.recipe}: " if len(outcome.products) > 1 else ""
        said.append(f"{name}{headline(product.split.split)}")
        said += [f"{name}{text}" for text in split_notes(product.split)]
    return said


def split_to_dict(files: SplitFiles) -> dict[str, Any]:
    """For `--json`."""
    found = files.split
    to_device, from_device = found.crossing
    return {
        "target": found.target,
        "headline": headline(found),
        "share_of_macs": finite(found.share_of_macs),
        "bytes_to_device": to_device,
        "bytes_from_device": from_device,
        "manifest": None if files.manifest is None else str(files.manifest),
        "parts": [
            {"file": str(path), "on": part.on, "operators": len(part.model.graph.ops), "macs": part.macs}
            for part, path in zip(found.parts, files.paths, strict=False)
        ],
        "left": [
            {"index": place, "op": found.whole.graph.ops[place].label, "reason": reason}
            for place, reason in found.left.items()
        ],
        "verified": [
            {"kernels": item.kernels, "samples": item.samples, "equal": item.is_equal, "sqnr_db": finite(item.sqnr_db)}
            for item in files.chained
        ],
    }
