"""How LiteRT cuts a network between a delegate and the CPU.

Operators are taken in turns: all that one side can run with what is already computed, then all that the other can,
and so on; the first operator that is ready says which side begins. A piece therefore ends where nothing more is ready,
not at the first operator that stays behind: branches beside that one go on.
Source: the behaviour of LiteRT (`tflite/graph_info.h`, "PartitionGraphIntoIndependentNodeSubsets").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tersor.errors import GraphError
from tersor.ir.graph import Graph


@dataclass(frozen=True)
class Piece:
    """Operators that run in one go.

    Attributes:
        taken: whether the delegate runs them.
        members: their places in the graph, in order.
    """

    taken: bool
    members: tuple[int, ...]


def pieces(graph: Graph, takes: Sequence[bool]) -> list[Piece]:
    """The network in pieces, in the order in which they run.

    Args:
        graph: operators in an order in which they can run.
        takes: for each operator, whether the delegate can run it.

    Raises GraphError if the operators cannot run in their order.
    """
    waiting = [
        {name for name in op.present_inputs if name in graph.producers and name not in op.outputs} for op in graph.ops
    ]
    computed: set[str] = set()
    left = list(range(len(graph.ops)))
    found: list[Piece] = []
    while left:
        side = takes[left[0]]
        members, later = [], []
        for place in left:  # in running order, so that one walk finds all that becomes ready
            if takes[place] == side and waiting[place] <= computed:
                members.append(place)
                computed.update(graph.ops[place].outputs)
            else:
                later.append(place)
        if not members:
            raise GraphError(f"operator {graph.ops[left[0]].name!r} reads what is computed after it")
        found.append(Piece(side, tuple(members)))
        left = later
    return found
