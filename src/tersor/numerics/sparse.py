"""Sparse constants to dense ones.

Source: the tensor format of the LiteRT schema (`SparsityParameters`), which follows TACO (Kjolstad et al. 2017):
dimensions, and blocks inside of them, in a traversal order, each dense or compressed into segments and indices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tersor.ir.graph import Array, Tensor

_COMPRESSED = 1


def densify(tensor: Tensor) -> Tensor:
    """The same constant, stored densely. Raises ValueError if the encoding contradicts itself or the type is packed."""
    sparsity = tensor.sparsity
    if sparsity is None:
        return tensor
    if tensor.data is None or tensor.dtype.is_packed or tensor.dtype.bits is None:
        raise ValueError(f"{tensor.name!r} cannot be made dense")
    values = tensor.data.reshape(-1).view(np.uint8).view(tensor.dtype.numpy)
    order = _vector(sparsity.get("traversal_order"))
    levels = sparsity.get("dim_metadata")
    rank = len(tensor.shape)
    if sorted(order) != list(range(len(levels))) or len(levels) < rank:
        raise ValueError(f"{tensor.name!r} has an unknown sparse encoding")
    nodes = np.zeros(1, np.int64)
    coordinates: dict[int, Array] = {}
    for dimension, level in zip(order, levels, strict=True):
        nodes, parents, own = _descend(nodes, level)
        coordinates = {known: places[parents] for known, places in coordinates.items()} | {dimension: own}
    places = [coordinates[dimension] for dimension in range(rank)]
    for number, dimension in enumerate(_vector(sparsity.get("block_map"))):
        block = levels[order.index(rank + number)].get("dense_size")
        places[dimension] = places[dimension] * block + coordinates[rank + number]
    dense = np.zeros(tensor.shape, tensor.dtype.numpy)
    if len(nodes) != values.size or any((p >= s).any() for p, s in zip(places, tensor.shape, strict=True)):
        raise ValueError(f"{tensor.name!r} has {values.size} values at {len(nodes)} places of shape {tensor.shape}")
    dense[tuple(places)] = values
    return replace(tensor, sparsity=None).with_data(dense)


def _descend(nodes: Array, level: Any) -> tuple[Array, Array, Array]:
    """One level down: the new nodes' numbers, the place of each one's parent in `nodes`, and its coordinate."""
    if level.get("format") == _COMPRESSED:
        segments = np.asarray(_vector(level.get("array_segments").get("values")), np.int64)
        indices = np.asarray(_vector(level.get("array_indices").get("values")), np.int64)
        counts = segments[nodes + 1] - segments[nodes]
        parents = np.repeat(np.arange(len(nodes)), counts)
        starts = np.repeat(segments[nodes] - (np.cumsum(counts) - counts), counts)
        children = starts + np.arange(len(parents))
        return children, parents, indices[children]
    size = level.get("dense_size")
    parents = np.repeat(np.arange(len(nodes)), size)
    own = np.tile(np.arange(size), len(nodes))
    return nodes[parents] * size + own, parents, own


def _vector(stored: Any) -> list[int]:
    return [] if stored is None else list(stored)
