"""CPUs of phones, desktops and servers under LiteRT: what XNNPACK takes, and what its builtin kernels run.

LiteRT is at hand here, so nothing is forecast: the file is loaded as on any CPU, and asked which operators the XNNPACK
delegate replaced. Rules say why it left the others. Both run on the same CPU, but builtin kernels are often much
slower, and each change of side costs a little.
"""

from __future__ import annotations

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.placement import CPU, OpPlacement, Placement
from tersor.runtimes.delegation import delegation
from tersor.targets._doubtful import doubtful
from tersor.targets._placing import file_of, open_inputs, placed
from tersor.targets._rules import Rule, broken
from tersor.targets._target import Target
from tersor.targets.cpu import rules

NAME = "cpu"
DEVICE = "CPU's fast kernels (XNNPACK)"
FLAVOUR = None
OPTIONS: frozenset[str] = frozenset()
WEIGHTS_MATTER = 0

TARGET = Target(
    NAME,
    "runs every flavour",
    ("float32", "float16", "weight_only", "dynamic", "int8_float_io", "int8", "int8_w4", "int16x8"),
    {"int8_float_io": "float", "int8": "", "int8_w4": "float"},
    is_this_machine=True,
    also=("uint8",),
)

RULES: tuple[Rule, ...] = rules.RULES

XNNPACK = "xnnpack"
"""Where operators are that the delegate took."""

TAKEN = "taken by XNNPACK"


def place(model: Model) -> Placement:
    """Which operators of the main graph XNNPACK takes."""
    graph = model.graph
    with file_of(model) as path:
        seen = delegation(path)
    taken = {place for piece in seen.pieces for place in piece}
    refusal = None if seen.runs_without else seen.refusal
    notes = [*open_inputs(graph), *doubtful(graph, fixed_point=False)]
    if seen.runs_without:
        notes.append(f"{seen.refusal}: nothing runs on XNNPACK, and a program has to load the file without it")
    if len(model.graphs) > 1:
        notes.append(f"the model has {len(model.graphs)} graphs; only the main one was looked at")
    hybrid = _hybrid(graph)
    if hybrid:
        have = "1 operator has" if hybrid == 1 else f"{hybrid} operators have"
        notes.append(
            f"{have} integer weights and float values (dynamic range): values are quantized in every run, which is "
            "often slower than float; measure it (tersor benchmark)"
        )
    operators = tuple(
        placed(graph, place, XNNPACK, TAKEN) if place in taken else _left(graph, place, seen.refusal)
        for place in range(len(graph.ops))
    )
    return Placement(
        NAME,
        DEVICE,
        operators,
        parts=len(seen.pieces),
        refusal=refusal,
        notes=tuple(notes),
        elsewhere="on LiteRT's builtin kernels",
        refuser="LiteRT",
    )


def _left(graph: Graph, place: int, refusal: str | None) -> OpPlacement:
    op = graph.ops[place]
    if refusal is not None:
        return placed(graph, place, CPU, rules.LEFT, refusal)
    found = broken(RULES, op, graph)
    if found is None:
        return placed(graph, place, CPU, rules.LEFT, "XNNPACK does not take it, for no cause that is known here")
    rule, reason = found
    return placed(graph, place, CPU, rule.status, reason, rule.statement, rule.remedy or rules.advice(op, graph))


def _hybrid(graph: Graph) -> int:
    """How many operators multiply float values with integer weights."""
    pairs = ((graph.operand(op, 0), graph.operand(op, 1)) for op in graph.ops if op.kind != "DEQUANTIZE")
    return sum(
        data is not None
        and weights is not None
        and data.dtype is DType.FLOAT32
        and weights.quant is not None
        and not weights.dtype.is_float
        for data, weights in pairs
    )
