"""Data sets of other libraries: TensorFlow's, PyTorch's, Keras's, and what looks like them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_nets import classifier, dense, images, through_file
from tersor.data.feed import Sample
from tersor.data.preprocess import Preprocess
from tersor.errors import DataError, TersorWarning
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.recipe import load_recipe
from tersor.runtimes.engine import Engine
from tersor.stages.calibrate import calibrate
from tersor.stages.load_data import load_data
from tersor.stages.outcome import Options
from tersor.stages.produce import produce

X = images(10)
Y = np.arange(10) % 5


def require_all(data: Any, labels: bool = True, count: int = 10) -> None:
    """The samples are X and Y, however often they are gone through."""
    for _ in range(2):
        samples = list(data)
        assert len(samples) == count
        for number, sample in enumerate(samples):
            values = np.asarray(sample.inputs)
            assert values.shape == (6, 6, 3)
            assert (values == X[number]).all()
            assert sample.label == (Y[number] if labels else None)


class ByNumber:
    """Like PyTorch's map-style data set: it does not stop by itself."""

    def __init__(self, batch: int = 0) -> None:
        self.batch = batch
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 10 if not self.batch else -(-10 // self.batch)

    def __getitem__(self, place: int) -> tuple[Array, Any]:
        assert 0 <= place < len(self)
        self.asked.append(place)
        if not self.batch:
            return X[place], int(Y[place])
        part = slice(place * self.batch, (place + 1) * self.batch)
        return X[part], Y[part]


class Tensor:
    """Like PyTorch's: off the graph and off the device before NumPy may see it."""

    def __init__(self, values: Array, steps: int = 2) -> None:
        self.values, self.steps = values, steps

    def detach(self) -> Tensor:
        return Tensor(self.values, self.steps - 1)

    cpu = detach

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        if self.steps:
            raise RuntimeError("still on the device")
        return self.values


def test_by_number_has_a_size_and_gives_only_what_is_asked_for() -> None:
    source = ByNumber()
    data = load_data(source, classifier())
    require_all(data)
    assert len(data) == 10
    first, rest = data.split(4)
    source.asked.clear()
    assert len(list(first)) == 4
    assert source.asked == list(first.chosen or ())
    assert {sample.source for part in (first, rest) for sample in part} == {f"ByNumber[{n}]" for n in range(10)}


def test_batches_by_number_are_taken_apart() -> None:
    data = load_data(ByNumber(batch=4), classifier())
    require_all(data)
    assert data.size is None
    first, rest = data.split(3)
    assert [sample.label for sample in (*first, *rest)] == list(Y)


@pytest.mark.parametrize("pack", [lambda x, y: (x, y), lambda x, y: [x, y], lambda x, y: (x, y, np.ones(len(y)))])
def test_function_that_yields_batches(pack: Any) -> None:
    def batches() -> Iterator[Any]:
        for start in range(0, 10, 4):
            yield pack(X[start : start + 4], Y[start : start + 4])

    require_all(load_data(batches, classifier()))


def test_plain_arrays_lists_and_inputs_alone() -> None:
    require_all(load_data(X, classifier()), labels=False)
    require_all(load_data(list(X), classifier()), labels=False)
    require_all(load_data([(x,) for x in X], classifier()), labels=False)
    require_all(load_data([Sample(x, y) for x, y in zip(X, Y, strict=True)], classifier()))


def test_inputs_by_name_keep_their_names() -> None:
    (sample, *_) = load_data([({"x": X[:4]}, Y[:4])], classifier())
    assert isinstance(sample.inputs, dict)
    assert (sample.inputs["x"] == X[0]).all()


def test_normalization_is_applied() -> None:
    (sample, *_) = load_data(ByNumber(), classifier(), Preprocess(rescale=2.0))
    assert (np.asarray(sample.inputs) == 2 * X[0]).all()


def test_tensors_leave_their_graph_and_device() -> None:
    (sample,) = load_data([(Tensor(X[0]), Tensor(np.array(3)))], classifier())
    assert (np.asarray(sample.inputs) == X[0]).all()
    assert sample.label == 3


def two_inputs() -> Model:
    builder = Builder("two")
    a, b = builder.input("a", [1, 4]), builder.input("b", [1, 4])
    return through_file(builder.model([dense(builder, builder.op("ADD", [a, b], [1, 4], name="sum"), 2)]))


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_several_inputs_in_order(labelled: bool, batched: bool) -> None:
    a, b = np.ones((3, 4), np.float32), np.zeros((3, 4), np.float32)
    inputs = (a, b) if batched else (a[0], b[0])
    element = (inputs, Y[:3] if batched else 0) if labelled else inputs
    samples = list(load_data([element], two_inputs()))
    assert len(samples) == (3 if batched else 1)
    for number, sample in enumerate(samples):
        assert isinstance(sample.inputs, tuple)
        assert [values.tolist() for values in sample.inputs] == [[1] * 4, [0] * 4]
        assert sample.label == (number if labelled else None)


def test_grey_pictures_without_channels() -> None:
    builder = Builder("grey")
    x = builder.input("x", [1, 6, 6, 1])
    y = builder.op("MEAN", [x, builder.constant("axes", [1, 2])], [1, 1])
    model = through_file(builder.model([dense(builder, y, 2)]))
    assert len(list(load_data([X[:4, :, :, 0]], model))) == 4
    assert len(list(load_data([X[0, :, :, 0]], model))) == 1


def endless() -> Any:
    class Endless:
        def cardinality(self) -> int:
            return -1

        def as_numpy_iterator(self) -> Iterator[Array]:
            return iter(())

    return Endless()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (iter(X), "only once; give the function"),
        (endless(), r"repeats for ever; give an end by \.take"),
        (5, "it is no data"),
        ([(X[:4], Y[:3])], "a batch of .* differ in number"),
        ([object()], "no array of numbers but object"),
        ([{"x": [[1.0], [2.0, 3.0]]}], "is no array"),
        (lambda: iter(()), "no samples"),
    ],
)
def test_what_is_no_data(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(load_data(data, through_file(classifier())))


def test_channels_first_are_told_from_other_shapes() -> None:
    builder = Builder("wide")
    x = builder.input("x", [1, 8, 6, 3])
    y = builder.op("MEAN", [x, builder.constant("axes", [1, 2])], [1, 3])
    model = through_file(builder.model([dense(builder, y, 2)]))
    with pytest.raises(DataError, match=r"shape 3x8x6, channels first; the model expects 8x6x3: permute"):
        list(load_data([np.zeros((3, 8, 6), np.float32)], model))


def test_what_fails_inside_is_named_with_its_place() -> None:
    class Broken(ByNumber):
        def __getitem__(self, place: int) -> tuple[Array, Any]:
            if place == 3:
                raise KeyError("gone")
            return super().__getitem__(place)

    with pytest.raises(DataError, match="Broken: it fails at item 3: KeyError"):
        list(load_data(Broken(), classifier()))


def test_another_order_each_time_is_said() -> None:
    turn = np.random.default_rng(0)

    def shuffled() -> Iterator[Array]:
        yield from X[turn.permutation(10)]

    with pytest.warns(TersorWarning, match="shuffled: it begins with another sample each time"):
        load_data(shuffled, classifier())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_data(lambda: iter(X), classifier())


def test_produce_takes_it_as_it_is(engine: Engine, tmp_path: Path) -> None:
    recipe = load_recipe("int8")
    data: Any = ByNumber(batch=4)
    outcome = produce(classifier(), {recipe: tmp_path / "a.tflite"}, data, options=Options(4), engine=engine)
    assert (outcome.calibration_samples, outcome.evaluation_samples) == (4, 6)


# The real libraries


def tensorflow() -> Any:
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


@pytest.mark.parametrize("batch", [0, 3, 10])
def test_tf_data(batch: int) -> None:
    tf = tensorflow()
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    require_all(load_data(data.batch(batch) if batch else data, classifier()))


def test_tf_data_by_name_shuffled_and_endless(engine: Engine) -> None:
    tf = tensorflow()
    named = tf.data.Dataset.from_tensor_slices(({"x": X}, Y)).batch(4)
    assert calibrate(classifier(), load_data(named, classifier()), engine=engine).samples == 10
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    with pytest.raises(DataError, match="repeats for ever"):
        load_data(data.repeat(), classifier())
    wide = tf.data.Dataset.range(10_000).map(lambda n: tf.fill((6, 6, 3), tf.cast(n, tf.float32)))
    with pytest.warns(TersorWarning, match="another sample each time"):
        load_data(wide.shuffle(10_000).batch(8), classifier())
    with warnings.catch_warnings():
        warnings.simplefilter("error", TersorWarning)
        load_data(wide.shuffle(10_000, seed=1, reshuffle_each_iteration=False), classifier())


def test_keras_batches_by_number() -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")

    class Batches(keras.utils.PyDataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return 3

        def __getitem__(self, place: int) -> tuple[Array, Array]:
            return X[place * 4 : place * 4 + 4], Y[place * 4 : place * 4 + 4]

    require_all(load_data(Batches(), classifier()))


def test_torch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    source = torch.utils.data.TensorDataset(torch.tensor(X, requires_grad=True), torch.tensor(Y))
    data = load_data(source, classifier())
    require_all(data)
    assert len(data) == 10
    loader = torch.utils.data.DataLoader(source, batch_size=4)
    require_all(load_data(loader, classifier()))
    require_all(load_data(torch.utils.data.DataLoader(source, batch_size=None), classifier()))

    class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[Any]:
            return iter(source)

    require_all(load_data(Stream(), classifier()))
    many = torch.utils.data.TensorDataset(torch.rand(4000, 6, 6, 3))
    with pytest.warns(TersorWarning, match="another sample each time"):
        load_data(torch.utils.data.DataLoader(many, batch_size=8, shuffle=True), classifier())
