"""How many weights each layer can do without."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tersor.ir.graph import Array, Graph, Op
from tersor.numerics.packing import values_of
from tersor.ops import layer_operands


def lamp(graph: Graph, layers: Iterable[Op], sparsity: float) -> dict[str, float]:
    """The sparsity of each layer, so that all together have the one that is wanted.

    A weight counts by its square as a share of those of all weights of its layer that are not smaller; the weights that
    count least, of all layers, go (LAMP, Lee et al. 2021, arXiv 2010.07611).

    Args:
        graph: a float graph.
        layers: operators of it with constant weights.
        sparsity: the share of all their weights that goes.
    """
    scores: dict[str, Array] = {}
    for op in layers:
        weights = graph.operand(op, layer_operands(op.kind).weights)
        assert weights is not None
        squares = np.sort(np.square(values_of(weights).reshape(-1).astype(np.float64)))
        remaining = np.cumsum(squares[::-1])[::-1]
        scores[op.name] = squares / np.maximum(remaining, np.finfo(np.float64).tiny)
    if not scores:
        return {}
    together = np.concatenate(list(scores.values()))
    dropped = min(round(sparsity * together.size), together.size - 1)
    limit = np.partition(together, dropped)[dropped]
    return {name: float(np.mean(own < limit)) for name, own in scores.items()}
