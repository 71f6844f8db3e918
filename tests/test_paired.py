"""What the benchmark calls a difference: `paired.py` and `accuracy_verdicts.py` in `benchmarks/peers`."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PEERS = Path(__file__).parents[1] / "benchmarks" / "peers"


@pytest.fixture(scope="module")
def paired() -> dict[str, Any]:
    """What the module defines."""
    return runpy.run_path(str(PEERS / "paired.py"))


def hits(*counts: int) -> tuple[Any, Any]:
    """Hits of two files: both, ours alone, theirs alone, neither."""
    ours, theirs = [True, True, False, False], [True, False, True, False]
    return np.repeat(ours, counts), np.repeat(theirs, counts)


@pytest.mark.parametrize(
    ("counts", "p"),
    [((90, 8, 1, 1), 2 * 10 / 512), ((90, 1, 8, 1), 2 * 10 / 512), ((50, 5, 5, 0), 1.0), ((100, 0, 0, 0), 1.0)],
)
def test_mcnemar_is_exact(paired: dict[str, Any], counts: tuple[int, ...], p: float) -> None:
    assert paired["exact_mcnemar"](*hits(*counts)) == pytest.approx(p)


def test_bootstrap_sees_half_the_noise_and_not_chance(paired: dict[str, Any]) -> None:
    noise = np.random.default_rng(1).exponential(size=(2, 200))
    halved = paired["bootstrap"](noise[0] / 2, noise[0])
    assert halved["difference"] == pytest.approx(10 * np.log10(2))
    assert halved["interval"] == pytest.approx([10 * np.log10(2)] * 2)
    assert halved["p"] < 0.001
    chance = paired["bootstrap"](noise[0], noise[1])
    assert chance["interval"][0] < 0 < chance["interval"][1]
    assert chance["p"] > 0.05
    assert paired["bootstrap"](noise[0], noise[0])["p"] == 1.0


def test_wilson_agrees_with_ours(paired: dict[str, Any]) -> None:
    from tersor.numerics.metrics import wilson_interval

    assert paired["wilson"](np.arange(50) < 48) == pytest.approx(wilson_interval(48, 50))


def test_holm_stops_at_the_first_that_fails() -> None:
    holm = runpy.run_path(str(PEERS / "accuracy_verdicts.py"))["holm"]
    assert holm({"a": 0.012, "b": 0.001, "c": 0.03, "d": 0.04}) == {"a", "b"}
    assert holm({}) == set()
