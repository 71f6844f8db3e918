"""Several networks on one Edge TPU: compiled together, they keep their parameters on the chip side by side.

The memory is given out when they are compiled, in the order in which they are named: the first takes what it needs, the
next what is left, and the rest of that one's parameters, and those of all after it, are sent in every run. Compiled one
by one, each run of another network puts all of its parameters in place of the others'.
Source: https://coral.ai/docs/edgetpu/compiler, "Parameter data caching" and "Co-compiling multiple models".
"""

from __future__ import annotations

from collections.abc import Sequence

from tersor.ir.graph import Graph
from tersor.ir.sharing import Share
from tersor.targets.edge_tpu.memory import CACHE, parameter_bytes, widest


def shares(graphs: Sequence[Graph], mapped: Sequence[Sequence[int]]) -> tuple[Share, ...]:
    """An estimate of what each network gets.

    Activations lie in the same memory. Only one network runs at a time, so that the widest place of all sets what is
    left for parameters.

    Args:
        graphs: the networks, in the order in which the compiler is given them.
        mapped: of each, the operators that run on the device.
    """
    ops = [[graph.ops[place] for place in places] for graph, places in zip(graphs, mapped, strict=True)]
    both = list(zip(ops, graphs, strict=True))
    room = max(0, CACHE - max((widest(own, graph) for own, graph in both), default=0))
    found = []
    for own, graph in both:
        parameters = sum(parameter_bytes(op, graph) for op in own)
        cached = min(parameters, room)
        room -= cached
        found.append(Share(parameters, cached))
    return tuple(found)
