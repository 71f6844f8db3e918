"""The ways into the reader besides whole Keras files: live models, weights only, batches."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

import tersor
from conftest import Cli, Run
from small_nets import images
from tersor.data.batch import batch_of, stacked
from tersor.errors import FormatError, ModelError, RecipeError, UnsupportedError, VerificationError
from tersor.formats import tflite
from tersor.formats.keras.architecture import find, parse
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.stages.produce import produce
from test_keras import DENSE, FITTING, Layer, assert_close, layer, nest, replace_member, written

DEMO = Path(__file__).parents[1] / "demo"
WEIGHTS_ONLY = Path(__file__).parent / "keras_layers" / "weights_only.zip"
LAYOUTS = {"three": "three.weights.h5", "two": "two.h5"}


@pytest.fixture
def weights_only(tmp_path: Path) -> Path:
    """A folder with files of both layouts, as Keras 3 and Keras 2 wrote them."""
    with zipfile.ZipFile(WEIGHTS_ONLY) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def has_application_keras() -> bool:
    """Whether Keras and a backend are installed."""
    found = map(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
    return importlib.util.find_spec("keras") is not None and any(found)


# -- files with nothing but weights


@pytest.mark.parametrize("name", LAYOUTS)
def test_weights_and_architecture_are_what_keras_computes(name: str, weights_only: Path, run: Run) -> None:
    """Layers without a name have other numbers in the file than in the architecture, also in the nested model."""
    answer = np.load(weights_only / f"{name}.npz")
    model = load(weights_only / LAYOUTS[name], architecture=weights_only / f"{name}.json")
    assert_close(run(optimize(model), [answer["input"]]), [answer["output"]])
    assert model.source == str(weights_only / LAYOUTS[name])


def test_nested_model_of_keras_2(weights_only: Path, run: Run) -> None:
    answer = np.load(weights_only / "two.npz")
    assert_close(run(optimize(load(weights_only / "two_whole.h5")), [answer["input"]]), [answer["output"]])


def test_variables_of_keras_1_are_taken_in_order(weights_only: Path, run: Run) -> None:
    answer = np.load(weights_only / "two.npz")
    with h5py.File(weights_only / "two.h5", "a") as file:
        group = file["scores"]
        group["scores_W"], group["scores_b"] = group["scores/kernel:0"][()], group["scores/bias:0"][()]
        group.attrs["weight_names"] = [b"scores_W", b"scores_b"]
    model = load(weights_only / "two.h5", architecture=weights_only / "two.json")
    assert_close(run(optimize(model), [answer["input"]]), [answer["output"]])


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing_architecture_is_asked_for(name: str, weights_only: Path, cli: Cli, place: Path) -> None:
    answer = cli("inspect", weights_only / LAYOUTS[name])
    assert answer.code == 3
    assert "holds weights only, not the architecture: give it with --architecture" in answer.err
    assert "model.to_json()" in answer.err
    answer = cli("inspect", weights_only / LAYOUTS[name], "--architecture", weights_only / f"{name}.json")
    assert answer.code == 0, answer.err
    assert "scores" in answer.out


def changed(path: Path, change: Callable[[list[Layer]], Any]) -> Path:
    """An architecture with other layers."""
    config = json.loads(path.read_text())
    change(config["config"]["layers"])
    path.write_text(json.dumps(config))
    return path


def test_weights_of_another_model_name_the_layer(weights_only: Path) -> None:
    for name, file in LAYOUTS.items():
        path = changed(weights_only / f"{name}.json", lambda layers: layers[-1]["config"].update(units=7))
        with pytest.raises(FormatError, match=r"layer 'scores' \(Dense\): kernel has shape \[4, 5\] .* needs \[4, 7\]"):
            load(weights_only / file, architecture=path)


def test_weights_that_the_architecture_has_no_layer_for(weights_only: Path) -> None:
    def shorter(layers: list[Layer]) -> None:
        del layers[-1]

    for name, file in LAYOUTS.items():
        path = changed(weights_only / f"{name}.json", shorter)
        config = json.loads(path.read_text())
        last = config["config"]["layers"][-1]["name"]
        config["config"]["output_layers"] = [[last, 0, 0]]
        path.write_text(json.dumps(config))
        with pytest.raises(FormatError, match=r"holds weights of a layer '(dense|scores)' that the architecture"):
            load(weights_only / file, architecture=path)


def test_layer_without_weights_in_the_file(weights_only: Path) -> None:
    for name, file in LAYOUTS.items():
        with h5py.File(weights_only / file, "a") as held:
            if name == "two":
                del held["scores"]
                held.attrs["layer_names"] = [
                    item for item in held.attrs["layer_names"] if item not in (b"scores", "scores")
                ]
            else:
                del held["layers/dense"]
        with pytest.raises(FormatError, match=r"layer 'scores' \(Dense\): the file has"):
            load(weights_only / file, architecture=weights_only / f"{name}.json")


ARCHITECTURES: dict[str, tuple[bytes, str]] = {
    "list": (b"[]", "is not a model's: it is a list"),
    "text": (b"hello", "cannot be read"),
    "nothing": (b"", "cannot be read"),
    "other": (b'{"name": "net", "version": 1}', "not a model's architecture"),
    "brackets": (b"[" * 200_000, "cannot be read"),
    "braces": (b'{"a":' * 200_000, "cannot be read"),
    "digits": (b'{"class_name": "Sequential", "config": ' + b"1" * 100_000 + b"}", "cannot be read"),
    "subclass": (b'{"class_name": "Mine", "config": {"units": 3}}', "is a subclass"),
    "nested": (json.dumps(nest(60)).encode(), "nested more than"),
    "gigantic": (
        json.dumps({"class_name": "Sequential", "config": {"name": "net", "layers": [
            layer("InputLayer", "x", batch_shape=[None, 2**40]), layer("ReLU", "y")]}}).encode(),
        "which is none",
    ),
}  # fmt: skip


def empty(path: Path) -> None:
    """Take all layers out of a file."""
    with h5py.File(path, "a") as file:
        for name in list(file):
            del file[name]
        file.create_group("layers")
        file.attrs["layer_names"] = []


@pytest.mark.parametrize("what", ARCHITECTURES)
def test_architecture_that_is_none(what: str, weights_only: Path) -> None:
    content, hint = ARCHITECTURES[what]
    (weights_only / "bad.json").write_bytes(content)
    for file in LAYOUTS.values():
        if what == "gigantic":  # which needs no layer of the file, so that it comes to be read at all
            empty(weights_only / file)
        with pytest.raises(ModelError, match=hint) as error:
            load(weights_only / file, architecture=weights_only / "bad.json")
        assert "bad.json" in str(error.value)
        assert "\n" not in str(error.value)


def test_deep_lists_in_an_architecture_end_in_an_error(weights_only: Path) -> None:
    config = json.loads((weights_only / "three.json").read_text())
    text = json.dumps(config).replace('"scores"', "[" * 900 + '"scores"' + "]" * 900)
    (weights_only / "bad.json").write_text(text)
    with pytest.raises(ModelError):
        load(weights_only / "three.weights.h5", architecture=weights_only / "bad.json")


def test_truncated_weights(weights_only: Path) -> None:
    for name, file in LAYOUTS.items():
        content = (weights_only / file).read_bytes()
        for size in [8, 100, *range(500, len(content), 3000)]:
            (weights_only / file).write_bytes(content[:size])
            with pytest.raises(ModelError):
                load(weights_only / file, architecture=weights_only / f"{name}.json")


def test_file_with_an_architecture_takes_no_other(weights_only: Path) -> None:
    json_path = weights_only / "three.json"
    for path in (DEMO / "fashion_mnist.keras", weights_only / "two_whole.h5", DEMO / "fashion_mnist.tflite"):
        with pytest.raises(RecipeError, match="--architecture is for"):
            load(path, architecture=json_path)


# -- networks of keras.applications


def test_expressions_are_parsed() -> None:
    assert parse("MobileNetV2") == ("MobileNetV2", {})
    text = "MobileNet(alpha=0.25, input_shape=(128, 128, 3), classes=10, include_top=True)"
    assert parse(text) == (
        "MobileNet",
        {"alpha": 0.25, "input_shape": (128, 128, 3), "classes": 10, "include_top": True},
    )


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch executed')",
        "MobileNet(alpha=__import__('os').system('touch executed'))",
        "MobileNet(alpha=open('executed', 'w'))",
        "(lambda: open('executed', 'w'))()",
        "MobileNet(**{'alpha': 1})",
        "MobileNet(0.25)",
        "MobileNet(alpha=1, alpha=2)",
        "MobileNet(alpha=1j)",
        "MobileNet(alpha={1, 2})",
        "os.system",
        "import os",
        "MobileNet;MobileNet",
        "",
        "(" * 500 + ")" * 500,
        "-" * 900 + "1",
        "MobileNet(classes=" + "9" * 5000 + ")",
        "\0",
    ],
)
def test_expression_with_anything_but_literals_is_refused(
    text: str, weights_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights_only)
    with pytest.raises(RecipeError, match=r"the architecture .* is neither a \.json file nor a network"):
        find(text)
    assert not (weights_only / "executed").exists()


def test_weights_are_not_an_argument() -> None:
    with pytest.raises(RecipeError, match="weights come from the model file"):
        parse("MobileNet(weights='imagenet')")


def test_name_without_keras_says_what_to_install(weights_only: Path) -> None:
    if has_application_keras():
        pytest.skip("Keras is installed")
    with pytest.raises(RecipeError, match=r"'MobileNet': needs Keras, .*: pip install 'tersor\[keras\]'"):
        load(weights_only / "two.h5", architecture="MobileNet")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_network_of_keras_applications(tmp_path: Path, run: Run) -> None:
    if not has_application_keras():
        pytest.skip("Keras is not installed")
    import keras

    net = keras.applications.MobileNet(alpha=0.25, input_shape=(32, 32, 3), classes=3, weights=None)
    generator = np.random.default_rng(0)
    net.set_weights([values + generator.uniform(0, 0.1, values.shape) for values in net.get_weights()])
    net.save_weights(tmp_path / "net.weights.h5")
    text = "MobileNet(alpha=0.25, input_shape=(32, 32, 3), classes=3)"
    model = load(tmp_path / "net.weights.h5", architecture=text)
    x = generator.normal(0, 1, (1, 32, 32, 3)).astype(np.float32)
    assert_close(run(optimize(model), [x]), [net.predict(x, verbose=0)])
    for wrong, hint in (
        ("MobileNet(classes=3, input_shape=(32, 32, 3))", "layer 'conv1' .* kernel has shape"),
        ("layers", "layers is no network of keras.applications; there are "),
        ("MobileNet(colour=1)", "Keras refuses it: TypeError"),
    ):
        with pytest.raises((FormatError, RecipeError), match=hint):
            load(tmp_path / "net.weights.h5", architecture=wrong)


# -- live models, without Keras: what is recognised, and what is copied


def standing_for(package: str, kind: str, bases: tuple[type, ...] = (), **members: Any) -> type:
    """A class that says to be of a package."""
    return type(kind, bases, {"__module__": f"{package}.src.models", **members})


class FakeDense:
    """A layer with the arrays of `FITTING`."""

    name = "it"

    def __init__(self) -> None:
        self.arrays = {key.rpartition("/")[2]: values.copy() for key, values in FITTING.items()}

    def save_own_variables(self, store: dict[str, Array]) -> None:
        store.update(self.arrays)


def fake_model() -> Any:
    entries = [layer("InputLayer", "x", batch_shape=[None, 4], dtype="float32"), DENSE]
    config = {"name": "net", "layers": entries}
    base = standing_for("keras", "Model", call=lambda self, x: x)
    kind = standing_for("keras", "Sequential", (base,), get_config=lambda self: config, name="net", inputs=[1])
    live = kind()
    live.layers = [FakeDense()]
    return live


def test_later_training_does_not_reach_the_model() -> None:
    live = fake_model()
    live.layers[0].arrays["0"][:] = 1
    model = tersor.load(live)
    live.layers[0].arrays["0"][:] = 7
    (weights,) = [item for item in model.graph.tensors.values() if item.name == "it/kernel" or item.shape == (3, 4)]
    assert weights.data is not None
    assert (weights.data == 1).all()
    assert not weights.data.flags.writeable
    assert model.source == ""


def test_live_weights_that_do_not_fit_name_the_layer() -> None:
    live = fake_model()
    live.layers[0].arrays["0"] = np.zeros((4, 9), np.float32)
    with pytest.raises(FormatError, match=r"live model 'net': layer 'it' \(Dense\): kernel has shape \[4, 9\]"):
        tersor.load(live)
    live.layers = []
    with pytest.raises(FormatError, match="the layer has 0 arrays where kernel, bias are expected"):
        tersor.load(live)


def test_what_is_no_model() -> None:
    for value in (3, None, np.zeros(3), standing_for("torch", "Model")()):
        with pytest.raises(FormatError, match=r"neither the path of a file nor a keras\.Model"):
            tersor.load(value)
    with pytest.raises(RecipeError, match="own architecture"):
        tersor.load(fake_model(), architecture="MobileNet")


def test_subclass_with_a_call_of_its_own_is_refused() -> None:
    live = fake_model()
    kind = type("Mine", (type(live),), {"__module__": "mine", "call": lambda self, x: x})
    live.__class__ = kind
    with pytest.raises(UnsupportedError, match=r"subclass \(Mine\): .* keras.Model\(x, model.call\(x\)\)"):
        tersor.load(live)
    kind = type("Trained", (type(fake_model()),), {"__module__": "mine", "train_step": lambda self, x: x})
    live = fake_model()
    live.__class__ = kind
    assert len(tersor.load(live).graph.ops) == 1


# -- live models, with Keras


def library(name: str) -> ModuleType:
    """Keras 3 (on the backend that KERAS_BACKEND names) or Keras 2; skips the test where it is not installed."""
    if name == "keras" and not has_application_keras():
        pytest.skip("Keras is not installed")
    return pytest.importorskip(name, exc_type=ImportError)  # type: ignore[no-any-return]


def live_nets(keras: ModuleType) -> dict[str, Any]:
    """Models of every kind that is read, by name."""
    layers = keras.layers
    image, inside, row, series = (keras.Input(shape) for shape in ((8, 8, 3), (8, 8, 4), (6,), (5, 4)))
    inner = keras.Model(inside, layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", name="c")(inside)))
    x = inner(inner(layers.Conv2D(4, 3, padding="same", activation="relu", name="c")(image)))
    x = layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3)(x)))
    built = keras.Sequential([layers.Dense(3, activation="tanh"), layers.Dense(2)])
    built.build((None, 6))

    class Trained(keras.Model):  # type: ignore[misc, name-defined]
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    class Called(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = layers.Dense(4, activation="relu"), layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.second(self.first(x))

    called = Called()
    return {
        "functional": keras.Model(image, x),
        "sequential": built,
        "recurrent": keras.Model(series, layers.LSTM(3)(series)),
        "train_step": Trained(row, layers.Dense(2)(row)),
        "made functional": keras.Model(row, called.call(row)),
        "refused": called,
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_live_models_compute_what_keras_computes(name: str, run: Run) -> None:
    nets = live_nets(library(name))
    generator = np.random.default_rng(0)
    with pytest.raises(UnsupportedError, match=r"subclass \(Called\)"):
        tersor.load(nets.pop("refused"))
    for net in nets.values():
        net.set_weights([generator.uniform(0.1, 0.5, values.shape) for values in net.get_weights()])
        x = generator.normal(0, 1, (1, *net.inputs[0].shape[1:])).astype(np.float32)
        wanted = net.predict(x, verbose=0)
        model = tersor.load(net)
        assert_close(run(optimize(model), [x]), [wanted])
        net.set_weights([values * 2 for values in net.get_weights()])
        assert_close(run(optimize(model), [x]), [wanted])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_live_model_in_half_precision(run: Run) -> None:
    keras = library("keras")
    x = keras.Input((6,))
    net = keras.Model(x, keras.layers.Dense(3, dtype="bfloat16")(x))
    kernel = np.asarray(net.get_weights()[0], np.float32)
    found = [item.data for item in tersor.load(net).graph.tensors.values() if item.shape == (3, 6)]
    assert np.array_equal(found[0], kernel.T)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_live_model_becomes_an_int8_file(tmp_path: Path) -> None:
    net = live_nets(library("keras"))["functional"]
    generator = np.random.default_rng(0)
    samples = list(generator.normal(0, 1, (20, 8, 8, 3)).astype(np.float32))
    recipe = tersor.load_recipe("int8")
    outcome = produce(tersor.load(net), {recipe: tmp_path / "net.int8.tflite"}, samples)
    assert (outcome.products[0].sqnr_db or 0) > 15


# -- batches


def pixel_net(path: Path) -> Path:
    """A `.keras` file, x [6,6,3] -> Dense with ReLU -> ReLU -> Dense, each along the channels."""
    generator = np.random.default_rng(0)
    shapes = {"dense": ((3, 6), (6,)), "dense_1": ((6, 4), (4,))}
    weights = {
        f"layers/{name}/vars/{number}": generator.uniform(-0.5, 0.5, shape).astype(np.float32)
        for name, own in shapes.items()
        for number, shape in enumerate(own)
    }
    first, second = layer("Dense", "first", units=6, activation="relu"), layer("Dense", "second", units=4)
    return written(path, first, layer("ReLU", "relu"), second, shape=(None, 6, 6, 3), weights=weights)


def test_file_with_a_batch_answers_like_the_one_without(cli: Cli, place: Path) -> None:
    pixel_net(place / "net.keras")
    for size in (1, 5):
        answer = cli("quantize", "net.keras", "--data", "x.npy", "--as", "int8,dynamic,float16", "--latency",
                     "--batch-size", size, "-o", f"of_{size}")  # fmt: skip
        assert answer.code == 0, answer.err
        assert ("latency: 5 samples at once, " in answer.err) == (size == 5)
    assert tflite.read(place / "of_5/net.int8.tflite").graph.tensors["x"].shape == (5, 6, 6, 3)
    for flavour in ("int8", "dynamic", "float16"):
        paths = [place / f"of_{size}" / f"net.{flavour}.tflite" for size in (1, 5)]
        pairs = zip(*(tersor.run(path, images(24)) for path in paths), strict=True)  # 24: the last batch is not full
        for a, b in pairs:
            assert a["second"].shape == b["second"].shape == (1, 6, 6, 4)
            assert np.abs(a["second"] - b["second"]).max() < 1e-6


def test_plan_for_one_sample_is_carried_out_for_several(tmp_path: Path, run: Run) -> None:
    """The library's way: calibrate and plan at one, quantize the same file read for four."""
    path = pixel_net(tmp_path / "net.keras")
    model = optimize(load(path))
    plan = tersor.plan(model, tersor.load_recipe("int8_float_io"), tersor.calibrate(model, list(images(20))))
    single, wide = tersor.quantize(model, plan), tersor.quantize(optimize(load(path, batch=4)), plan)
    together = run(wide, [images(4)])[0]
    alone = np.concatenate([run(single, [values[np.newaxis]])[0] for values in images(4)])
    assert np.array_equal(together, alone)


