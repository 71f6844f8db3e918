"""Microcontrollers: what TensorFlow Lite Micro has kernels for, and what it needs of memory.

On a microcontroller there is no CPU to fall back on: it is the CPU. One operator without a kernel, and the model does
not run at all; then the placement is a refusal, and says of each operator whether it is to blame. Where the package
`tflite-micro` is installed, the model is also allocated and run in the real interpreter, with its reference kernels:
what that says counts more than any rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tersor.errors import RuntimeFailure
from tersor.formats.c_array.operators import operators as kernels_of
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model
from tersor.ir.placement import NOWHERE, OpPlacement, Placement, Resource
from tersor.ir.work import macs
from tersor.runtimes import tflite_micro
from tersor.runtimes.made_up import samples_for
from tersor.targets._children import WEIGHTS_MATTER as WEIGHTS_MATTER
from tersor.targets._doubtful import doubtful
from tersor.targets._placing import content_of, open_inputs, placed, size_of
from tersor.targets._rules import Rule, broken
from tersor.targets._target import Target, integers_only
from tersor.targets.micro import answers, every, layers

NAME = "micro"
DEVICE = "microcontroller"
FLAVOUR = None
OPTIONS: frozenset[str] = frozenset()
TARGET = Target(
    NAME,
    "runs integers (activations of 8 or 16 bits), or float32",
    ("float32", "int8", "int16x8"),
    {"int8": "none", "int16x8": "none"},
    integers_only,
    is_micro=True,
)

REFUSING: tuple[Rule, ...] = (*every.RULES, *layers.RULES)
"""What the interpreter demands; it runs what keeps these."""

RULES: tuple[Rule, ...] = (*REFUSING, *answers.RULES)

ARENA, FLASH = "arena", "model in flash"
"""What a network takes of a microcontroller."""

RUNS = "runs"
REFUSED = "refused by the interpreter"
"""Statuses beside those of the rules."""

_MOST_MACS = 50_000_000
"""Multiply-accumulates of a model that is run here, and not only allocated: they take reference kernels 0.2 s."""

_NODE = re.compile(r"Node \w+ \(number (\d+)\) failed to (\w+)")
_OF_VALUES = re.compile(r"positive|zero|out of (range|bounds)|negative", re.IGNORECASE)
"""What kernels say of values that were made up."""


def place(model: Model) -> Placement:
    """Whether the model runs, operator by operator, and what it takes."""
    graph = model.graph
    operators = tuple(_judged(graph, place) for place in range(len(graph.ops)))
    size = size_of(model)
    content = content_of(model) if size <= WEIGHTS_MATTER else b""
    flash = Resource(FLASH, len(content) or size, "bytes", is_estimate=not content and not model.source)
    refusal = _refusal(model, operators)
    found = _Tried() if refusal is not None else _tried(model, content)
    if found.refusal is not None:
        refusal, operators = found.refusal, _blamed(operators, found.refusal)
    return Placement(
        NAME,
        DEVICE,
        operators,
        parts=int(refusal is None),
        refusal=refusal,
        notes=(*open_inputs(graph), *doubtful(graph, fixed_point=True), *_notes(model), *found.notes),
        resources=(*found.resources, flash),
        elsewhere="without a kernel",
        refuser="TensorFlow Lite Micro",
    )


def _judged(graph: Graph, place: int) -> OpPlacement:
    op = graph.ops[place]
    found = broken(RULES, op, graph)
    if found is None:
        return placed(graph, place, NAME, RUNS)
    rule, seen = found
    return placed(graph, place, NOWHERE, rule.status, seen, rule.statement, rule.remedy or every.advice(op, graph))


def _refusal(model: Model, operators: tuple[OpPlacement, ...]) -> str | None:
    """The first operator that breaks a rule, in any graph."""
    left = [item for item in operators if item.on == NOWHERE]
    if left:
        more = f", and {len(left) - 1} more" if len(left) > 1 else ""
        return f"{left[0].op} (operator {left[0].index}): {left[0].reason}{more}"
    for number, graph in enumerate(model.graphs[1:], start=1):
        for place, op in enumerate(graph.ops):
            found = broken(RULES, op, graph)
            if found is not None:
                return f"{op.label} (operator {place} of graph {number}): {found[1]}"
    return None


@dataclass(frozen=True)
class _Tried:
    """What the interpreter showed."""

    refusal: str | None = None
    resources: tuple[Resource, ...] = ()
    notes: tuple[str, ...] = ()


def _tried(model: Model, content: bytes) -> _Tried:
    if not tflite_micro.is_installed():
        return _Tried(notes=(f"by rules alone; to run it here and to measure its arena: {tflite_micro.MISSING}",))
    if not content:
        return _Tried(notes=("by rules alone: no microcontroller has flash for a model of this size",))
    is_run = sum(macs(graph, op) for graph in model.graphs for op in graph.ops) <= _MOST_MACS
    try:
        found = tflite_micro.measure(content, samples_for(model.graph, 1) if is_run else ())
    except RuntimeFailure as error:
        return _failed(str(error).removeprefix(tflite_micro.REFUSES))
    how = "allocated and run" if is_run else "allocated, but not run, since it is large,"
    note = f"{how} by tflite-micro {found.version} (reference kernels, on this 64-bit machine)"
    return _Tried(resources=(Resource(ARENA, found.arena_bytes, "bytes", is_estimate=False),), notes=(note,))


def _failed(said: str) -> _Tried:
    node = _NODE.search(said)
    if node is not None and node[2] == "invoke" and _OF_VALUES.search(said):
        return _Tried(notes=(f"it could not be measured, since values had to be made up: {said}",))
    return _Tried(refusal=f"{said}, although no rule says so")


def _blamed(operators: tuple[OpPlacement, ...], said: str) -> tuple[OpPlacement, ...]:
    """With the operator that the interpreter names."""
    node = _NODE.search(said)
    place = -1 if node is None else int(node[1])
    return tuple(
        replace(item, on=NOWHERE, status=REFUSED, reason=said) if item.index == place else item for item in operators
    )


def _notes(model: Model) -> Iterator[str]:
    """What the figures leave out, and what would make them smaller."""
    used = kernels_of(op for graph in model.graphs for op in graph.ops)
    count = len(used.calls)
    yield (
        f"flash: the interpreter and {count} kernel{'s' if count != 1 else ''} come on top of the model; how much they "
        "take is known when the program is linked (tersor export lists them)"
    )
    tensors = [model.graph.tensors[name] for op in model.graph.ops for name in op.outputs]
    if tensors and all(tensor.dtype is DType.FLOAT32 for tensor in tensors):
        yield "a float model, judged as it is; in int8 it takes a fraction of that (tersor quantize --as int8)"
