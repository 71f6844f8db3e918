"""Operators that look values up by indices or put them in places. Kernel sets agree."""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Array
from tersor.runtimes.reference.call import Call


def gather_nd(call: Call) -> list[Array]:
    """GATHER_ND: operands are the value and indices [..., dimensions]."""
    return [call.value(0)[tuple(np.moveaxis(call.value(1), -1, 0))]]


def look_up(call: Call) -> list[Array]:
    """EMBEDDING_LOOKUP: rows of a table with one scale, or with one per row where these are equal."""
    if call.quant(1) != call.result_quant() and len(set(call.quant(1).scales)) > 1:
        raise call.refusal("its rows have scales of their own")
    return [call.value(1)[call.value(0)]]


def one_hot(call: Call) -> list[Array]:
    """ONE_HOT: operands are indices, depth, and the values for one and for the others."""
    axis, depth = call.op.option("axis", -1), int(call.value(1))
    indices = np.expand_dims(call.value(0), axis)
    places = np.arange(depth).reshape([-1 if dim == axis % indices.ndim else 1 for dim in range(indices.ndim)])
    return [np.where(indices == places, call.value(2), call.value(3))]


def fill(call: Call) -> list[Array]:
    """FILL: operands are the shape and the value."""
    return [np.full([int(size) for size in call.value(0)], call.value(1))]


def scatter(call: Call) -> list[Array]:
    """SPARSE_TO_DENSE: operands are indices, the shape, their values, and the value of all others."""
    indices, values = call.value(0), call.value(2)
    shape = tuple(int(size) for size in call.value(1))
    found = np.full(shape, call.value(3), values.dtype)
    found[tuple(np.moveaxis(indices.reshape(-1, len(shape)), -1, 0))] = values
    return [found]


def set_diagonal(call: Call) -> list[Array]:
    """MATRIX_SET_DIAG of the last two dimensions."""
    found = call.value(0).copy()
    places = np.arange(min(found.shape[-2:]))
    found[..., places, places] = call.value(1)
    return [found]


def update_slice(call: Call) -> list[Array]:
    """DYNAMIC_UPDATE_SLICE: operands are the value, what replaces a part of it, and where; starts stay inside."""
    found, part = call.value(0).copy(), call.value(1)
    starts = [min(max(int(at), 0), n - m) for at, n, m in zip(call.value(2), found.shape, part.shape, strict=True)]
    found[tuple(slice(at, at + size) for at, size in zip(starts, part.shape, strict=True))] = part
    return [found]


def reverse_sequences(call: Call) -> list[Array]:
    """REVERSE_SEQUENCE: of each sample the first values, as many as the second operand says."""
    along, of = call.op.option("seq_dim", 0), call.op.option("batch_dim", 0)
    found = call.value(0).copy()
    samples = np.moveaxis(found, (of, along), (0, 1))
    for sample, length in zip(samples, call.value(1).tolist(), strict=True):
        sample[:length] = sample[:length][::-1].copy()
    return [found]


def shape(call: Call) -> list[Array]:
    """SHAPE."""
    return [np.array(call.value(0).shape, call.results[0].dtype.numpy)]


def rank(call: Call) -> list[Array]:
    """RANK."""
    return [np.array(call.value(0).ndim, call.results[0].dtype.numpy)]
