"""Arithmetic against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.ir.dtypes import DType
from tersor.ir.graph import Record, Tensor
from tersor.ir.quant import QuantParams
from tersor.numerics import affine, metrics
from tersor.numerics.packing import pack, unpack
from tersor.numerics.sparse import densify

FINITE = st.floats(-1e6, 1e6, width=32)
RANGES = st.tuples(FINITE, FINITE).map(lambda pair: (min(pair), max(pair)))
ACTIVATIONS = st.sampled_from([DType.INT8, DType.INT16, DType.UINT8])


@given(RANGES, ACTIVATIONS)
def test_asymmetric_parameters_cover_the_range_and_hold_zero(bounds: tuple[float, float], dtype: DType) -> None:
    params = affine.asymmetric_params(*bounds, dtype)
    low, high = params.real_range
    assert low <= min(bounds[0], 0) + params.scale
    assert high >= max(bounds[1], 0) - params.scale
    assert affine.dequantize(affine.quantize(np.zeros(1), params), params)[0] == 0


@given(RANGES, st.floats(0, 1))
def test_rounding_costs_at_most_half_a_step_inside_the_range(bounds: tuple[float, float], place: float) -> None:
    params = affine.asymmetric_params(*bounds, DType.INT8)
    low, high = params.real_range
    value = np.array([low + place * (high - low)])
    error = abs(float(affine.dequantize(affine.quantize(value, params), params)[0]) - value[0])
    assert error <= params.scale * 0.5001 + abs(value[0]) * 1e-6


@given(RANGES)
def test_symmetric_parameters_have_zero_point_zero_and_leave_the_lowest_integer(bounds: tuple[float, float]) -> None:
    params = affine.symmetric_params(*bounds, DType.INT16)
    assert params.zero_points == (0,)
    ends = affine.quantize(np.array(bounds), params)
    assert ends.min() >= -32767


@pytest.mark.parametrize("bounds", [(0.0, 0.0), (0.0, 1e-45), (-1e-39, 0.0), (0.0, 3e38)])
def test_extreme_ranges_give_scales_that_kernels_can_divide_by(bounds: tuple[float, float]) -> None:
    for choose in (affine.asymmetric_params, affine.symmetric_params):
        scale = choose(*bounds, DType.INT8).scale
        assert np.float32(scale) >= np.finfo(np.float32).tiny
        assert math.isfinite(scale)


@pytest.mark.parametrize("bounds", [(math.nan, 1.0), (0.0, math.inf), (2.0, 1.0)])
def test_what_is_no_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="not a range"):
        affine.asymmetric_params(*bounds, DType.INT8)


def test_weights_use_the_narrow_range_and_a_scale_per_channel() -> None:
    weights = np.array([[1.0, -2.0], [0.0, 0.0], [-0.5, 0.25]], np.float32)
    params = affine.weight_params(weights, DType.INT8, 0)
    assert params.scales == pytest.approx([2 / 127, 2 / 127, 0.5 / 127])
    quantized = affine.quantize(weights, params, narrow=True)
    assert quantized.min() == -127
    assert affine.weight_params(weights, DType.INT4, None).scales == pytest.approx([2 / 7])


def test_bias_has_the_scale_of_the_products() -> None:
    weights = affine.weight_params(np.array([[1.0], [2.0]], np.float32), DType.INT8, 0)
    params = affine.bias_params(0.5, weights, DType.INT32)
    assert params.scales == pytest.approx([0.5 * scale for scale in weights.scales])


def test_bias_that_would_overflow_widens_its_channel_only() -> None:
    weights = affine.weight_params(np.array([[1e-12], [1.0]], np.float32), DType.INT8, 0)
    wider, note = affine.fit_bias(np.array([1.0, 1.0], np.float32), 1.0, weights)
    assert wider.scales[0] > weights.scales[0]
    assert wider.scales[1] == weights.scales[1]
    assert 1.0 / wider.scales[0] <= 2**31 - 1
    assert "overflow" in note


@given(st.sampled_from([DType.INT4, DType.INT2, DType.UINT4]), st.integers(0, 33), st.randoms(use_true_random=False))
def test_packed_values_come_back(dtype: DType, count: int, random: object) -> None:
    low, high = dtype.integer_range
    values = np.random.default_rng(count).integers(low, high + 1, count).astype(dtype.numpy)
    packed = pack(values, dtype)
    assert packed.nbytes == dtype.byte_size(count)
    assert np.array_equal(unpack(packed, dtype, (count,)), values)


def test_first_packed_value_lies_in_the_low_bits() -> None:
    assert pack(np.array([1, -1], np.int8), DType.INT4).tolist() == [0xF1]


def test_too_few_packed_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="hold 2 int4 values, not 3"):
        unpack(np.zeros(1, np.uint8), DType.INT4, (3,))


def test_sparse_rows_become_dense() -> None:
    segments = Record("Int32Vector", (("values", (0, 2, 2, 3)),))
    indices = Record("Int32Vector", (("values", (0, 3, 1)),))
    levels = (
        Record("DimensionMetadata", (("format", 0), ("dense_size", 3))),
        Record("DimensionMetadata", (("format", 1), ("array_segments", segments), ("array_indices", indices))),
    )
    sparsity = Record(
        "SparsityParameters", (("traversal_order", (0, 1)), ("block_map", None), ("dim_metadata", levels))
    )
    tensor = Tensor("s", (3, 4), DType.FLOAT32, sparsity=sparsity).with_data(
        np.array([1, 2, 3], np.float32).view(np.uint8)
    )
    dense = densify(tensor)
    assert dense.sparsity is None
    assert dense.data is not None
    assert dense.data.tolist() == [[1, 0, 0, 2], [0, 0, 0, 0], [0, 3, 0, 0]]


def test_noise_ratio_and_agreement_of_known_values() -> None:
    reference = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert metrics.sqnr_db(reference, reference) == math.inf
    assert metrics.sqnr_db(reference, reference * 0.9) == pytest.approx(20.0)


def test_auc_counts_pairs_and_ties_half() -> None:
    scores, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert metrics.roc_auc(scores, positive) == 0.75
    assert metrics.roc_auc(np.ones(4), positive) == 0.5
    with pytest.raises(ValueError, match="both classes"):
        metrics.roc_auc(scores, np.ones(4, bool))


@given(st.integers(1, 500), st.data())
def test_wilson_interval_holds_the_proportion(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = metrics.wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1


def test_wilson_interval_of_a_textbook_example() -> None:
    assert metrics.wilson_interval(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)


@pytest.mark.parametrize("axis", [None, 0, 3])
def test_least_error_ranges_of_weights_cost_less_than_whole_ones(axis: int | None) -> None:
    """Four bits of a bell: clipping its tails saves more than it costs; a channel of zeros stays harmless."""
    weights = np.random.default_rng(0).normal(0, 1, (8, 3, 3, 16)).astype(np.float32)
    weights[5], weights[..., 2] = 0, 0

    def error(params: QuantParams) -> float:
        rounded = affine.dequantize(affine.quantize(weights, params, narrow=True), params)
        return float(np.sum((rounded - weights) ** 2))

    whole, best = (affine.weight_params(weights, DType.INT4, axis, observer) for observer in ("min_max", "mse"))
    assert error(best) < 0.85 * error(whole)
    assert all(0.3 * a < b <= a for a, b in zip(whole.scales, best.scales, strict=True))
    assert len(best.scales) == (1 if axis is None else weights.shape[axis])
    twice = affine.weight_params(weights * 2, DType.INT4, axis, "mse")
    assert twice.scales == pytest.approx([2 * scale for scale in best.scales])
