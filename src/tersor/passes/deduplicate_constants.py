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
    alike: dict[tuple[object, ...], list[tuple[Tensor, Array]]] = {}
    for tensor in graph.tensors.values():
        data = tensor.data
        if data is None or data.nbytes < _SMALLEST or is_outline(data):
            continue
        begin = data.reshape(-1)[: _SMALLEST // data.itemsize].tobytes()  # tells most of them apart
        alike.setdefault((data.dtype.str, data.shape, begin), []).append((tensor, data))
    tensors: list[Tensor] = []
    for found in alike.values():
        seen: dict[bytes, Array] = {}
        for tensor, data in found if len(found) > 1 else ():
            first = seen.setdefault(hashlib.blake2b(data.tobytes(), digest_size=16).digest(), data)
            if first is not data:
                tensors.append(tensor.with_data(first))
    return graph.edit(tensors=tensors) if tensors else graph
