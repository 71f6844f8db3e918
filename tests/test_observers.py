"""One suite for all observers: what is true of one is true of every file in the rib."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import numpy as np
import pytest

from conftest import Cli
from tersor import registry
from tersor.errors import RecipeError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.clipping import _Divergence, quantization_error
from tersor.numerics.histogram import Histogram

NAMES = registry.names("observers")
SAMPLES = [np.random.default_rng(n).normal(0, 10.0 ** (n % 5 - 2), 50).astype(np.float32) for n in range(40)]


TYPES = [DType.INT8, DType.INT16]


def observed(name: str, samples: list[Array]) -> Any:
    observer = registry.plugin("observers", name).Observer()
    for sample in samples:
        observer.observe(sample)
    return observer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", TYPES)
def test_any_split_and_order_gives_the_same_bits(name: str, dtype: DType) -> None:
    whole = observed(name, SAMPLES).range(dtype)
    for seed in range(5):
        shuffled = list(SAMPLES)
        random.Random(seed).shuffle(shuffled)
        cut = 1 + 7 * seed
        merged = observed(name, shuffled[cut:])
        merged.merge(observed(name, shuffled[:cut]))
        assert merged.range(dtype) == whole


@pytest.mark.parametrize("name", NAMES)
def test_merging_with_what_saw_nothing_changes_nothing(name: str) -> None:
    observer = observed(name, SAMPLES)
    observer.merge(observed(name, []))
    assert observer.range(DType.INT8) == observed(name, SAMPLES).range(DType.INT8)


@pytest.mark.parametrize("name", NAMES)
def test_views_are_not_kept(name: str) -> None:
    sample = SAMPLES[0].copy()
    observer = observed(name, [sample])
    before = observer.range(DType.INT8)
    sample[:] = 1e9
    assert observer.range(DType.INT8) == before


@pytest.mark.parametrize("name", NAMES)
def test_memory_does_not_grow_with_the_samples(name: str) -> None:
    few, many = observed(name, SAMPLES), observed(name, SAMPLES * 20)
    assert len(pickle.dumps(many)) < len(pickle.dumps(few)) + 200


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_bounded_whatever_the_values(name: str) -> None:
    everything = np.arange(1 << 16, dtype=np.uint32) << 16
    values = everything.view(np.float32)
    observer = observed(name, [values[np.isfinite(values)]] * 3)
    assert len(pickle.dumps(observer)) < 1 << 20
    assert np.isfinite(observer.range(DType.INT8)).all()


@pytest.mark.parametrize("name", NAMES)
def test_extremes_suffice_where_the_observer_says_so(name: str) -> None:
    if registry.plugin("observers", name).Observer.extremes_suffice:
        extremes = [np.array([sample.min(), sample.max()]) for sample in SAMPLES]
        assert observed(name, extremes).range(DType.INT8) == observed(name, SAMPLES).range(DType.INT8)


@pytest.mark.parametrize("name", NAMES)
def test_range_without_samples_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="nothing was observed"):
        observed(name, [np.empty(0, np.float32)]).range(DType.INT8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_not_lost(name: str, bad: float) -> None:
    for samples in ([*SAMPLES, np.array([bad], np.float32)], [np.array([bad], np.float32), *SAMPLES]):
        low, high = observed(name, samples).range(DType.INT8)
        assert not (math.isfinite(low) and math.isfinite(high))


def test_min_max_clips_nothing_and_moving_average_does() -> None:
    everything = np.concatenate(SAMPLES)
    assert observed("min_max", SAMPLES).range(DType.INT8) == (everything.min(), everything.max())
    low, high = observed("moving_average", SAMPLES).range(DType.INT8)
    assert everything.min() < low < high < everything.max()
    assert low == pytest.approx(np.mean([sample.min() for sample in SAMPLES]), rel=1e-6)


def test_unknown_observer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="unknown observer 'median': there are auto, entropy, min_max"):
        registry.plugin("observers", "median")


CLIPPING = ["auto", "entropy", "mse", "percentile"]
QUIET = [np.random.default_rng(n).normal(0, 1, 4000).astype(np.float32) for n in range(20)]
"""Normal values, whose largest of 80,000 is about 4.3."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", TYPES)
def test_range_lies_inside_what_was_seen_and_names_its_method(name: str, dtype: DType) -> None:
    observer = observed(name, QUIET)
    low, high = observer.range(dtype)
    least, most = observer.extremes.bounds
    bound = max(-least, most) if dtype is DType.INT16 else most
    assert low < -2
    assert 2 < high <= bound
    assert observer.method(dtype) in NAMES


@pytest.mark.parametrize(("name", "spike"), [("entropy", 30.0), ("percentile", 1e4)])
def test_lone_spike_is_clipped(name: str, spike: float) -> None:
    """One value that is far larger than the others takes resolution from 80,000 of them."""
    samples = [*QUIET, np.array([spike], np.float32)]
    _, high = observed(name, samples).range(DType.INT8)
    assert high < 700
    assert high < spike / 2
    assert observed("min_max", samples).range(DType.INT8)[1] == spike


