"""Pruning: the zeros that are wanted are there after training, after saving, and in the file."""

from __future__ import annotations

import gzip
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="training needs Keras 3")

import tersor  # noqa: E402
from small_nets import shared_file  # noqa: E402
from tersor.errors import PlanError, RecipeError, UnsupportedError  # noqa: E402
from tersor.ir.graph import Array, Model  # noqa: E402
from tersor.ops import LAYERS, layer_operands  # noqa: E402
from tersor.runtimes.engine import Engine  # noqa: E402
from tersor.stages.encode_sparse import encode_sparse  # noqa: E402
from tersor.targets.cpu.sparse_inference import sparse_inference  # noqa: E402
from tersor.training import prune, qat  # noqa: E402
from tersor.training.prune import Constant, PolynomialDecay, Pruning  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own backends warn of themselves

SAMPLES, BATCH = 96, 16
STEPS = SAMPLES // BATCH


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as found:
        yield found


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, SAMPLES)
    return (random.normal(0, 1, (SAMPLES, 16, 16, 3)) + labels[:, None, None, None]).astype(np.float32), labels


@pytest.fixture(scope="module")
def mobile() -> Any:
    """A small MobileNetV2: expansions, depthwise layers, a residual block, a head behind a mean."""
    keras.utils.set_random_seed(0)
    layers = keras.layers

    def conv(x: Any, channels: int, name: str, size: int = 1, stride: int = 1, act: bool = True) -> Any:
        x = layers.Conv2D(channels, size, strides=stride, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(6, name=f"{name}_relu")(x) if act else x

    def block(x: Any, channels: int, name: str, stride: int) -> Any:
        y = conv(x, 32, f"{name}_expand")
        y = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
        y = layers.ReLU(6, name=f"{name}_depthwise_relu")(layers.BatchNormalization(name=f"{name}_depthwise_bn")(y))
        y = conv(y, channels, f"{name}_project", act=False)
        return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 else y

    given = keras.Input((16, 16, 3))
    x = conv(given, 16, "stem", size=3, stride=2)
    x = block(block(x, 16, "first", 1), 24, "second", 2)
    x = layers.GlobalAveragePooling2D()(conv(x, 64, "last"))
    return keras.Model(given, layers.Dense(4, activation="softmax", name="answer")(x))


def fitted(model: Any, data: tuple[Array, Array], epochs: int = 1) -> Any:
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    model.fit(*data, batch_size=BATCH, epochs=epochs, verbose=0)
    return model


def weights_of(model: Model) -> dict[str, Array]:
    """By layer, [outputs, ..., inputs], as the file has them."""
    graph = model.graph
    tensors = {op.name: graph.operand(op, layer_operands(op.kind).weights) for op in graph.ops if op.kind in LAYERS}
    return {name: np.asarray(own.data) for name, own in tensors.items() if own is not None}


def answers(path: Path, samples: Array, engine: Engine) -> Array:
    rows = [next(iter(row.values())) for row in tersor.run(path, [one[None] for one in samples], engine=engine)]
    return np.concatenate(rows)


def require_pattern(weights: Array, pattern: str, block: tuple[int, int] | None, share: float) -> None:
    """The exact pattern, in the layout of the file."""
    kept = weights != 0
    if pattern == "2:4":
        assert (kept.reshape(-1, 4).sum(1) <= 2).all()
        assert kept.mean() == pytest.approx(0.5, abs=0.01)
        return
    if block is not None:
        rows, columns = block
        kept = kept.reshape(kept.shape[0] // rows, rows, -1, kept.shape[-1] // columns, columns)
        assert (kept.any((1, 4)) == kept.all((1, 4))).all()
    assert 1 - kept.mean() == pytest.approx(share, abs=max(1.0, np.prod(block or (1,))) / kept.size)


CASES = [("unstructured", None, 0.75), ("2:4", None, 0.5), ("block", (1, 4), 0.6), ("block", (4, 2), 0.5)]


@pytest.mark.parametrize(("pattern", "block", "share"), CASES, ids=["unstructured", "2:4", "1x4", "4x2"])
def test_a_pattern_holds_after_training_saving_quantization_and_in_the_file(
    pattern: str, block: tuple[int, int] | None, share: float, mobile: Any, data: tuple[Array, Array], tmp_path: Path
) -> None:
    schedule = PolynomialDecay(0, STEPS, frequency=2)
    sparsity = None if pattern == "2:4" else share
    network = fitted(prune.prepare(mobile, Pruning(sparsity, pattern, block, schedule)), data)
    pruned = [layer.op.name for layer in network.operators() if layer.masking]
    assert any("expand" in name for name in pruned)
    for name in pruned:
        require_pattern(weights_of(network.trained())[name], pattern, block, share)

    network.save(tmp_path / "pruned.keras")
    again = keras.saving.load_model(tmp_path / "pruned.keras")
    assert isinstance(again, prune.Pruned)
    assert again.pruning == network.pruning
    assert again.sparsity() == network.sparsity()
    np.testing.assert_array_equal(again.predict_on_batch(data[0]), network.predict_on_batch(data[0]))

    aware = fitted(qat.prepare(again, "int8", data=[one[None] for one in data[0]], keep_zeros=True), data)
    aware.save(tmp_path / "aware.keras")
    aware = keras.saving.load_model(tmp_path / "aware.keras")
    zeros = {name: own == 0 for name, own in weights_of(network.trained()).items()}
    quantized = tersor.quantize(aware)
    tersor.save(quantized, tmp_path / "model.tflite")
    stored = weights_of(tersor.load(tmp_path / "model.tflite"))
    for name in pruned:
        assert (stored[name][zeros[name]] == 0).all()
        assert (weights_of(aware.trained())[name][zeros[name]] == 0).all()
    assert prune.sparsity_of(quantized).reached >= network.sparsity().reached


def test_the_network_answers_as_its_file(
    mobile: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine
) -> None:
    network = fitted(prune.prepare(mobile, Pruning(0.8)), data)
    tersor.save(network.trained(), tmp_path / "model.tflite")
    found = answers(tmp_path / "model.tflite", data[0], engine)
    np.testing.assert_allclose(found, network.predict_on_batch(data[0]), atol=1e-5)


def test_zeros_come_as_the_schedule_says(mobile: Any, data: tuple[Array, Array]) -> None:
    network = prune.prepare(mobile, Pruning(0.8, schedule=PolynomialDecay(2, 2 * STEPS, initial=0.2, frequency=2)))
    network.more_to_come = True
    network.compile("sgd", "sparse_categorical_crossentropy")
    reached = [network.sparsity().reached_where_pruned]
    for batch in range(2 * STEPS):
        rows = slice(BATCH * (batch % STEPS), BATCH * (batch % STEPS + 1))
        network.train_on_batch(data[0][rows], data[1][rows])
        reached.append(network.sparsity().reached_where_pruned)
    left = [1 - (step - 2) / (2 * STEPS - 2) for step in range(2, 2 * STEPS + 1, 2)]
    np.testing.assert_allclose(reached[2::2], [0.8 - 0.6 * own**3 for own in left], atol=0.01)
    assert reached[:2] == [0, 0]
    assert reached[3::2] == reached[2:-1:2]
    network.train_on_batch(data[0], data[1])
    assert network.sparsity().reached_where_pruned == reached[-1]


def test_weights_that_went_stay_at_rest(mobile: Any, data: tuple[Array, Array]) -> None:
    network = fitted(prune.prepare(mobile, Pruning(0.5)), data)
    layer = next(own for own in network.operators() if own.masking)
    before = np.array(layer.kernel)
    network.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    network.fit(*data, batch_size=BATCH, verbose=0)
    kept = np.array(layer.kept)
    np.testing.assert_array_equal(np.array(layer.kernel)[~kept], before[~kept])
    assert np.abs(np.array(layer.kernel) - before)[kept].max() > 0


def test_training_goes_on_where_it_was(mobile: Any, data: tuple[Array, Array], tmp_path: Path) -> None:
    network = prune.prepare(mobile, Pruning(0.8, schedule=PolynomialDecay(0, 2 * STEPS, frequency=1)))
    network.more_to_come = True
    fitted(network, data)
    halfway = network.sparsity().reached_where_pruned
    assert 0.4 < halfway < 0.79
    network.save(tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    assert again.sparsity().reached_where_pruned == halfway
    again.fit(*data, batch_size=BATCH, verbose=0)  # with what it was compiled for, up to the end of the schedule
    assert again.sparsity().reached_where_pruned == pytest.approx(0.8, abs=0.01)


def test_a_run_that_is_too_short_is_refused(mobile: Any, data: tuple[Array, Array]) -> None:
    network = prune.prepare(mobile, Pruning(0.8, schedule=PolynomialDecay(0, 100)))
    network.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(PlanError, match=rf"fit would end at step {2 * STEPS}, and the schedule of pruning at step 100"):
        network.fit(*data, batch_size=BATCH, epochs=2)
    with pytest.raises(PlanError, match=r"fit would end at step 3,"):
        network.fit(*data, steps_per_epoch=3)
    network.train_on_batch(*data)
    with pytest.raises(PlanError, match=r"training ended at step 1,.* 80% zeros"):
        network.trained()
    with pytest.raises(PlanError, match="training ended"):
        qat.prepare(network, "int8")


def test_layers_have_their_own_sparsity_or_none(mobile: Any, data: tuple[Array, Array]) -> None:
    table = tomllib.loads(
        """
        sparsity = 0.5
        skip = ["answer*"]
        [layers]
        "last*" = 0.9
        [schedule]
        kind = "constant"
        """
    )
    pruning = Pruning.parse(table)
    assert Pruning.parse(pruning.to_table()) == pruning
    report = fitted(prune.prepare(mobile, pruning), data).sparsity()
    reached = {layer.name.split("/")[0]: layer.reached for layer in report.layers}
    assert reached["last_relu"] == pytest.approx(0.9, abs=0.01)
    assert reached["first_expand_relu"] == pytest.approx(0.5, abs=0.01)
    assert reached["answer"] == 0
    assert reached["first_depthwise_relu"] == 0
    assert "skip names it" in str(report)
    assert "depthwise layers have few weights" in str(report)


def test_lamp_spreads_the_same_sparsity(mobile: Any) -> None:
    network = prune.prepare(mobile, Pruning(0.7, spread="lamp"))
    wanted = {layer.op.name: layer.masking.sparsity for layer in network.operators() if layer.masking}
    sizes = {layer.name: layer.weights for layer in network.sparsity().pruned}
    assert sum(wanted[name] * size for name, size in sizes.items()) == pytest.approx(0.7 * sum(sizes.values()), abs=2)
    assert max(wanted.values()) - min(wanted.values()) > 0.05


TABLES = {
    "sparsty = 0.5": "unknown key 'sparsty': did you mean 'sparsity'?",
    "pattern = '2:4'\nsparsity = 0.9": "2:4 is one of 0.5",
    "sparsity = 1.0": "below 1.0",
    "sparsity = '0.5'": "must be a share",
    "": "sparsity is missing",
    "pattern = '4:2'": "N below M",
    "sparsity = 0.5\npattern = 'block'": "needs its shape",
    "sparsity = 0.5\nblock = [1, 4]": "shape of pattern 'block'",
    "sparsity = 0.5\npattern = 'block'\nblock = [4]": "two numbers",
    "sparsity = 0.5\npolicy = 'for_tpu'": "one of all, for_xnnpack",
    "sparsity = 0.5\nonly = 'conv'": "list of strings",
    "sparsity = 0.5\nschedule = 'constant'": "must be a table",
    "sparsity = 0.5\n[schedule]\nkind = 'polynomial_decay'\nbegin = 0": "needs begin and end",
    "sparsity = 0.5\n[schedule]\nkind = 'polynomial_decay'\nbegin = 9\nend = 5": "not before begin",
    "sparsity = 0.5\n[schedule]\nkind = 'constant'\nfrequncy = 5": "did you mean 'frequency'",
    "sparsity = 0.5\n[schedule]\nkind = 'constant'\nfrequency = 0.5": "must be a step",
    "pattern = '2:4'\nspread = 'lamp'": "the same for all layers",
    "sparsity = 0.5\n[layers]\na = 'half'": "layers.a is 'half'",
}


@pytest.mark.parametrize("text", TABLES)
def test_a_table_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(RecipeError) as error:
        Pruning.parse(tomllib.loads(text), "prune.toml")
    assert TABLES[text] in str(error.value)
    assert str(error.value).startswith("prune.toml: ")


def test_a_table_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "prune.toml").write_text("sparsity = 0.5\n[schedule]\nkind = 'polynomial_decay'\nbegin = 0\nend = 10\n")
    assert Pruning.load(tmp_path / "prune.toml") == Pruning(0.5, schedule=PolynomialDecay(0, 10))
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read"):
        Pruning.load(tmp_path / "none.toml")


def test_names_that_no_layer_has_are_refused(mobile: Any) -> None:
    with pytest.raises(RecipeError, match=r"skip names .stem_rel., .* did you mean .stem_relu."):
        prune.prepare(mobile, Pruning(0.5, skip=("stem_rel",)))
    with pytest.raises(PlanError, match=r"no layer can be pruned(.|\n)*3 inputs are no multiple of 4"):
        prune.prepare(mobile, Pruning(pattern="2:4", only=("stem*",)))


def test_zeros_that_are_not_there_cannot_be_kept(mobile: Any) -> None:
    with pytest.raises(PlanError, match="no layer of the model has weights that are zeros"):
        qat.prepare(mobile, "int8", keep_zeros=True)


def test_xnnpack_takes_a_mobile_net_whose_padding_is_centered(
    mobile: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine
) -> None:
    pruning = Pruning(0.8, policy="for_xnnpack", schedule=Constant())
    with pytest.raises(PlanError, match=r"it pads \(0, 1\) and \(0, 1\); 1 on every side is taken"):
        prune.prepare(mobile, pruning)
    centered = prune.center_padding(tersor.optimize(tersor.load(mobile)))
    network = fitted(prune.prepare(centered, pruning), data)
    pruned = [layer.name for layer in network.sparsity().pruned]
    assert len(pruned) == 5
    tersor.save(network.trained(), tmp_path / "dense.tflite")
    tersor.save(network.trained(), tmp_path / "sparse.tflite", sparse=True)
    sparse = tersor.load(tmp_path / "sparse.tflite")
    assert [verdict.name for verdict in sparse_inference(sparse.graph) if verdict.reason is None] == pruned
    expected = answers(tmp_path / "dense.tflite", data[0], engine)
    np.testing.assert_allclose(answers(tmp_path / "sparse.tflite", data[0], engine), expected, atol=1e-6)
    with pytest.raises(PlanError, match="67 % have to be"):
        prune.prepare(centered, replace(pruning, sparsity=0.6))


def test_a_sparse_file_is_smaller_and_answers_the_same(
    mobile: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine
) -> None:
    network = fitted(prune.prepare(mobile, Pruning(0.8)), data)
    aware = qat.prepare(network, "int8", data=[one[None] for one in data[0]], keep_zeros=True)
    for name, model in (("float", network.trained()), ("int8", tersor.quantize(aware))):
        dense, sparse = tmp_path / f"{name}.tflite", tmp_path / f"{name}.sparse.tflite"
        tersor.save(model, dense)
        tersor.save(model, sparse, sparse=True)
        np.testing.assert_array_equal(answers(sparse, data[0], engine), answers(dense, data[0], engine))
        assert len(gzip.compress(dense.read_bytes())) < dense.stat().st_size
        assert prune.sparsity_of(tersor.load(sparse)).reached == prune.sparsity_of(model).reached
    assert (tmp_path / "float.sparse.tflite").stat().st_size < 0.7 * (tmp_path / "float.tflite").stat().st_size


def test_a_model_without_many_zeros_is_saved_as_it_is(mobile: Any) -> None:
    model = tersor.optimize(tersor.load(mobile))
    assert encode_sparse(model) is model


def test_a_region_that_does_not_end_in_a_mean_is_not_stored_sparsely() -> None:
    layers = keras.layers
    given = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, strides=2, activation="relu")(layers.ZeroPadding2D(1)(given))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(32, 1, activation="relu")(x))
    z = layers.Flatten()(layers.Conv2D(32, 1)(x))
    model = tersor.optimize(tersor.load(keras.Model(given, layers.Dense(4)(layers.Concatenate()([y, z])))))
    changed = [
        own.with_data((np.random.default_rng(0).random(own.shape) > 0.9) * np.asarray(own.data, np.float32))
        for own in model.graph.tensors.values()
        if own.is_constant and len(own.shape) == 4 and own.shape[1:3] == (1, 1)
    ]
    with pytest.raises(UnsupportedError, match="not in a mean, and XNNPACK refuses such files or answers wrongly"):
        encode_sparse(model.with_graph(model.graph.edit(tensors=changed)))


