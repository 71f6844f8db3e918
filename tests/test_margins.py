"""Margins of vectors: where they are, how wide, and that they hold what comes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from small_nets import RELU, dense, through_file
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model
from tersor.observers.min_max import Observer
from tersor.recipe import load_recipe
from tersor.stages.plan import plan
from tersor.stages.plan.margins import with_margin
from tersor.stages.statistics import Statistics

RELU6 = 3


def net(activation: int = 0, size: int = 10) -> Model:
    """x [1,4] -> FULLY_CONNECTED `logits` with a fused activation."""
    builder = Builder()
    x = builder.input("x", [1, 4])
    weights = builder.constant("w", np.ones((size, 4), np.float32))
    options = {"fused_activation_function": activation}
    return through_file(
        builder.model([builder.op("FULLY_CONNECTED", [x, weights, None], [1, size], options, name="logits")])
    )


def statistics(samples: Array) -> Statistics:
    """What calibration knows of `logits` [samples, values], and of an input."""
    observers = {"x": Observer(), "logits": Observer()}
    for sample in samples:
        observers["x"].observe(sample)
        observers["logits"].observe(sample)
    return Statistics(observers, len(samples))


def margin(graph: Graph, seen: Statistics, dtype: DType = DType.INT8) -> tuple[float, float]:
    """The range with its margin."""
    return with_margin(graph, seen, ["logits"], seen.range("logits"), dtype)[0]


def gumbel(count: int, seed: int) -> Array:
    """Samples of ten values, the largest of which have the Gumbel distribution around 20 with b = 2."""
    generator = np.random.default_rng(seed)
    samples = generator.uniform(-1, 1, (count, 10))
    samples[:, 0] = generator.gumbel(20, 2, count)
    return samples.astype(np.float32)


@pytest.mark.parametrize("count", [4, 10, 30, 100])
def test_margin_holds_what_the_range_seen_clips(count: int) -> None:
    graph = net().graph
    unseen = gumbel(2000, 999).max(axis=1)
    clipped, held = 0.0, 0.0
    for seed in range(20):
        seen = statistics(gumbel(count, seed))
        low, high = margin(graph, seen)
        clipped += np.mean(unseen > seen.range("logits")[1]) / 20
        held += np.mean(unseen > high) / 20
        assert low >= -2
    assert clipped > 0.5 / count
    assert held < 0.5 * clipped


def test_margin_is_what_the_formula_says() -> None:
    """Rounding is cheap for ten values, so the rarest value foreseen decides: 1 in 10 x 50."""
    samples = gumbel(50, 1)
    seen = statistics(samples)
    highs = samples.max(axis=1).astype(np.float64)
    b = highs.std(ddof=1) * math.sqrt(6) / math.pi
    expected = highs.mean() - b * (np.euler_gamma + math.log(-math.log1p(-1 / 500)))
    assert margin(net().graph, seen)[1] == pytest.approx(expected, rel=1e-9)


def test_many_values_leave_nothing_to_add() -> None:
    """For 100,000 values per sample a wider range costs more by rounding than it saves."""
    seen = statistics(gumbel(30, 2))
    assert margin(net(size=100_000).graph, seen) == seen.range("logits")


@pytest.mark.parametrize("between", [[], ["RESHAPE"], ["RESHAPE", "SQUEEZE"]])
@pytest.mark.parametrize("kept", [False, True])
def test_before_a_softmax_only_the_largest_counts(between: list[str], kept: bool) -> None:
    """The rarest value foreseen decides, however many there are; nothing is added below, where nothing is lost."""
    builder = Builder()
    weights = builder.constant("w", np.ones((100_000, 4), np.float32))
    y = builder.op("FULLY_CONNECTED", [builder.input("x", [1, 4]), weights, None], [1, 100_000], name="logits")
    for kind in between:
        y = builder.op(kind, [y], [100_000] if kind == "SQUEEZE" else [1, 100_000])
    outputs = [builder.op("SOFTMAX", [y], builder.shape_of(y), {"beta": 1.0})]
    graph = through_file(builder.model([*outputs, *(["logits"] if kept else [])])).graph
    seen = statistics(gumbel(50, 1))
    few = margin(net().graph, seen)
    expected = seen.range("logits") if kept else (seen.range("logits")[0], few[1])
    assert margin(graph, seen) == expected
    assert few[1] > seen.range("logits")[1]


def test_bounded_and_constant_extremes_have_no_margin() -> None:
    seen = statistics(gumbel(30, 3))
    assert margin(net(RELU6).graph, seen) == seen.range("logits")
    same = statistics(np.repeat(gumbel(1, 4), 30, axis=0))
    assert margin(net().graph, same) == same.range("logits")
    one = statistics(gumbel(1, 5))
    assert margin(net().graph, one) == one.range("logits")
    assert with_margin(net().graph, seen, ["x"], seen.range("x"), DType.INT8) == (seen.range("x"), "")


def test_side_without_values_stays_at_zero() -> None:
    seen = statistics(np.abs(gumbel(30, 6)))
    low, high = margin(net(RELU).graph, seen)
    assert low == seen.range("logits")[0] >= 0
    assert high > seen.range("logits")[1]


def test_average_of_bounded_values_is_bounded() -> None:
    builder = Builder()
    x = builder.input("x", [1, 2, 2, 4])
    y = builder.op("RELU6", [x], [1, 2, 2, 4])
    axes = builder.constant("axes", np.array([1, 2], np.int32))
    z = builder.op("MEAN", [y, axes], [1, 4], name="logits")
    graph = through_file(builder.model([dense(builder, z, 3)])).graph
    seen = statistics(gumbel(30, 7))
    assert margin(graph, seen) == seen.range("logits")


def test_plan_says_so() -> None:
    decided = plan(net(), load_recipe("int8"), statistics(gumbel(30, 8)))
    assert "for samples not seen, whose extremes vary" in decided.tensors["logits"].why
    assert "not seen" not in decided.tensors["x"].why
