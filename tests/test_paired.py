"""What the benchmark calls a difference: `paired.py`, `accuracy_views.py` and `accuracy_verdicts.py` of its `peers`."""

from __future__ import annotations

import itertools
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


def test_flips_are_those_of_all_signs(paired: dict[str, Any]) -> None:
    """A sample with several views flips as one."""
    for gained in ([3, -1, 2, 5, 0, 2, -4], [4, 4, -1], [2, -2], [0, 0]):
        sizes = np.abs(gained)
        sums = [np.dot(signs, sizes) for signs in itertools.product((1, -1), repeat=len(sizes))]
        expected = np.mean(np.abs(sums) >= abs(sum(gained)))
        assert paired["exact_flips"](np.array(gained)) == pytest.approx(expected)


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the module about views defines."""
    monkeypatch.syspath_prepend(str(PEERS))
    return runpy.run_path(str(PEERS / "accuracy_views.py"))


@pytest.mark.parametrize(
    ("kind", "shape", "count"),
    [
        ("none", (8, 8, 3), 1),
        ("photograph", (32, 32, 3), 2),
        ("image", (28, 28, 1), 18),
        ("small image", (32, 32, 3), 50),
        ("spectrogram", (49, 10, 1), 30),
    ],
)
def test_views_are_others_and_begin_with_the_sample(
    views: dict[str, Any], kind: str, shape: tuple[int, ...], count: int
) -> None:
    sample = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = views["VIEWS"][kind](sample, 7)
    assert found.shape == (count, *shape)
    assert found.dtype == np.float32
    assert np.array_equal(found[0], sample)
    assert len({view.tobytes() for view in found}) == count
    assert np.array_equal(views["VIEWS"][kind](sample, 7), found)


def test_views_of_a_sample_count_as_one(views: dict[str, Any], tmp_path: Path) -> None:
    """Two draws with the samples 0, 1 and 1, 2: the surplus of 1 is that of both."""
    ours, theirs = np.ones((2, 3), bool), np.zeros((2, 3), bool)
    for draw, sources in enumerate(([0, 1], [1, 2])):
        (tmp_path / str(draw)).mkdir()
        same: dict[str, Any] = {"sources": np.array(sources), "tersor.int8": ours, "other.int8": theirs}
        np.savez(tmp_path / str(draw) / "same.npz", **same)
    found = views["combined"]([tmp_path / "0", tmp_path / "1"])
    assert {key: found[key] for key in ("views", "draws", "samples", "judged")} == {
        "views": 3, "draws": 2, "samples": 3, "judged": 12
    }  # fmt: skip
    compared = found["files"]["other.int8"]["tersor_less_this"]
    assert compared["difference"] == 1
    assert compared["interval"] == [1, 1]
    assert compared["p"] == pytest.approx(2 / 2**3)
    assert found["files"]["tersor.int8"] == {"agreement": 1}


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
