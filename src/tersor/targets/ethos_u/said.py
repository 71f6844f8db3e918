"""What Vela says of a model that it compiled: its warnings, its debug database and its summary.

The debug database has a table `source` with a row for each operator, whose `ext_key` is the operator's index in the
file; `optimised` with what became of it on the way; `perf` with what was left in the end, and its cycles, where
`Passthrough` is what stays on the CPU; and `cmdstream` with a row for each piece that the NPU runs. Why an operator
stays is in what Vela prints: the name of its result, what was seen, and the constraint.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tersor.errors import CompilerFailure
from tersor.ir.graph import Graph
from tersor.ir.placement import Resource
from tersor.targets._compiler import Compiled
from tersor.targets.ethos_u.vela import SUFFIX

_TABLE = re.compile(r'<table name="(\w+)">\s*<!\[CDATA\[\s*(.*?)\]\]>', re.DOTALL)
_LEFT = "Passthrough"
_WARNING = re.compile(
    r"^Warning \(supported operators\) operator: (?P<op>\S+), ofm: '(?P<name>.*)'\n"
    r"Reason: (?P<seen>.+)\n(?P<constraint>(?:.*\S.*\n)*)",
    re.MULTILINE,
)
_CPU_COUNT = re.compile(r"^CPU operators = (\d+)", re.MULTILINE)

_MEMORIES = {
    "SRAM": "sram_memory_used",
    "DRAM": "dram_memory_used",
    "on-chip flash": "on_chip_flash_memory_used",
    "off-chip flash": "off_chip_flash_memory_used",
}
"""Columns of the summary, in KiB."""

NPU_CYCLES, ALL_CYCLES, INFERENCE = "NPU", "NPU with its memories", "inference"


@dataclass(frozen=True)
class Reason:
    """Why an operator stays on the CPU.

    Attributes:
        seen: what Vela saw.
        constraint: what it demands; "" where it has no such operator at all.
    """

    seen: str
    constraint: str


@dataclass(frozen=True)
class Said:
    """What Vela says.

    Attributes:
        left: by index, the operators that stay on the CPU; None where it does not say why.
        folded: by index, those that Vela could not put on the NPU, and computed beforehand.
        counted: how many of them there are, as its summary has it.
        pieces: how many times the NPU is called in a run.
        cycles: by index, an estimate of what each operator takes on the NPU; nothing for those that it fused away.
        system_config: the system that it compiled for.
        memory_mode: likewise.
        resources: what the NPU's part takes.
    """

    left: Mapping[int, Reason | None]
    folded: frozenset[int]
    counted: int | None
    pieces: int
    cycles: Mapping[int, int]
    system_config: str
    memory_mode: str
    resources: tuple[Resource, ...]


def read_said(made: Compiled, graph: Graph) -> Said:
    """What Vela wrote and printed. Raises CompilerFailure if that is not what Vela 5.2 writes and prints.

    Args:
        made: by Vela; its other files lie beside the compiled one.
        graph: the main graph of what it was given.
    """
    folder, name = made.path.parent, made.path.stem.removesuffix(SUFFIX)
    try:
        tables = dict(_TABLE.findall((folder / f"{name}_debug.xml").read_text("utf-8")))
        (summary_file,) = (file for file in folder.iterdir() if file.name.startswith(f"{name}_summary_"))
        (summary,) = _rows(summary_file.read_text("utf-8"))
        place = {row["id"]: int(row["ext_key"]) for row in _rows(tables["source"])}
        left = {place[row["source_id"]] for row in _rows(tables["perf"]) if row["operator"] == _LEFT}
        was_left = {place[row["source_id"]] for row in _rows(tables["optimised"]) if row["operator"] == _LEFT}
        if len(place) < len(graph.ops) or max(place.values(), default=0) >= len(graph.ops):
            raise ValueError(f"it knows {len(place)} operators, and the model has {len(graph.ops)}")
        return Said(
            _explained(left, made.log, graph),
            frozenset(was_left - left),
            int(counted[1]) if (counted := _CPU_COUNT.search(made.log)) else None,
            len(_rows(tables.get("cmdstream", ""))),
            _cycles(tables["perf"], place),
            summary["system_config"],
            summary["memory_mode"],
            _resources(summary),
        )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise CompilerFailure(
            f"Vela's report is not understood ({detail}); tersor reads that of Vela 5.2", made.log
        ) from error


def _explained(left: set[int], output: str, graph: Graph) -> dict[int, Reason | None]:
    """Why operators stay: what is said of the operator itself, before what is said of its activation.

    Vela takes a fused activation off an operator, whose result is then the same name with `_act` behind it.
    """
    index = {name: place for place, op in enumerate(graph.ops) for name in op.outputs}
    reasons: dict[int, Reason] = {}
    for match in _WARNING.finditer(output):
        place = index.get(match["name"], index.get(match["name"].removesuffix("_act")))
        if place is not None and (place not in reasons or match["op"] == graph.ops[place].kind):
            reasons[place] = Reason(match["seen"].strip(), match["constraint"].strip())
    return {place: reasons.get(place) for place in sorted(left)}


def _cycles(table: str, place: Mapping[str, int]) -> Counter[int]:
    found: Counter[int] = Counter()
    for row in _rows(table):
        if row["source_id"] in place and row["operator"] != _LEFT:
            found[place[row["source_id"]]] += int(float(row["op_cycles"]))
    return found


def _resources(summary: Mapping[str, str]) -> tuple[Resource, ...]:
    """Memory as it is laid out in the compiled file; cycles and time as Vela's model of the hardware has them."""
    sizes = {name: float(summary[column]) * 1024 for name, column in _MEMORIES.items()}
    memory = [Resource(name, round(size), "bytes", is_estimate=False) for name, size in sizes.items() if size]
    if not float(summary["cycles_total"]):
        return tuple(memory)
    return (
        *memory,
        Resource(NPU_CYCLES, float(summary["cycles_npu"]), "cycles", is_estimate=True),
        Resource(ALL_CYCLES, float(summary["cycles_total"]), "cycles", is_estimate=True),
        Resource(INFERENCE, 1000 * float(summary["inference_time"]), "ms", is_estimate=True),
    )


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.strip())))