def test_scores_of_a_file_with_a_batch_are_those_of_single_samples(cli: Cli, place: Path) -> None:
    builder = Builder()
    x = builder.input("x", [5, 3])
    weights, bias = builder.constant("w", np.eye(3, dtype=np.float32)), builder.constant("b", np.zeros(3, np.float32))
    tflite.write(
        builder.model([builder.op("FULLY_CONNECTED", [x, weights, bias], [5, 3], name="y")]), place / "b.tflite"
    )
    rows = np.random.default_rng(0).uniform(0, 1, (12, 3)).astype(np.float32)
    np.savez(place / "xy.npz", x=rows, y=rows.argmax(1))
    answer = cli("evaluate", "b.tflite", "--data", "xy.npz")
    assert "top1 100.00 %" in answer.out
    assert "on 12 samples" in answer.out
    for options in ((), ("--batch", "1"), ("--batch", "7")):
        answer = cli("run", "b.tflite", "xy.npz", *options, "-o", "y.npz")
        assert answer.code == 0, answer.err
        assert np.allclose(np.load(place / "y.npz")["y"], rows)
    answer = cli("quantize", "b.tflite", "--data", "xy.npz", "--samples", "6", "--as", "int8")
    assert answer.code == 0, answer.err
    assert "measured on 6 other samples" in answer.err


