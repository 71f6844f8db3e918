"""Sparse constants, decoded as the schema says they are encoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Record, Tensor
from tersor.numerics.sparse import densify


def dense_level(size: int) -> Record:
    return Record("DimensionMetadata", (("format", 0), ("dense_size", size)))


def compressed_level(segments: list[int], indices: list[int]) -> Record:
    return Record(
        "DimensionMetadata",
        (
            ("format", 1),
            ("dense_size", 0),
            ("array_segments", Record("Int32Vector", (("values", tuple(segments)),))),
            ("array_indices", Record("Uint16Vector", (("values", tuple(indices)),))),
        ),
    )


def sparse(
    shape: tuple[int, ...], values: Array, order: tuple[int, ...], levels: list[Record], **more: object
) -> Tensor:
    fields = {"traversal_order": order, "dim_metadata": tuple(levels), **more}
    encoding = Record("SparsityParameters", tuple(fields.items()))
    stored = np.ascontiguousarray(values, np.float32).view(np.uint8)
    return Tensor("w", shape, DType.FLOAT32, sparsity=encoding).with_data(stored)


def rows_compressed(matrix: Array) -> Tensor:
    """A matrix in compressed sparse rows."""
    columns = [np.flatnonzero(row) for row in matrix]
    segments = np.cumsum([0, *(len(c) for c in columns)]).tolist()
    indices = [int(i) for c in columns for i in c]
    levels = [dense_level(matrix.shape[0]), compressed_level(segments, indices)]
    return sparse(matrix.shape, matrix[matrix != 0], (0, 1), levels)


MATRICES = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.sampled_from([0.0, 0.0, 1.5, -2.0])
)


@given(MATRICES)
def test_compressed_rows(matrix: Array) -> None:
    restored = densify(rows_compressed(matrix))
    assert restored.sparsity is None
    assert restored.data is not None
    np.testing.assert_array_equal(restored.data, matrix)


@given(MATRICES)
def test_compressed_columns(matrix: Array) -> None:
    by_rows = rows_compressed(matrix.T)
    assert by_rows.sparsity is not None
    tensor = replace(by_rows, shape=matrix.shape, sparsity=by_rows.sparsity.with_fields(traversal_order=(1, 0)))
    restored = densify(tensor).data
    assert restored is not None
    np.testing.assert_array_equal(restored, matrix)


def test_blocks_of_1x4_as_xnnpack_has_them() -> None:
    matrix = np.zeros((3, 8), np.float32)
    matrix[0, 4:8] = [1, 2, 3, 4]
    matrix[2, 0:4] = [5, 6, 7, 8]
    levels = [dense_level(3), compressed_level([0, 1, 1, 2], [1, 0]), dense_level(4)]
    tensor = sparse((3, 8), np.arange(1, 9, dtype=np.float32), (0, 1, 2), levels, block_map=(1,))
    restored = densify(tensor).data
    assert restored is not None
    np.testing.assert_array_equal(restored, matrix)


def test_dense_constant_is_returned_as_it_is() -> None:
    tensor = Tensor("w", (1,), DType.FLOAT32).with_data(np.ones(1, np.float32))
    assert densify(tensor) is tensor


def _tensor(**changes: object) -> Tensor:
    tensor = rows_compressed(np.eye(3, dtype=np.float32))
    assert tensor.sparsity is not None
    return replace(tensor, sparsity=tensor.sparsity.with_fields(**changes))


CONTRADICTIONS = {
    "values": replace(rows_compressed(np.eye(3, dtype=np.float32)), shape=(3, 2)),
    "order": _tensor(traversal_order=(0, 0)),
    "no order": _tensor(traversal_order=None),
    "levels": _tensor(dim_metadata=(dense_level(3),)),
    "no levels": _tensor(dim_metadata=None),
    "segments": _tensor(dim_metadata=(dense_level(3), compressed_level([0, 1], [0, 1, 2]))),
    "no segments": _tensor(dim_metadata=(dense_level(3), Record("DimensionMetadata", (("format", 1),)))),
    "falling segments": _tensor(dim_metadata=(dense_level(3), compressed_level([0, 2, 1, 3], [0, 1, 2]))),
    "negative": _tensor(dim_metadata=(dense_level(3), compressed_level([0, 1, 2, 3], [0, -1, 2]))),
    "negative size": _tensor(dim_metadata=(dense_level(-3), compressed_level([0, 1, 2, 3], [0, 1, 2]))),
    "huge": _tensor(dim_metadata=(dense_level(1 << 31), dense_level(1 << 31))),
    "block": _tensor(block_map=(7,)),
    "packed": Tensor("w", (3, 3), DType.INT4, sparsity=_tensor().sparsity).with_data(np.zeros(3, np.uint8)),
    "half a value": rows_compressed(np.eye(3, dtype=np.float32)).with_data(np.zeros(11, np.uint8)),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_encoding_that_contradicts_itself_is_refused(what: str) -> None:
    with pytest.raises(ValueError, match="'w'"):
        densify(CONTRADICTIONS[what])
