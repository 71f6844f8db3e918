"""Sparse constants to dense ones, and back.

Source: the tensor format of the LiteRT schema (`SparsityParameters`), which follows TACO (Kjolstad et al. 2017):
dimensions, and blocks inside of them, in a traversal order, each dense or compressed into segments and indices.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tersor.ir.graph import Array, Record, Tensor

_DENSE, _COMPRESSED = 0, 1

_VECTORS = ((1 << 8, 3, "Uint8Vector"), (1 << 16, 2, "Uint16Vector"), (1 << 31, 1, "Int32Vector"))
"""Beyond which number, by which code of the union `SparseIndexVector`, and as which table indices are stored."""


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


def sparsify(tensor: Tensor, block: int = 1) -> Tensor:
    """The same constant, with its last axis compressed: zeros are not stored.

    Args:
        tensor: a dense constant of whole bytes.
        block: values along the last axis that are stored or left out together.

    Raises ValueError for a constant that cannot be stored so.
    """
    if tensor.data is None or tensor.sparsity is not None or tensor.dtype.is_packed or tensor.dtype.bits is None:
        raise ValueError(f"{tensor.name!r} cannot be made sparse")
    if not tensor.shape or not tensor.elements or tensor.shape[-1] % block:
        raise ValueError(f"{tensor.name!r} has shape {list(tensor.shape)}: no axis of blocks of {block} to compress")
    *outer, inner = tensor.shape
    blocks = tensor.data.reshape(-1, inner // block, block)
    rows, columns = np.nonzero((blocks != 0).any(axis=-1))
    segments = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(blocks)))])
    levels = [_level(_DENSE, dense_size=size) for size in outer]
    levels.append(_level(_COMPRESSED, **_indices("array_segments", segments), **_indices("array_indices", columns)))
    fields: dict[str, Any] = {"traversal_order": tuple(range(len(levels)))}
    if block > 1:
        levels.append(_level(_DENSE, dense_size=block))
        fields = {"traversal_order": tuple(range(len(levels))), "block_map": (len(outer),)}
    encoding = Record("SparsityParameters", (*fields.items(), ("dim_metadata", tuple(levels))))
    stored = np.ascontiguousarray(blocks[rows, columns]).reshape(-1).view(np.uint8)
    return replace(tensor, sparsity=encoding).with_data(stored)


def encoded_size(tensor: Tensor) -> int:
    """Bytes of a sparse constant's values and indices."""
    assert tensor.sparsity is not None
    size = tensor.byte_size
    for level in tensor.sparsity.get("dim_metadata"):
        for key in ("array_segments", "array_indices"):
            vector = level.get(key)
            width = {"Uint8Vector": 1, "Uint16Vector": 2}.get(vector.type, 4) if vector is not None else 0
            size += width * (len(vector.get("values")) if vector is not None else 0)
    return size


def _level(form: int, **fields: Any) -> Record:
    return Record("DimensionMetadata", (("format", form), *fields.items()))


def _indices(name: str, values: Array) -> dict[str, Any]:
    """Numbers in the narrowest type that holds them."""
    _, code, table = next(row for row in _VECTORS if not values.size or values.max() < row[0])
    stored = values.astype(np.uint8).tobytes() if table == "Uint8Vector" else tuple(values.tolist())
    return {f"{name}_type": code, name: Record(table, (("values", stored),))}


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
