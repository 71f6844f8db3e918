"""A network on several Edge TPUs in a row: where to cut it, so that each has as few parameters to keep as possible.

Segments are runs of operators in the file's order. Of all ways to cut, those are looked at whose largest segment has
the fewest bytes of parameters, and of these the one whose cuts the fewest bytes cross. Both are found exactly: the
largest segment by bisection with segments that are filled as far as they go, the cuts by dynamic programming.
The compiler cuts by parameters, too (`--num_segments`), by means that are not public.
Source: https://coral.ai/docs/edgetpu/pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np

from tersor.errors import RecipeError
from tersor.ir.graph import Graph, Op
from tersor.ir.sharing import Segment, Value
from tersor.targets.edge_tpu.memory import parameter_bytes
from tersor.targets.edge_tpu.sharing import shares

_NEVER = 1 << 60
"""Bytes that stand for a place where there can be no cut."""


def cut(
    graph: Graph, takes: Sequence[bool], count: int, mapped: Callable[[Graph], Sequence[int]]
) -> tuple[Segment, ...]:
    """The best segments.

    Args:
        graph: the network.
        takes: for each operator, whether a device can run it.
        count: how many segments; each gets at least one operator that a device runs.
        mapped: for a part of the network, the places of those operators that its device will run.

    Raises RecipeError if there are not enough operators, or no places to cut it in so many.
    """
    if count < 2:
        raise RecipeError(f"{count} segments: a network is cut in 2 or more")
    if sum(takes) < count:
        raise RecipeError(f"{count} segments: each needs an operator that the Edge TPU runs; there are {sum(takes)}")
    sizes = [parameter_bytes(op, graph) if taken else 0 for op, taken in zip(graph.ops, takes, strict=True)]
    widths = crossing_bytes(graph)
    most = smallest_most(sizes, widths, takes, count)
    places = cheapest_cuts(sizes, widths, takes, count, most)
    return tuple(_segment(graph, first, end, mapped) for first, end in pairwise((0, *places, len(graph.ops))))


def crossing_bytes(graph: Graph) -> list[int | None]:
    """For each place between two operators, the bytes computed before and read behind it; None where it cannot be cut.

    Place n lies before operator n. State that several operators share cannot be divided.
    """
    count = len(graph.ops)
    crossing = [0] * (count + 1)
    whole = [0] * (count + 1)
    written = {name: place for place, op in enumerate(graph.ops) for name in op.outputs}
    for name, readers in _readers(graph).items():
        tensor = graph.tensors[name]
        users = [*readers, written[name]] if name in written else readers
        if tensor.is_variable:
            whole[min(users) + 1] += 1
            whole[max(users) + 1] -= 1
        elif not tensor.is_constant:
            crossing[written.get(name, -1) + 1] += tensor.byte_size
            crossing[max(readers) + 1] -= tensor.byte_size
    sums = zip(accumulate(crossing), accumulate(whole), strict=True)
    return [None if place in (0, count) or held else width for place, (width, held) in enumerate(sums)]


def smallest_most(sizes: Sequence[int], widths: Sequence[int | None], takes: Sequence[bool], count: int) -> int:
    """The fewest bytes that the largest of so many segments can have. Raises RecipeError if there is no way to cut.

    Segments that are filled as far as they go are the fewest that do. More can always be made of them, up to as many as
    there are if each ends as soon as it may.
    """
    most_of_all = _filled(sizes, widths, takes, None)
    if most_of_all < count:
        raise RecipeError(f"{count} segments: this network can be cut in {most_of_all} at most, the rest shares state")
    low, high = 0, sum(sizes)
    while low < high:
        middle = (low + high) // 2
        needed = _filled(sizes, widths, takes, middle)
        low, high = (low, middle) if 0 < needed <= count else (middle + 1, high)
    return high


def _filled(sizes: Sequence[int], widths: Sequence[int | None], takes: Sequence[bool], most: int | None) -> int:
    """How many segments there are if each goes as far as it may with `most` bytes; 0 if one of them cannot end.

    With None each ends as soon as a device has something to do in it, and the last takes what is left.
    """
    count, end = 0, len(sizes)
    place = 0
    while place < end:
        held, taken, reached = 0, False, place
        for at in range(place, end):
            held, taken = held + sizes[at], taken or takes[at]
            if most is not None and held > most:
                break
            if taken and (at + 1 == end or widths[at + 1] is not None):
                reached = at + 1
                if most is None:
                    break
        if reached == place:
            return count if most is None else 0
        count, place = count + 1, reached
    return count


def cheapest_cuts(
    sizes: Sequence[int], widths: Sequence[int | None], takes: Sequence[bool], count: int, most: int
) -> tuple[int, ...]:
    """The places of the cuts that the fewest bytes cross, where no segment has more than `most` bytes.

    There is a way to cut so.
    """
    end = len(sizes)
    total, runs = np.array([0, *accumulate(sizes)]), np.array([0, *accumulate(map(int, takes))])
    width = np.array([_NEVER if item is None else item for item in widths])
    first = np.searchsorted(total, total - most)  # a segment may begin from there
    last = np.searchsorted(runs, runs - 1, side="right")  # to before there
    cost = np.full(end + 1, _NEVER)
    cost[0] = 0
    begins = []
    for number in range(1, count + 1):
        reached, begin = np.full(end + 1, _NEVER), np.zeros(end + 1, np.int64)
        for place in [end] if number == count else range(1, end):
            ways = cost[first[place] : last[place]]
            if ways.size:
                begin[place] = first[place] + int(np.argmin(ways))
                price = 0 if number == count else width[place]
                reached[place] = min(_NEVER, cost[begin[place]] + price)
        cost = reached
        begins.append(begin)
    cuts = [end]
    for begin in reversed(begins):
        cuts.append(int(begin[cuts[-1]]))
    return tuple(reversed(cuts[1:-1]))


def _readers(graph: Graph) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, op in enumerate(graph.ops):
        for name in op.present_inputs:
            found.setdefault(name, []).append(place)
    return found


def _segment(graph: Graph, first: int, end: int, mapped: Callable[[Graph], Sequence[int]]) -> Segment:
    ops = graph.ops[first:end]
    reads, writes = _reads(ops, graph), _writes(ops, graph, (*graph.ops[:first], *graph.ops[end:]))
    part = replace(graph, ops=ops, inputs=tuple(v.name for v in reads), outputs=tuple(v.name for v in writes))
    places = tuple(mapped(part))
    (share,) = shares([part], [places])
    return Segment(first, end - 1, tuple(first + place for place in places), share, reads, writes)


def _reads(ops: Sequence[Op], graph: Graph) -> tuple[Value, ...]:
    made = {name for op in ops for name in op.outputs}
    names = dict.fromkeys(name for op in ops for name in op.present_inputs if name not in made)
    tensors = [graph.tensors[name] for name in names]
    return tuple(Value(item.name, item.byte_size) for item in tensors if not item.is_constant and not item.is_variable)


def _writes(ops: Sequence[Op], graph: Graph, others: Sequence[Op]) -> tuple[Value, ...]:
    wanted = {*graph.outputs, *(name for op in others for name in op.present_inputs)}
    names = [name for op in ops for name in op.outputs if name in wanted]
    return tuple(Value(name, graph.tensors[name].byte_size) for name in names)