def test_divergence_is_that_of_the_definition() -> None:
    """Against the histograms written out: reference with outliers in its last bins, quantized form level by level."""
    counts = np.floor(np.random.default_rng(3).exponential(20, 4096) * np.exp(-((np.arange(4096) - 2048) ** 2) / 2e5))
    for below, above in ((1024, 1024), (300, 700), (2048, 2048)):
        inside = counts[2048 - below : 2048 + above]
        reference = inside.copy()
        reference[0] += counts[: 2048 - below].sum()
        reference[-1] += counts[2048 + above :].sum()
        quantized = np.zeros_like(inside)
        for level in range(256):
            own = slice(level * len(inside) // 256, (level + 1) * len(inside) // 256)
            occupied = inside[own] > 0
            if occupied.any():
                quantized[own][occupied] = inside[own].sum() / occupied.sum()
        seen = reference > 0
        p, q = reference[seen] / reference.sum(), quantized[seen] / quantized.sum()
        expected = np.sum(p * np.log(p / np.maximum(q, 1 / counts.sum())))
        assert _Divergence(counts, 256)(below, above) == pytest.approx(expected, rel=1e-9)


def test_auto_keeps_extremes_unless_clipping_pays_on_other_samples() -> None:
    uniform = [np.random.default_rng(n).uniform(-1, 1, 2000).astype(np.float32) for n in range(20)]
    observer = observed("auto", uniform)
    assert observer.range(DType.INT8)[1] > 0.99
    assert observed("auto", QUIET[:1]).method(DType.INT8) == "min_max"
    heavy = [np.random.default_rng(n).laplace(0, 1, 20_000).astype(np.float32) for n in range(20)]
    auto = observed("auto", heavy)
    assert auto.method(DType.INT8) != "min_max"
    assert auto.range(DType.INT8)[1] < 0.9 * auto.extremes.bounds[1]


def test_percentile_clips_one_in_ten_thousand() -> None:
    ramp = [np.arange(1, 100_001, dtype=np.float32)]
    low, high = observed("percentile", ramp).range(DType.INT8)
    assert low == 0
    assert 99_995 <= high <= 100_000
    spread = [np.exp2(np.arange(100_000, dtype=np.float32) / 1000)]
    assert np.log2(observed("percentile", spread).range(DType.INT8)[1]) * 1000 == pytest.approx(99_995, abs=12)


def test_mse_range_has_the_least_error_of_real_rounding() -> None:
    """Its error, measured by quantizing every value, is within 1 % of the best of many ranges."""
    values = np.random.default_rng(0).laplace(0, 1, 200_000).astype(np.float32)
    low, high = observed("mse", [values]).range(DType.INT8)

    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        return float(np.sum((np.clip(np.rint(values / step) * step, low, high) - values) ** 2))

    best = min(error(-a, b) for a in np.linspace(5, 14, 19) for b in np.linspace(5, 14, 19))
    assert error(low, high) < 1.01 * best


@pytest.mark.parametrize("dtype", TYPES)
def test_expected_error_is_the_measured_one(dtype: DType) -> None:
    values = np.random.default_rng(1).normal(0, 1, 300_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    bins = histogram.bins(float(values.min()), float(values.max()))
    q_low, q_high = dtype.integer_range
    for bound in (1.0, 2.5, 4.0):
        step = bound / q_high if dtype is DType.INT16 else 2 * bound / (q_high - q_low)
        exact = values.astype(np.float64)
        measured = float(np.sum((np.clip(np.rint(exact / step) * step, -bound, bound) - exact) ** 2))
        expected = quantization_error(bins, np.array([-bound]), np.array([bound]), dtype)[0]
        assert expected == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("name", CLIPPING)
def test_part_of_the_values_stands_for_all(name: str) -> None:
    """Every seventh value and the exact extremes lead to nearly the range of all values."""
    observer = registry.plugin("observers", name).Observer()
    for sample in QUIET:
        observer.observe(sample[3::7], (float(sample.min()), float(sample.max())), 7)
    low, high = observed(name, QUIET).range(DType.INT8)
    assert observer.range(DType.INT8) == pytest.approx((low, high), rel=0.12)


def test_extremes_know_means_and_deviations() -> None:
    extremes = observed("min_max", SAMPLES).extremes
    highs = np.array([sample.max() for sample in SAMPLES], np.float64)
    assert extremes.means[1] == pytest.approx(highs.mean(), rel=1e-12)
    assert extremes.deviations[1] == pytest.approx(highs.std(ddof=1), rel=1e-12)
    assert observed("min_max", SAMPLES[:1]).extremes.deviations == (0.0, 0.0)


def test_command_line_lists_all_observers(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    told = cli("quantize", "--help").out
    assert all(name in told for name in NAMES)
