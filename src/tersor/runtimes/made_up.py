"""Inputs that are made up, for models that are run to see whether they run."""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph

_SEED = 0


def samples_for(graph: Graph, count: int) -> list[list[Array]]:
    """Random samples, an array per input: integers over their range, real numbers in [-1, 1], zeros for others."""
    generator = np.random.default_rng(_SEED)
    samples = []
    for _ in range(count):
        sample: list[Array] = []
        for name in graph.inputs:
            tensor = graph.tensors[name]
            if tensor.dtype in (DType.INT8, DType.UINT8, DType.INT16) and tensor.quant is not None:
                low, high = tensor.dtype.integer_range
                sample.append(generator.integers(low, high + 1, tensor.shape).astype(tensor.dtype.numpy))
            elif tensor.dtype is DType.FLOAT32:
                sample.append(generator.uniform(-1, 1, tensor.shape).astype(np.float32))
            else:
                sample.append(np.zeros(tensor.shape, tensor.dtype.numpy))
        samples.append(sample)
    return samples
