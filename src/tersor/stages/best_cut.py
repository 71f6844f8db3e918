"""A network with operators that an accelerator does not take -> the part of it that it is best given.

An accelerator runs one piece in one go. What its operators wait for goes before it, all else behind it. Of all pieces
the one with most multiply-accumulates is taken. Operators at its end that multiply nothing are left to the CPU where
fewer bytes come back then (enlarging an image, copying): which of them is the least cut of a flow network, and exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tersor.ir.graph import Graph
from tersor.ir.work import macs
from tersor.targets._partition import pieces

_Flow = dict[Hashable, dict[Hashable, float]]
"""From each node, how much more can flow to others."""

_SOURCE, _SINK = -1, -2
"""Nodes besides operators (their places) and values (their names)."""


@dataclass(frozen=True)
class Cut:
    """Places of operators in a graph, in order.

    Attributes:
        before: what the CPU runs first.
        taken: what the accelerator runs, in one go.
        behind: what the CPU runs then.
    """

    before: tuple[int, ...]
    taken: tuple[int, ...]
    behind: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the accelerator runs everything."""
        return not (self.before or self.behind)


def best_cut(graph: Graph, takes: Sequence[bool]) -> Cut | None:
    """The best cut; None where the accelerator would have nothing to multiply, in a network that multiplies.

    Args:
        graph: operators in an order in which they can run.
        takes: for each operator, whether the accelerator can run it.
    """
    work = [macs(graph, op) for op in graph.ops]
    parents = _parents(graph)
    ways = [_around(piece.members, takes, parents) for piece in pieces(graph, takes) if piece.taken]
    if not ways:
        return None
    before, taken = max(ways, key=lambda way: (sum(work[place] for place in way[1]), len(way[1]), -len(way[0])))
    if any(work) and not any(work[place] for place in taken):
        return None
    if len(before) + len(taken) < len(graph.ops):
        taken = _with_least_output(graph, taken, work, parents)
    rest = set(range(len(graph.ops))) - {*before, *taken}
    return Cut(tuple(sorted(before)), tuple(sorted(taken)), tuple(sorted(rest)))


def _parents(graph: Graph) -> list[set[int]]:
    """For each operator the places of those that it reads from."""
    written = {name: place for place, op in enumerate(graph.ops) for name in op.outputs}
    return [
        {written[name] for name in op.present_inputs if name in written} - {own} for own, op in enumerate(graph.ops)
    ]


def _ancestors(places: Iterable[int], parents: Sequence[set[int]]) -> set[int]:
    """Operators with all that they wait for."""
    found: set[int] = set()
    waiting = list(places)
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            waiting.extend(parents[place])
    return found


def _around(
    piece: Iterable[int], takes: Sequence[bool], parents: Sequence[set[int]]
) -> tuple[Collection[int], Collection[int]]:
    """What the CPU has to do before a piece, and all that the accelerator can do then."""
    before = _ancestors([place for place in _ancestors(piece, parents) if not takes[place]], parents)
    computed = set(before)
    for place, able in enumerate(takes):  # in running order
        if able and parents[place] <= computed:
            computed.add(place)
    return before, computed - before


def _with_least_output(
    graph: Graph, taken: Collection[int], work: Sequence[int], parents: Sequence[set[int]]
) -> set[int]:
    """Those of the operators that multiply, or come before one that does, and as many others as cost no bytes."""
    fixed = _ancestors([place for place in taken if work[place]], parents) & set(taken)
    if not fixed:
        return set(taken)
    optional = set(taken) - fixed
    readers = _readers(graph)
    flow: _Flow = {}
    for place in sorted(taken):
        node: Hashable = place if place in optional else _SOURCE
        if place in optional:
            for parent in parents[place] & optional:
                _connect(flow, place, parent, float("inf"))
        for name in graph.ops[place].outputs:
            if name not in graph.outputs and readers.get(name, set()) <= fixed:
                continue
            _connect(flow, node, name, graph.tensors[name].byte_size)
            if name in graph.outputs or not readers.get(name, set()) <= set(taken):
                _connect(flow, name, _SINK, float("inf"))
            for reader in readers.get(name, set()) & optional:
                _connect(flow, name, reader, float("inf"))
    _saturate(flow)
    return set(taken) - _before_sink(flow)


def _readers(graph: Graph) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for place, op in enumerate(graph.ops):
        for name in op.present_inputs:
            found.setdefault(name, set()).add(place)
    return found


def _connect(flow: _Flow, one: Hashable, other: Hashable, capacity: float) -> None:
    own = flow.setdefault(one, {})
    own[other] = own.get(other, 0) + capacity
    flow.setdefault(other, {}).setdefault(one, 0)


def _path(flow: _Flow) -> list[Hashable] | None:
    """The shortest way from the source to the sink on which something can still flow."""
    came: dict[Hashable, Hashable] = {_SOURCE: _SOURCE}
    waiting: deque[Hashable] = deque([_SOURCE])
    while waiting:
        node = waiting.popleft()
        for following, left in flow.get(node, {}).items():
            if left > 0 and following not in came:
                came[following] = node
                waiting.append(following)
    if _SINK not in came:
        return None
    way: list[Hashable] = [_SINK]
    while way[-1] != _SOURCE:
        way.append(came[way[-1]])
    return way[::-1]


def _before_sink(flow: _Flow) -> set[Hashable]:
    """All nodes from which something can still flow to the sink."""
    found: set[Hashable] = {_SINK}
    waiting: list[Hashable] = [_SINK]
    while waiting:
        node = waiting.pop()
        for other in flow.get(node, {}):
            if other not in found and flow[other][node] > 0:
                found.add(other)
                waiting.append(other)
    return found


def _saturate(flow: _Flow) -> None:
    """Let as much flow from the source to the sink as can."""
    while (way := _path(flow)) is not None:
        steps = list(pairwise(way))
        most = min(flow[one][other] for one, other in steps)
        for one, other in steps:
            flow[one][other] -= most
            flow[other][one] += most
