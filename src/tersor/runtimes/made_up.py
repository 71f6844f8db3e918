"""Inputs that are made up, for models that are run to see whether they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tersor.errors import DataError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph
from tersor.runtimes.litert import Port

if TYPE_CHECKING:
    import numpy.typing as npt

_SEED = 0

FEW = 2
"""Samples that suffice to run a file that was made without data."""


def samples_for(graph: Graph, count: int) -> list[list[Array]]:
    """Random samples, an array per input: integers over their range, real numbers in [-1, 1], zeros for others."""
    generator = np.random.default_rng(_SEED)
    inputs = [graph.tensors[name] for name in graph.inputs]
    return [
        [
            _values(
                generator,
                tensor.shape,
                tensor.dtype.numpy,
                has_range=tensor.quant is not None and tensor.dtype in (DType.INT8, DType.UINT8, DType.INT16),
            )
            for tensor in inputs
        ]
        for _ in range(count)
    ]


def samples_of(ports: Sequence[Port], count: int) -> list[object]:
    """Likewise for the inputs of a loaded model; bytes take all their values, with or without a scale.

    Raises DataError for an input of strings.
    """
    for port in ports:
        if port.dtype == "string":
            raise DataError(f"input {port.name!r} takes strings; tersor runs models on numbers")
    generator = np.random.default_rng(_SEED)
    return [tuple(_of_port(generator, port) for port in ports) for _ in range(count)]


def _of_port(generator: np.random.Generator, port: Port) -> Array:
    kind = np.dtype(port.dtype)
    shape = tuple(1 if size < 0 else size for size in port.shape)
    has_range = kind.kind in "iu" and (bool(port.scale) or kind.itemsize == 1)
    return _values(generator, shape, kind, has_range=has_range)


def _values(generator: np.random.Generator, shape: Sequence[int], dtype: npt.DTypeLike, *, has_range: bool) -> Array:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return generator.uniform(-1, 1, shape).astype(kind)
    if not has_range:  # indices, conditions, or what else is not known
        return np.zeros(shape, kind)
    bounds = np.iinfo(kind)
    return generator.integers(bounds.min, int(bounds.max) + 1, shape).astype(kind)
