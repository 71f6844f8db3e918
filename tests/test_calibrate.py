"""Calibration: what it sees, what it refuses, and that neither depends on order or threads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from conftest import Run
from small_nets import classifier, images, random, through_file
from tersor.data.feed import Sample
from tersor.errors import DataError, RecipeError, RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.observers._counted import Counted
from tersor.observers._extremes import Extremes
from tersor.observers.min_max import Observer
from tersor.observers.percentile import Observer as Percentile
from tersor.passes import expose_values
from tersor.registry import names
from tersor.runtimes.engine import Engine
from tersor.runtimes.litert import Session
from tersor.stages.calibrate import calibrate
from tersor.stages.statistics import Statistics


def ranges(statistics: Statistics) -> dict[str, tuple[float, float]]:
    return {name: statistics.range(name) for name in statistics.observers}


def operator(kind: str, size: int) -> Model:
    """x [1,size] -> an operator `y` -> ABS `z`."""
    builder = Builder()
    y = builder.op(kind, [builder.input("x", [1, size])], [1, size], name="y")
    return through_file(builder.model([builder.op("ABS", [y], [1, size], name="z")]))


def samples(size: int, place: int, value: float) -> Sequence[Array]:
    """Twelve positive samples, of which the sixth holds a value at one place."""
    arrays = list(random([12, size], low=0.1))
    arrays[5][place] = value
    return arrays


@pytest.mark.parametrize("observer", names("observers"))
def test_neither_order_nor_threads_change_a_bit(observer: str, engine: Engine) -> None:
    data = images(24)
    once = calibrate(classifier(), data, observer, engine=engine, threads=1)
    again = calibrate(classifier(), data[::-1], observer, engine=engine, threads=3)
    assert ranges(once) == ranges(again)
    assert set(once.observers) == {"x", "conv", "mean", "dense", "scores"}
    assert once.samples == again.samples == 24


def test_a_generator_is_read_once_and_progress_told(engine: Engine) -> None:
    told: list[int] = []
    calibrate(classifier(), (image for image in images(5)), engine=engine, progress=told.append)
    assert told == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("observer", names("observers"))
@pytest.mark.parametrize("size", [1, 5, 64, 300])
@pytest.mark.parametrize("kind", ["LOG", "SQRT", "RSQRT"])
def test_activation_that_becomes_nan_is_found_wherever_it_stands(
    kind: str, size: int, observer: str, engine: Engine
) -> None:
    for place in {0, size // 2, size - 1}:
        with pytest.raises(DataError, match=r"activation 'y' takes the range .*float model does not stay finite"):
            calibrate(operator(kind, size), samples(size, place, -1.0), observer, engine=engine)


def test_activation_that_becomes_infinite_is_found(engine: Engine) -> None:
    with pytest.raises(DataError, match=r"activation 'y' takes the range"):
        calibrate(operator("LOG", 9), samples(9, 4, 0.0), engine=engine)


def test_nan_among_the_weights_is_found(engine: Engine) -> None:
    builder = Builder()
    weights = random([6, 4])
    weights[2, 1] = np.nan
    y = builder.op("FULLY_CONNECTED", [builder.input("x", [1, 4]), builder.constant("w", weights), None], [1, 6])
    model = through_file(builder.model([builder.op("ABS", [y], [1, 6])]))
    with pytest.raises(DataError, match="activation 'fully_connected'"):
        calibrate(model, random([12, 4]), engine=engine)


def test_constant_channel_is_no_constant_input(engine: Engine) -> None:
    data = images(12)
    data[..., 0] = 0
    assert calibrate(classifier(), data, engine=engine).samples == 12


def test_model_with_several_inputs_takes_names_or_order(engine: Engine) -> None:
    builder = Builder()
    x, index = builder.input("x", [4, 2]), builder.input("index", [1], DType.INT32)
    model = through_file(builder.model([builder.op("GATHER", [x, index], [1, 2], {"axis": 0})]))
    pairs = [(random([4, 2], seed), np.array([seed % 4])) for seed in range(8)]
    by_order = calibrate(model, pairs, engine=engine)
    by_name = calibrate(model, [{"index": i, "x": x} for x, i in pairs], engine=engine)
    wrapped = calibrate(model, [Sample(pair) for pair in pairs], engine=engine)
    assert ranges(by_order) == ranges(by_name) == ranges(wrapped)
    with pytest.raises(DataError, match=r"sample 0: it has 1 arrays, the model has 2 inputs"):
        calibrate(model, [(x,) for x, _ in pairs], engine=engine)
    with pytest.raises(DataError, match=r"sample 0: its inputs are named \['y'\], the model's \['x', 'index'\]"):
        calibrate(model, [{"y": x} for x, _ in pairs], engine=engine)
    with pytest.raises(DataError, match=r"sample 0: input 'index' is int32 in the model, but has fractions"):
        calibrate(model, [(x, np.array([0.5])) for x, _ in pairs], engine=engine)


@pytest.mark.parametrize("empty", [[], iter(()), np.zeros((0, 6, 6, 3))])
def test_no_samples_are_refused(empty: object, engine: Engine) -> None:
    with pytest.raises(DataError, match="no samples"):
        calibrate(classifier(), empty, engine=engine)  # type: ignore[arg-type]


def test_error_of_the_users_own_generator_is_passed_on_and_the_engine_lives(engine: Engine) -> None:
    def broken() -> object:
        yield images(1)[0]
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        calibrate(classifier(), broken(), engine=engine)  # type: ignore[arg-type]
    assert calibrate(classifier(), images(3), engine=engine).samples == 3


def test_model_that_the_runtime_refuses(engine: Engine) -> None:
    builder = Builder()
    model = builder.model([builder.op("ADD", [builder.input("x", [3]), builder.input("y", [4])], [3])])
    with pytest.raises(RuntimeFailure, match="the xnnpack kernels refuse the model"):
        calibrate(model, [(np.ones(3), np.ones(4))], engine=engine)
    assert calibrate(classifier(), images(3), engine=engine).samples == 3


def test_unknown_observer(engine: Engine) -> None:
    with pytest.raises(RecipeError, match="unknown observer"):
        calibrate(classifier(), images(3), "crystal_ball", engine=engine)


@pytest.mark.parametrize("observer", ["percentile", "entropy", "mse", "auto"])
def test_neither_inputs_nor_vectors_are_clipped(observer: str, engine: Engine) -> None:
    data = images(24)
    wide = calibrate(classifier(), data, "min_max", engine=engine)
    found = calibrate(classifier(), data, observer, engine=engine)
    for name in ("x", "mean", "dense", "scores"):
        assert found.range(name) == wide.range(name)
    assert not isinstance(found.observers["conv"], Observer)


def test_large_activation_is_counted_in_part(engine: Engine) -> None:
    """Of 40,000 values about 4,096 are counted, each for nine, and the two extremes once more."""
    builder = Builder()
    name = builder.op("ABS", [builder.input("x", [1, 100, 100, 4])], [1, 100, 100, 4])
    model = through_file(builder.model([builder.op("ADD", [name, name], [1, 100, 100, 4])]))
    data = random([12, 1, 100, 100, 4])
    found = calibrate(model, data, "percentile", engine=engine)
    observer = found.observers[name]
    assert isinstance(observer, Counted)
    assert observer.extremes.bounds == (np.abs(data).min(), np.abs(data).max())
    counts = observer.histogram.bins(0.0, 1.0).total
    assert counts == pytest.approx(data.size, rel=0.03)
    assert len(observer.histogram.keys) < 12 * 4400
    assert found.range(name)[1] == pytest.approx(1.0, abs=0.01)


def test_what_the_network_answers_is_never_clipped(engine: Engine) -> None:
    """A heat map is the answer where it peaks, and so is what its logistic reads; what a sum reads is clipped."""
    builder = Builder()
    x = builder.input("x", [1, 60, 60, 1])
    inner = builder.op("ABS", [x], [1, 60, 60, 1], name="inner")
    scores = builder.op("ADD", [inner, inner], [1, 60, 60, 1], name="scores")
    flat = builder.op(
        "RESHAPE", [scores, builder.constant("s", [1, 3600, 1])], [1, 3600, 1], {"new_shape": (1, 3600, 1)}
    )
    model = through_file(builder.model([builder.op("LOGISTIC", [flat], [1, 3600, 1], name="map")]))
    data = random([20, 1, 60, 60, 1])
    data[7, 0, 30, 30, 0] = 9
    found = calibrate(model, data, "percentile", engine=engine)
    assert found.range("inner")[1] < 1.1
    assert found.range("scores")[1] == 18
    assert found.range("map")[1] > 0.999
    assert found.range("inner", DType.INT16)[1] == 9


def test_values_that_share_a_scale_are_ranged_together() -> None:
    """A narrow tensor and a wide one of as many values: the percentile of all, not the wider of two percentiles."""
    narrow, wide = Percentile(), Percentile()
    narrow.observe(random([100_000]))
    wide.observe(np.concatenate([random([99_985], low=-1, high=1), np.full(15, 50.0, np.float32)]))
    both = Statistics({"a": narrow, "b": wide}, 1)
    assert wide.range(DType.INT8)[1] == 50
    assert both.range_of(["a", "b"])[1] == 50  # 15 of 200,000 on one side are more than 10
    wide = Percentile()
    wide.observe(np.concatenate([random([99_992]), np.full(8, 50.0, np.float32)]))
    assert wide.range(DType.INT8)[1] == 50
    assert Statistics({"a": narrow, "b": wide}, 1).range_of(["a", "b"])[1] < 1.01
    plain = {"a": observer_of(-1, 2), "b": observer_of(-3, 1)}
    assert Statistics(plain, 1).range_of(["a", "b"]) == (-3, 2)


def observer_of(low: float, high: float) -> Observer:
    """A min/max observer that saw one sample."""
    return Observer(Extremes(low, high, samples=1))


def test_outputs_of_the_first_samples_are_kept_if_wanted(engine: Engine, run: Run) -> None:
    data = images(7)
    found = calibrate(classifier(), data, engine=engine, threads=3, keep_outputs=3)
    assert len(found.outputs) == 3
    for own, sample in zip(found.outputs, data, strict=False):
        (wanted,) = run(classifier(), [sample[None]])
        assert np.array_equal(own[0], wanted)
    assert not calibrate(classifier(), data, engine=engine).outputs
    assert len(calibrate(classifier(), data, engine=engine, keep_outputs=99).outputs) == 7


@pytest.mark.parametrize(
    "shape", [(1, 90, 80, 4), (1, 7, 200, 16), (1, 9000, 3), (1, 4, 30, 100, 2), (2, 70, 60, 4)], ids=str
)
def test_values_that_are_shown_are_those_of_the_activation(shape: tuple[int, ...]) -> None:
    """All channels at some positions, each value standing for as many as were left out; small activations are whole."""
    builder = Builder()
    name = builder.op("ABS", [builder.input("x", shape)], shape)
    model = through_file(builder.model([name]))
    data = -np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for wanted in (1000, 1 << 20):
        graph, places = expose_values.apply(model.graph, [name], wanted)
        place, weight = places[name]
        session = Session(tflite.write_bytes(model.with_graph(graph)))
        shown = session.run([data])[place].reshape(-1, shape[-1])
        positions = shown[:, 0] / shape[-1]
        np.testing.assert_array_equal(shown, positions[:, None] * shape[-1] + np.arange(shape[-1]))
        assert len(set(positions)) == len(positions)
        assert weight * shown.size == pytest.approx(data.size, rel=0.25)
        assert shown.size <= max(wanted, 8 * shape[-1]) * shape[0] * 1.6
    assert weight == 1
    assert shown.size == data.size


def test_upsampled_patterns_have_all_their_places_shown() -> None:
    """Strides are odd, so that what repeats every other position is not seen at one place of it only."""
    builder = Builder()
    name = builder.op("ABS", [builder.input("x", [1, 64, 64, 2])], [1, 64, 64, 2])
    model = through_file(builder.model([name]))
    graph, places = expose_values.apply(model.graph, [name], 512)
    data = np.zeros((1, 64, 64, 2), np.float32)
    data[:, ::2, ::2], data[:, 1::2, ::2], data[:, ::2, 1::2], data[:, 1::2, 1::2] = 1, 2, 3, 4
    shown = Session(tflite.write_bytes(model.with_graph(graph))).run([data])[places[name][0]]
    _, counts = np.unique(shown, return_counts=True)
    assert len(counts) == 4
    assert counts.min() > 0.6 * counts.max()
