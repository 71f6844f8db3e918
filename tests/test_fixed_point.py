"""Fixed-point arithmetic against exact integers and real functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.numerics.fixed_functions import (
    exp_on_negative,
    inverse_square_root,
    logarithm,
    logistic_16,
    one_minus_over_one_plus,
    one_over_one_plus,
    reciprocal,
    tanh_16,
)
from tersor.numerics.fixed_point import (
    quantize_multiplier,
    rescale_in_vectors,
    rescale_twice,
    rescale_up,
    rescale_wide,
    round_away,
)

ONE = 1 << 31
FACTORS = st.floats(1e-6, 60)


@given(st.floats(1e-8, 1e8))
def test_a_multiplier_is_the_nearest_of_31_bits(real: float) -> None:
    found = quantize_multiplier(real)
    assert ONE // 2 <= int(found.value) < ONE
    assert math.isclose(int(found.value) / ONE * 2.0 ** int(found.shift), real, rel_tol=2**-31)


def test_a_factor_below_what_a_shift_reaches_is_zero() -> None:
    assert [int(quantize_multiplier(real).value) for real in (0.0, 2.0**-40)] == [0, 0]
    assert int(quantize_multiplier(1 - 2**-40).value) == ONE // 2  # rounds up to 1


@given(st.integers(-(1 << 24), 1 << 24), FACTORS)
def test_each_way_to_multiply_is_near(value: int, real: float) -> None:
    values, by = np.array([value]), quantize_multiplier(real)
    assert abs(int(rescale_twice(values, by)[0]) - value * real) < 1.01
    assert abs(int(rescale_up(values, by)[0]) - value * real) < 1.01
    assert abs(int(rescale_wide(values, by)[0]) - value * real) < 0.51 + abs(value * real) * 2**-15


def test_halves() -> None:
    """A quarter: what is left after the product is exact, so that only the shift rounds."""
    values, quarter = np.array([-10, -6, -2, 2, 6, 10]), quantize_multiplier(0.25)
    assert rescale_twice(values, quarter).tolist() == [-3, -2, -1, 1, 2, 3]
    assert rescale_up(values, quarter).tolist() == [-2, -1, 0, 1, 2, 3]
    assert rescale_in_vectors(values, quarter, 4).tolist() == [-2, -1, 0, 1, 2, 3]
    assert rescale_in_vectors(values[::-1], quarter, 4).tolist() == [3, 2, 1, 0, -2, -3]
    assert round_away(np.array([-2.5, -0.5, 0.5, 2.5])).tolist() == [-3, -1, 1, 3]


@pytest.mark.parametrize("bits", [4, 5])
def test_the_exponential(bits: int) -> None:
    values = -np.arange(0, ONE, 9876543, dtype=np.int64)
    wanted = np.exp(values / 2.0 ** (31 - bits))
    assert np.abs(exp_on_negative(values, bits) / ONE - wanted).max() < 1e-7


def test_the_divisions() -> None:
    values = np.arange(0, ONE, 9876543, dtype=np.int64)
    real = values / ONE
    assert np.abs(one_over_one_plus(values) / ONE - 1 / (1 + real)).max() < 5e-9
    assert np.abs(one_minus_over_one_plus(values) / ONE - (1 - real) / (1 + real)).max() < 1e-8
    sums = np.arange(1 << 19, ONE, 9876543, dtype=np.int64)
    inverse, halvings = reciprocal(sums, 12)
    assert np.abs(inverse / ONE * 2.0**-halvings - 2.0**19 / sums).max() < 5e-9


def test_roots_logarithms_and_16_bit_functions_are_what_they_approximate() -> None:
    integers = np.concatenate([np.arange(1, 500), np.random.default_rng(0).integers(1, 1 << 31, 500)])
    root = inverse_square_root(integers)
    np.testing.assert_allclose(root.value * 2.0 ** (root.shift - 31), integers**-0.5, rtol=2e-6)
    numbers = np.random.default_rng(1).uniform(1, 1000, 500)
    logs = logarithm((numbers * 2**19).astype(np.int64), 12, 5)
    np.testing.assert_allclose(logs / 2**26, np.log(numbers), atol=5e-6)
    every = np.arange(-(1 << 15), 1 << 15)
    np.testing.assert_allclose(logistic_16(every) / 2**15, 1 / (1 + np.exp(-every / 2**12)), atol=2e-4)
    np.testing.assert_allclose(tanh_16(every) / 2**15, np.tanh(every / 2**12), atol=6e-4)
