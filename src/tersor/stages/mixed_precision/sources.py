"""Where quantization noise comes in: values that are rounded, and layers whose weights are.

A value is rounded where it is computed, and operators that only move values hand it on as it is: values tied by such
operators are one source. It goes away only if everything that computes or reads them has more bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ir.plan import INTEGER, Plan
from tersor.ir.quant import QuantParams
from tersor.ops import OPS, SAME, WEIGHT, WEIGHT16
from tersor.stages.plan.disjoint_sets import DisjointSets
from tersor.stages.plan.modes import data_edges


@dataclass(frozen=True)
class Source:
    """One place where noise comes in.

    Attributes:
        operators: all that have to be widened for it to go away.
        values: the activations that are rounded; empty for a layer's weights.
    """

    operators: frozenset[str]
    values: frozenset[str] = frozenset()


def rounded_values(graph: Graph, plan: Plan) -> list[Source]:
    """The activations that a plan rounds, tied ones together; without what is rounded at the model's door anyway."""
    ops = [op for op in graph.ops if plan.ops[op.name].compute == INTEGER]
    sets = DisjointSets(dict.fromkeys(name for op in ops for name in data_edges(graph, op)))
    for op in ops:
        if OPS[op.kind].scale == SAME:
            sets.unite(data_edges(graph, op))
    users: dict[str, set[str]] = {}
    computed: set[str] = set()
    for op in ops:
        for name in data_edges(graph, op):
            users.setdefault(sets.find(name), set()).add(op.name)
            if OPS[op.kind].scale != SAME and name in op.inputs:
                computed.add(sets.find(name))
    return [
        Source(frozenset(users[root]), frozenset(members))
        for root, members in sets.members().items()
        if not _ends_at_door(graph, plan, members, read=root in computed)
    ]


def rounded_weights(graph: Graph, plan: Plan, dtype: DType | None = None) -> list[Source]:
    """The layers whose constant weights a plan rounds: all, or those to a type."""
    found = []
    for op in graph.ops:
        planned = [plan.operands[op.name, index] for index in weight_indices(graph, op, plan)]
        if planned and dtype in (None, *(item.dtype for item in planned)):
            found.append(Source(frozenset({op.name})))
    return found


def weight_indices(graph: Graph, op: Op, plan: Plan) -> list[int]:
    """The operands of an integer operator that hold weights."""
    if plan.ops[op.name].compute != INTEGER:
        return []
    places = [n for n in range(len(op.inputs)) if OPS[op.kind].operand_role(n) in (WEIGHT, WEIGHT16)]
    tensors = {index: graph.operand(op, index) for index in places if (op.name, index) in plan.operands}
    return [index for index, tensor in tensors.items() if tensor is not None and tensor.is_constant]


def roundings(plan: Plan, op: Op, index: int) -> Iterator[QuantParams]:
    """The numbers that a float value passes through before an operator reads it as its operand."""
    for planned in (plan.tensors.get(op.inputs[index] or ""), plan.operands.get((op.name, index))):
        if planned is not None and planned.params is not None:
            yield planned.params


def _ends_at_door(graph: Graph, plan: Plan, members: list[str], *, read: bool) -> bool:
    """Whether values come in as integers, or leave as such and no operator computes with them."""
    doors = {name for name in members if name in plan.interface and plan.interface[name].dtype is not DType.FLOAT32}
    return bool(doors & set(graph.inputs)) or (bool(doors) and not read)