def test_channels_are_really_removed(mobile: Any, data: tuple[Array, Array], tmp_path: Path, engine: Engine) -> None:
    source = tersor.optimize(tersor.load(mobile))
    groups = {group.layers: group for group in prune.channel_groups(source)}
    assert groups["stem_relu", "first_project_bn"].channels == 16
    smaller = prune.remove_channels(source, 0.5)
    shapes = {name: own.shape for name, own in weights_of(smaller).items()}
    assert shapes["stem_relu"] == (8, 3, 3, 3)
    assert shapes["first_depthwise_relu"] == (1, 3, 3, 16)
    assert shapes["second_project_bn"] == (16, 1, 1, 16)
    assert shapes["last_relu"] == (32, 1, 1, 16)
    assert weights_of(smaller)[next(name for name in shapes if name.startswith("answer"))].shape == (4, 32)
    network = fitted(qat.prepare(smaller, "int8"), data)
    tersor.save(tersor.quantize(network), tmp_path / "model.tflite")
    assert answers(tmp_path / "model.tflite", data[0][:2], engine).shape == (2, 4)


def test_tied_flattened_and_joined_channels_are_removed_together() -> None:
    layers = keras.layers
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same")(given)
    y = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(16, 3, padding="same")(layers.ReLU()(x)))
    z = layers.Concatenate()([layers.Add()([x, y]), layers.Conv2D(24, 1, activation="relu")(x)])
    z = layers.Conv2DTranspose(16, 2, strides=2)(layers.MaxPooling2D()(layers.BatchNormalization()(z)))
    gate = layers.Dense(16, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(z))
    z = layers.Dense(32)(layers.Flatten()(layers.Multiply()([z, gate])))
    model = keras.Model(given, layers.Dense(5)(z))
    for share, left in ((0.3, 0.8), (0.5, 0.6)):
        smaller = prune.remove_channels(model, share)  # which compares on the runtime
        before, after = (sum(own.size for own in weights_of(own).values()) for own in (tersor.load(model), smaller))
        assert after < left * before


