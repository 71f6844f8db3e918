"""Sparse constants to dense ones.

Source: the tensor format of the LiteRT schema (`SparsityParameters`), which follows TACO (Kjolstad et al. 2017):
dimensions, and blocks inside of them, in a traversal order, each dense or compressed into segments and indices.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tersor.ir.graph import Array, Record, Tensor

_COMPRESSED = 1


def densify(tensor: Tensor) -> Tensor:
    """The same constant, stored densely. Raises ValueError if the encoding contradicts itself or the type is packed."""
    sparsity = tensor.sparsity
    if sparsity is None:
        return tensor
    if tensor.data is None or tensor.dtype.is_packed or tensor.dtype.bits is None:
        raise ValueError(f"{tensor.name!r} cannot be made dense")
    try:
        values = tensor.data.reshape(-1).view(np.uint8).view(tensor.dtype.numpy)
        dense = _decode(sparsity, values, tensor.shape)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{tensor.name!r} has a sparse encoding that contradicts itself: {error}") from error
    return replace(tensor, sparsity=None).with_data(dense)


def _decode(sparsity: Record, values: Array, shape: tuple[int, ...]) -> Array:
    """The stored values at their places in an array of zeros. Raises any of several errors for nonsense."""
    order = _vector(sparsity.get("traversal_order"))
    levels = sparsity.get("dim_metadata")
    rank = len(shape)
    if sorted(order) != list(range(len(levels))) or len(levels) < rank:
        raise ValueError(f"traversal order {order} of {len(levels)} dimensions for shape {shape}")
    nodes = np.zeros(1, np.int64)
    coordinates: dict[int, Array] = {}
    for dimension, level in zip(order, levels, strict=True):
        nodes, parents, own = _descend(nodes, level, math.prod(shape))
        coordinates = {known: places[parents] for known, places in coordinates.items()} | {dimension: own}
    places = [coordinates[dimension] for dimension in range(rank)]
    for number, dimension in enumerate(_vector(sparsity.get("block_map"))):
        block = levels[order.index(rank + number)].get("dense_size")
        places[dimension] = places[dimension] * block + coordinates[rank + number]
    if len(nodes) != values.size or any(((p < 0) | (p >= s)).any() for p, s in zip(places, shape, strict=True)):
        raise ValueError(f"{values.size} values at {len(nodes)} places of shape {shape}")
    dense = np.zeros(shape, values.dtype)
    dense[tuple(places)] = values
    return dense


def _descend(nodes: Array, level: Record, limit: int) -> tuple[Array, Array, Array]:
    """One level down: the new nodes' numbers, the place of each one's parent in `nodes`, and its coordinate.

    Raises ValueError for more than `limit` nodes: no level has more than there are values in the dense array.
    """
    if level.get("format") == _COMPRESSED:
        segments = np.asarray(_vector(level.get("array_segments").get("values")), np.int64)
        indices = np.asarray(_vector(level.get("array_indices").get("values")), np.int64)
        counts = segments[nodes + 1] - segments[nodes]
        _require_at_most(limit, int(counts.sum()))
        parents = np.repeat(np.arange(len(nodes)), counts)
        starts = np.repeat(segments[nodes] - (np.cumsum(counts) - counts), counts)
        children = starts + np.arange(len(parents))
        return children, parents, indices[children]
    size = level.get("dense_size")
    _require_at_most(limit, len(nodes) * size)
    parents = np.repeat(np.arange(len(nodes)), size)
    own = np.tile(np.arange(size), len(nodes))
    return nodes[parents] * size + own, parents, own


def _require_at_most(limit: int, count: int) -> None:
    if count > limit:
        raise ValueError(f"{count} places in an array of {limit} values")


def _vector(stored: Any) -> list[int]:
    return [] if stored is None else list(stored)
