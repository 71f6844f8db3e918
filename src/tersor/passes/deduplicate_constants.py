"""Equal constants share one array, and so one buffer of the file.

Tensors keep their names: two biases of zeros may need different scales in an integer model. What is shared is what they
hold. Nothing is refused. Outlines stay apart: what they stand for need not be equal.
"""

from __future__ import annotations

import hashlib

from tersor.ir.graph import Array, Graph, Tensor
from tersor.ir.outline import is_outline

_SMALLEST = 64
"""Bytes below which a buffer of its own costs no more than the search."""


def apply(graph: Graph) -> Graph:
    """The graph with equal arrays shared; the same object if all are different already."""
    seen: dict[tuple[object, ...], Array] = {}
    tensors: list[Tensor] = []
    for tensor in graph.tensors.values():
        if tensor.data is None or tensor.data.nbytes < _SMALLEST or is_outline(tensor.data):
            continue
        digest = hashlib.blake2b(tensor.data.tobytes(), digest_size=16).digest()
        first = seen.setdefault((tensor.data.dtype.str, tensor.data.shape, digest), tensor.data)
        if first is not tensor.data:
            tensors.append(tensor.with_data(first))
    return graph.edit(tensors=tensors) if tensors else graph