def test_sample_that_fills_the_batch_goes_alone(tmp_path: Path) -> None:
    tflite.write(optimize(load(pixel_net(tmp_path / "net.keras"), batch=4)), tmp_path / "net.tflite")
    whole = images(4)
    (answer,) = tersor.run(tmp_path / "net.tflite", [whole])
    assert answer["second"].shape == (4, 6, 6, 4)
    single = [result["second"] for result in tersor.run(tmp_path / "net.tflite", list(whole))]
    assert np.allclose(answer["second"], np.concatenate(single), atol=1e-6)
    mixed = list(tersor.run(tmp_path / "net.tflite", [whole[0], whole, whole[1:2]]))
    assert [result["second"].shape[0] for result in mixed] == [1, 4, 1]
    assert np.allclose(mixed[2]["second"], single[1], atol=1e-6)


def test_joining_samples() -> None:
    samples = [[np.full((1, 2), number)] for number in range(5)]
    groups = [(arrays[0][:, 0].tolist(), count) for arrays, count in stacked(samples, 2)]
    assert groups == [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]
    assert [arrays[0].shape[0] for arrays, _ in stacked(samples, 2, padded=False)] == [2, 2, 1]
    assert [count for _, count in stacked([*samples[:1], [np.zeros((3, 2))], *samples[:1]], 2)] == [1, None, 1]
    assert list(stacked([], 3)) == []


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(8, 3), (8, 2)], 8),
        ([(8, 3), (2,)], 1),
        ([(-1, 3), (-1, 2)], 1),
        ([(), ()], 1),
        ([(1, 4), (1, 4)], 1),
        ([], 1),
    ],
)
def test_batch_of_a_model(shapes: list[tuple[int, ...]], size: int) -> None:
    assert batch_of(shapes) == size


