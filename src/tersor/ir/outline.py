"""Outlines: constants of which only type and shape are known, for forecasts that look at nothing else.

An outline is an array of zeros that takes no memory: all of its elements are one and the same place. What computes with
large weights keeps them so; whatever does not know of outlines sees zeros, and takes the time that these take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tersor.ir.graph import Array, Graph, Model, Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

SMALLEST = 1 << 14
"""Elements below which a constant is not worth leaving out."""

_PLACE = bytes(16)
"""All outlines of this process show these bytes, by which they are known."""

_ADDRESS = np.frombuffer(_PLACE, np.uint8).__array_interface__["data"][0]


def outline(shape: Sequence[int], dtype: npt.DTypeLike) -> Array:
    """An outline."""
    return np.ndarray(tuple(shape), dtype, _PLACE, strides=(0,) * len(shape))


def is_outline(values: Array) -> bool:
    """Whether an array is an outline."""
    return not any(values.strides) and values.__array_interface__["data"][0] == _ADDRESS


def in_order(values: Array, dtype: npt.DTypeLike = np.float32) -> Array:
    """The array in C order and of that type; an outline stays one."""
    return outline(values.shape, dtype) if is_outline(values) else np.ascontiguousarray(values, dtype)


def has_outlines(model: Model) -> bool:
    """Whether any constant of a model is an outline."""
    tensors = (tensor for graph in model.graphs for tensor in graph.tensors.values())
    return any(tensor.data is not None and is_outline(tensor.data) for tensor in tensors)


def filled(model: Model) -> Model:
    """The model with zeros that are really there in place of outlines."""
    return replace(model, graphs=tuple(graph.edit(tensors=_filled(graph)) for graph in model.graphs))


def _filled(graph: Graph) -> list[Tensor]:
    found = [tensor for tensor in graph.tensors.values() if tensor.data is not None and is_outline(tensor.data)]
    return [tensor.with_data(np.array(tensor.data)) for tensor in found]


def distinct(values: Array) -> Array:
    """The array, or one value of an outline: what is true of one is true of all."""
    return values.reshape(-1)[:1] if is_outline(values) else values
