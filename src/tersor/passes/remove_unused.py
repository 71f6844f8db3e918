"""Constants that no operator reads, and that are no output of the model, are dropped: they cost bytes and nothing else.

Files of other tools carry some, and a pass that folds operators may leave its operands. Nothing is refused.
"""

from __future__ import annotations

from tersor.ir.graph import Graph


def apply(graph: Graph) -> Graph:
    """The graph without such constants; the same object if there are none."""
    return graph.pruned()