def test_model_that_mixes_samples_is_not_written(tmp_path: Path) -> None:
    """Its output has a place per sample, but each is a mean over all."""

    def mixing(batch: int) -> Model:
        builder = Builder()
        x = builder.input("x", [batch, 6])
        mean = builder.op("MEAN", [x, builder.constant("axes", [0])], [1, 6], {"keep_dims": True}, name="mean")
        return builder.model([builder.op("ADD", [x, mean], [batch, 6], name="sum")])

    samples = list(np.random.default_rng(0).uniform(-1, 1, (30, 6)).astype(np.float32))
    recipe = tersor.load_recipe("int8")
    with pytest.raises(VerificationError, match=r"'sum' of samples in a batch is not that of single ones \(\d+\.\d dB"):
        produce(mixing(1), {recipe: tmp_path / "net.tflite"}, samples, batched=mixing(4))
    assert list(tmp_path.iterdir()) == []


def test_other_network_at_a_batch_is_refused(tmp_path: Path) -> None:
    path = pixel_net(tmp_path / "net.keras")
    other = written(tmp_path / "other.keras", layer("ReLU"), shape=(None, 6, 6, 3))
    recipe = tersor.load_recipe("float16")
    with pytest.raises(UnsupportedError, match="not the same network"):
        produce(load(path), {recipe: tmp_path / "net.tflite"}, list(images(4)), batched=load(other, batch=4))


def test_batch_of_other_formats_is_refused(cli: Cli, place: Path) -> None:
    answer = cli("quantize", "net.tflite", "--data", "x.npy", "--batch-size", "4")
    assert answer.code == 2
    assert "--batch-size is for Keras files; the batch of a .tflite file is fixed" in answer.err
    with pytest.raises(RecipeError, match="a batch has 1 to"):
        load(DEMO / "fashion_mnist.keras", batch=0)
    with pytest.raises(RecipeError, match="a batch has 1 to"):
        load(DEMO / "fashion_mnist.keras", batch=10**9)


def test_zip_without_members(tmp_path: Path) -> None:
    path = written(tmp_path / "net.keras", DENSE, weights=FITTING)
    replace_member(path, "config.json", b"")
    with pytest.raises(FormatError, match="configuration cannot be read"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
    with pytest.raises(FormatError, match=r"the archive has no config\.json"):
        load(path)