def test_what_stays_says_why(mobile: Any) -> None:
    layers = keras.layers
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", name="mixed")(given)
    x = layers.Softmax()(x)
    model = keras.Model(given, layers.Dense(4)(layers.Flatten()(x)))
    with pytest.raises(PlanError, match=r"mixed.*: channels cannot be followed through SOFTMAX"):
        prune.remove_channels(model, 0.5)
    with pytest.raises(RecipeError, match="'stm' names no layer that computes channels"):
        prune.remove_channels(mobile, 0.5, skip=["stm"])
    with pytest.raises(RecipeError, match="share is 1"):
        prune.remove_channels(mobile, 1.0)
    kept = prune.remove_channels(mobile, 0.5, skip=["last*"])
    assert weights_of(kept)["last_relu"].shape[0] == 64


def test_resnet8_loses_half_of_its_weights_and_of_its_channels(tmp_path: Path) -> None:
    path = shared_file("cifar10_resnet8/pretrainedResnet.h5")
    random = np.random.default_rng(0)
    x, y = random.uniform(0, 255, (32, 32, 32, 3)).astype(np.float32), random.integers(0, 10, 32)
    network = prune.prepare(path, Pruning(pattern="2:4"))
    network.compile("sgd", "sparse_categorical_crossentropy")
    network.fit(x, y, verbose=0)
    assert network.sparsity().reached_where_pruned == pytest.approx(0.5, abs=1e-3)
    assert [layer.reason for layer in network.sparsity().layers if layer.wanted is None] == [
        "its 3 inputs are no multiple of 4"
    ]
    smaller = prune.remove_channels(path, 0.5)
    counted = [sum(own.size for own in weights_of(model).values()) for model in (tersor.load(path), smaller)]
    assert counted[1] < 0.3 * counted[0]
