"""One suite for all observers: what is true of one is true of every file in the rib."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import numpy as np
import pytest

from tersor import registry
from tersor.errors import RecipeError
from tersor.ir.graph import Array

NAMES = registry.names("observers")
SAMPLES = [np.random.default_rng(n).normal(0, 10.0 ** (n % 5 - 2), 50).astype(np.float32) for n in range(40)]


def observed(name: str, samples: list[Array]) -> Any:
    observer = registry.plugin("observers", name).Observer()
    for sample in samples:
        observer.observe(sample)
    return observer


@pytest.mark.parametrize("name", NAMES)
def test_any_split_and_order_gives_the_same_bits(name: str) -> None:
    whole = observed(name, SAMPLES).range()
    for seed in range(5):
        shuffled = list(SAMPLES)
        random.Random(seed).shuffle(shuffled)
        cut = 1 + 7 * seed
        merged = observed(name, shuffled[cut:])
        merged.merge(observed(name, shuffled[:cut]))
        assert merged.range() == whole


@pytest.mark.parametrize("name", NAMES)
def test_merging_with_what_saw_nothing_changes_nothing(name: str) -> None:
    observer = observed(name, SAMPLES)
    observer.merge(observed(name, []))
    assert observer.range() == observed(name, SAMPLES).range()


@pytest.mark.parametrize("name", NAMES)
def test_views_are_not_kept(name: str) -> None:
    sample = SAMPLES[0].copy()
    observer = observed(name, [sample])
    before = observer.range()
    sample[:] = 1e9
    assert observer.range() == before


@pytest.mark.parametrize("name", NAMES)
def test_memory_does_not_grow_with_the_samples(name: str) -> None:
    few, many = observed(name, SAMPLES[:4]), observed(name, SAMPLES * 20)
    assert len(pickle.dumps(many)) < len(pickle.dumps(few)) + 200


@pytest.mark.parametrize("name", NAMES)
def test_extremes_suffice_where_the_observer_says_so(name: str) -> None:
    if registry.plugin("observers", name).Observer.extremes_suffice:
        extremes = [np.array([sample.min(), sample.max()]) for sample in SAMPLES]
        assert observed(name, extremes).range() == observed(name, SAMPLES).range()


@pytest.mark.parametrize("name", NAMES)
def test_range_without_samples_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="nothing was observed"):
        observed(name, [np.empty(0, np.float32)]).range()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_not_lost(name: str, bad: float) -> None:
    for samples in ([*SAMPLES, np.array([bad], np.float32)], [np.array([bad], np.float32), *SAMPLES]):
        low, high = observed(name, samples).range()
        assert not (math.isfinite(low) and math.isfinite(high))


def test_min_max_clips_nothing_and_moving_average_does() -> None:
    everything = np.concatenate(SAMPLES)
    assert observed("min_max", SAMPLES).range() == (everything.min(), everything.max())
    low, high = observed("moving_average", SAMPLES).range()
    assert everything.min() < low < high < everything.max()
    assert low == pytest.approx(np.mean([sample.min() for sample in SAMPLES]), rel=1e-6)


def test_unknown_observer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="unknown observer 'median': there are min_max, moving_average"):
        registry.plugin("observers", "median")
