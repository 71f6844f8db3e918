"""A compilation for people and machines: what the compiler mapped, and where the forecast was wrong."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.ir.placement import CPU
from tersor.ir.text import short
from tersor.report import placement
from tersor.stages.compilation import Compilation


def headline(done: Compilation) -> str:
    """What the compiler did, in one sentence."""
    total, mapped = len(done.mapped), sum(done.mapped)
    device = done.forecast.device
    if not mapped:
        return f"compiled, but none of the {total} operators is on the {device}"
    share = "all" if mapped == total else f"{mapped} of"
    pieces = f" in {done.pieces} pieces" if done.pieces > 1 else ""
    agrees = ", as forecast" if done.was_forecast and not done.wrong and not done.differences else ""
    return f"compiled: {share} {total} operators are on the {device}{pieces}{agrees}"


def differences_table(done: Compilation) -> Table:
    """Where the compiler and the forecast part: operator by operator, then by what the compiler's log counts."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", justify="right")
    for title in ("operator", "forecast", "compiler", "name or status"):
        table.add_column(title, overflow="fold")
    for item in done.wrong:
        said = CPU if item.on != CPU else done.forecast.target
        table.add_row(str(item.index), escape(item.op), item.on, said, escape(short(item.name)))
    for row in done.differences:
        table.add_row("", escape(row.kind), str(row.forecast), str(row.compiler), escape(row.status))
    return table


def notes(done: Compilation) -> Iterator[str]:
    """What else is to be said."""
    yield from placement.notes(replace(done.forecast, resources=done.resources, parts=done.pieces))
    yield from done.made.notes
    version = f" {done.made.version}" if done.made.version else ""
    yield f"compiler{version}, {done.made.seconds:.1f} s: {shlex.join(done.made.command)}"


def warnings(done: Compilation) -> Iterable[str]:
    """What a user should not miss."""
    if not any(done.mapped):
        yield "the compiled file runs on the CPU alone; tersor place says why, and what to change"
    if done.wrong and not done.was_forecast:
        yield "the compiler's report and the file that it wrote do not say the same; the file is what runs"
    elif done.wrong:
        count = "an operator" if len(done.wrong) == 1 else f"{len(done.wrong)} operators"
        yield f"the forecast (tersor place) puts {count} elsewhere; the compiler's word is what counts"
    elif done.differences:
        yield "the forecast (tersor place) has other statuses than the compiler, whose word is what counts"
    if done.was_forecast and not done.made.counts:
        yield "the compiler printed no table of operators, so its statuses could not be compared with the forecast"


def compilation_to_dict(done: Compilation) -> dict[str, Any]:
    """For `--json`; `index` counts the operators of the model that went in."""
    operators = zip(done.forecast.operators, done.mapped, strict=True)
    return {
        "target": done.forecast.target,
        "headline": headline(done),
        "file": str(done.path),
        "log_file": str(done.log),
        "compiler": {
            "command": list(done.made.command),
            "version": done.made.version,
            "seconds": done.made.seconds,
            "notes": list(done.made.notes),
        },
        "parts": done.pieces,
        "operators": [
            {
                "index": item.index,
                "op": item.op,
                "name": item.name,
                "on": done.forecast.target if mapped else CPU,
                "forecast": item.on,
            }
            for item, mapped in operators
        ],
        "log": placement.log_to_list(done.made.counts),
        "differences": [
            {"operator": row.kind, "status": row.status, "forecast": row.forecast, "compiler": row.compiler}
            for row in done.differences
        ],
        "resources": placement.resources_to_list(done.resources),
        "forecast": placement.placement_to_dict(done.forecast),
    }
