"""Keras files are read as Keras computes them, and what is not read is refused by name."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from conftest import Cli, Run
from small_nets import shared_file
from tersor.errors import FormatError, ModelError, RecipeError, UnsupportedError
from tersor.formats import keras, tflite
from tersor.formats.keras.layers import LAYERS
from tersor.formats.keras.layers.old_functions import FUNCTIONS
from tersor.formats.keras.weights import snake_case
from tersor.ir.graph import Array, Model
from tersor.stages.load import load
from tersor.stages.optimize import optimize

DEMO = Path(__file__).parents[1] / "demo"
CASES = [Path(__file__).parent / "keras_layers" / f"{name}.zip" for name in ("cases", "not_in_tensorflow", "keras_2")]
PLACES = {name: path for path in CASES for name in zipfile.ZipFile(path).namelist()}
NAMES = sorted(name.removesuffix(".keras") for name in PLACES if name.endswith(".keras"))
OLD_NAMES = sorted(name.removesuffix(".h5") for name in zipfile.ZipFile(CASES[2]).namelist() if name.endswith(".h5"))


def unpacked(name: str, suffix: str, folder: Path) -> tuple[Path, list[Array], list[Array]]:
    """A model that Keras saved, inputs, and what Keras answers."""
    with zipfile.ZipFile(PLACES[f"{name}{suffix}"]) as archive:
        path = folder / f"{name}{suffix}"
        path.write_bytes(archive.read(f"{name}{suffix}"))
        arrays = np.load(io.BytesIO(archive.read(f"{name}.npz")))
    inputs, outputs = ([arrays[key] for key in arrays.files if key.startswith(part)] for part in ("input", "output"))
    return path, inputs, outputs


def assert_close(found: list[Array], wanted: list[Array], tolerance: float = 1e-5) -> None:
    assert [item.shape for item in found] == [item.shape for item in wanted]
    for a, b in zip(found, wanted, strict=True):
        assert np.abs(a - b).max() <= tolerance * max(1.0, float(np.abs(b).max()))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", NAMES)
def test_layer_computes_what_keras_computes(name: str, suffix: str, run: Run, tmp_path: Path) -> None:
    assert_reads(name, suffix, run, tmp_path)


@pytest.mark.parametrize("name", OLD_NAMES)
def test_keras_2_computes_the_same(name: str, run: Run, tmp_path: Path) -> None:
    assert_reads(name, ".h5", run, tmp_path)


def assert_reads(name: str, suffix: str, run: Run, folder: Path) -> None:
    path, inputs, wanted = unpacked(name, suffix, folder)
    model = keras.read(path)
    unused = [n for n, item in model.graph.tensors.items() if item.is_constant and n not in model.graph.used_tensors]
    assert not unused
    assert_close(run(with_results(model), inputs), wanted)
    assert_close(run(with_results(optimize(model)), inputs), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_batch_do_not_see_each_other(name: str, run: Run, tmp_path: Path) -> None:
    path, inputs, wanted = unpacked(name, ".keras", tmp_path)
    others = [np.flip(item, -1) for item in inputs]
    batch = [np.concatenate([other, item, other]) for item, other in zip(inputs, others, strict=True)]
    found = run(with_results(optimize(keras.read(path, batch=3))), batch)
    assert_close([item[1:2] for item in found], wanted)
    again = run(with_results(optimize(keras.read(path))), others)
    assert_close([item[:1] for item in found], again)
    assert_close([item[2:] for item in found], again)


def with_results(model: Model) -> Model:
    """LiteRT refuses a model whose output is its input; such a case gets a sum with zero."""
    from tersor.ir.build import Builder

    if model.graph.ops:
        return model
    builder = Builder()
    source = model.graph.tensors[model.graph.inputs[0]]
    x = builder.input(source.name, source.shape)
    return builder.model([builder.op("ADD", [x, builder.constant("zero", np.float32(0))], source.shape)])


def test_every_layer_has_a_case() -> None:
    used, functions = set(), set()
    for name in NAMES:
        with (
            zipfile.ZipFile(PLACES[f"{name}.keras"]) as archive,
            zipfile.ZipFile(io.BytesIO(archive.read(f"{name}.keras"))) as inner,
        ):
            used |= {snake_case(kind) for kind in class_names(json.loads(inner.read("config.json")))}
    for name in OLD_NAMES:
        with (
            zipfile.ZipFile(PLACES[f"{name}.h5"]) as archive,
            h5py.File(io.BytesIO(archive.read(f"{name}.h5"))) as file,
        ):
            config = json.loads(file.attrs["model_config"])
        functions |= {item["config"].get("function") for item in config["config"]["layers"]}
    assert set(FUNCTIONS) - functions == set()
    zoo = {"LayerScale", "StochasticDepth", "CustomScaleLayer", "SyncBatchNormalization"}
    old = {name for name in LAYERS if name.startswith(("Convolution", "SeparableConvolution"))}
    old |= {"BatchNormalizationV1", "GroupedQueryAttention"}
    idle = {name for name, function in LAYERS.items() if getattr(function, "__name__", "") == "identity"}
    missing = {name for name in set(LAYERS) - old - zoo - idle if snake_case(name.removeprefix("ops.")) not in used}
    assert missing == {"ops.BroadcastTo"}  # in Keras 2 only: the shape names the batch


def class_names(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for item in value for name in class_names(item)}
    if not isinstance(value, dict):
        return set()
    own = {str(value["class_name"])} if "class_name" in value else set()
    return own | {name for item in value.values() for name in class_names(item)}


def test_demo_is_its_tflite_twin(run: Run) -> None:
    model = optimize(load(DEMO / "fashion_mnist.keras"))
    twin = optimize(load(DEMO / "fashion_mnist.tflite"))
    assert Counter(op.kind for op in model.graph.ops) == Counter(op.kind for op in twin.graph.ops)
    for seed in range(4):
        x = np.random.default_rng(seed).uniform(0, 1, (1, 28, 28, 1)).astype(np.float32)
        assert_close(run(model, [x]), run(twin, [x]), 1e-6)


def test_names_are_those_of_the_layers() -> None:
    graph = optimize(load(DEMO / "fashion_mnist.keras")).graph
    assert graph.inputs == ("image",)
    assert graph.outputs == ("probabilities",)
    config = json.loads(zipfile.ZipFile(DEMO / "fashion_mnist.keras").read("config.json"))
    layers = {layer["name"] for layer in config["config"]["layers"]}
    assert {op.name.partition("/")[0] for op in graph.ops} <= layers


def test_keras_2_file_is_its_tflite_twin(run: Run) -> None:
    model = optimize(load(shared_file("cifar10_resnet8/pretrainedResnet.h5")))
    twin = optimize(load(shared_file("cifar10_resnet8/pretrainedResnet.tflite")))
    assert Counter(op.kind for op in model.graph.ops) == Counter(op.kind for op in twin.graph.ops)
    x = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    assert_close(run(model, [x]), run(twin, [x]), 1e-5)


def test_keras_2_mobilenet_that_keras_3_refuses(run: Run) -> None:
    read = load(shared_file("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5"))
    model = optimize(read)
    assert Counter(op.kind for op in model.graph.ops) == {
        "CONV_2D": 15, "DEPTHWISE_CONV_2D": 13, "MEAN": 1, "RESHAPE": 1, "SOFTMAX": 1,
    }  # fmt: skip
    x = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    assert_close(run(model, [x]), run(read, [x]), 1e-5)


def test_command_line_takes_a_keras_file(cli: Cli, place: Path) -> None:
    data = DEMO / "fashion_mnist_calibration.npz"
    answer = cli("quantize", DEMO / "fashion_mnist.keras", "--data", data, "--samples", "50", "--rescale", "1/255",
                 "--output", "small.tflite")  # fmt: skip
    assert answer.code == 0, answer.err
    assert tflite.read(place / "small.tflite").graph.inputs == ("image",)
    assert cli("inspect", DEMO / "fashion_mnist.keras").code == 0
    assert cli("evaluate", DEMO / "fashion_mnist.keras", "--data", data, "--rescale", "1/255").code == 0
    np.save(place / "one.npy", np.zeros((1, 28, 28, 1), np.float32))
    assert cli("run", DEMO / "fashion_mnist.keras", "one.npy").code == 0


Layer = dict[str, Any]


def layer(kind: str, name: str = "it", **config: Any) -> Layer:
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}, "name": name}


def written(
    path: Path,
    *layers: Layer,
    shape: tuple[int | None, ...] = (None, 4),
    weights: dict[str, Array] | None = None,
    **changes: Any,
) -> Path:
    """A Sequential `.keras` file, written by hand."""
    entries = [layer("InputLayer", "x", batch_shape=list(shape), dtype="float32"), *layers]
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": entries}} | changes
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, values in (weights or {}).items():
            file[name] = values
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", '{"keras_version": "3.15.0"}')
        archive.writestr("model.weights.h5", content.getvalue())
    return path


DENSE = layer("Dense", units=3, activation="linear", use_bias=True)
FITTING = {"layers/dense/vars/0": np.zeros((4, 3), np.float32), "layers/dense/vars/1": np.zeros(3, np.float32)}

REFUSED: dict[str, tuple[Layer, str]] = {
    "custom": ({**layer("Dense", units=3), "module": "mine", "registered_name": "mine>Dense"}, "a custom layer"),
    "unknown": (layer("ConvLSTM2D"), "'it' (ConvLSTM2D): tersor does not read this layer"),
    "lambda": (layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}), "not executed"),
    "activation": (layer("Activation", activation="squared"), "its activation 'squared' is not read"),
    "custom activation": (layer("Activation", activation={"class_name": "Mine"}), "is not read"),
    "axis": (layer("BatchNormalization", axis=0), "only one, behind the batch, is read"),
    "quantized": ({**layer("Dense", units=3, quantization_config={"dtype": "int8"})}, "save the float model"),
    "quantized policy": (layer("Dense", units=3, dtype={"class_name": "QuantizedDTypePolicy"}), "save the float model"),
    "another gate": (layer("LSTM", units=3, recurrent_activation="sharp"), "'sharp' is not read"),
    "own cell": (
        layer("RNN", cell={**layer("MyCell", units=3), "module": "mine"}),
        "'it/it' (MyCell): it is a custom cell",
    ),
    "state between samples": (layer("LSTM", units=3, stateful=True), "stateful is not read"),
    "TensorFlow function": (layer("TFOpLambda", function="fft"), "function fft is not read"),
    "one to add": (layer("Add"), "called with one tensor"),
    "window": (layer("MultiHeadAttention", num_heads=2, key_dim=3, sliding_window=2), "sliding_window is not read"),
    "within": (layer("TimeDistributed", layer=layer("Hashing")), "'it/it' (Hashing): tersor does not read this layer"),
    "windows": (layer("AdaptiveMaxPooling1D", output_size=2), "windows of different sizes"),
}


SEQUENTIAL = ("LSTM", "RNN", "TimeDistributed", "AdaptiveMaxPooling1D")


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_read_is_refused_by_name(what: str, tmp_path: Path) -> None:
    entry, hint = REFUSED[what]
    shape = (None, 5, 4) if entry["class_name"] in SEQUENTIAL else (None, 4)
    with pytest.raises(UnsupportedError) as error:
        load(written(tmp_path / "net.keras", entry, shape=shape))
    assert hint in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'net.keras'}: layer 'it")
    assert "\n" not in str(error.value)


def test_open_sizes_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "net.keras", layer("ReLU"), shape=(None, None, 5, 3))
    with pytest.raises(UnsupportedError, match="--input-shape 224,5,3"):
        load(path)
    assert load(path, {"": (8, 5, 3)}).graph.tensors["x"].shape == (1, 8, 5, 3)
    assert load(path, {"x": (8, 5, 3)}).graph.tensors["x"].shape == (1, 8, 5, 3)
    with pytest.raises(UnsupportedError, match="does not fit"):
        load(path, {"": (8, 6, 3)})
    with pytest.raises(RecipeError, match="fixed"):
        load(DEMO / "fashion_mnist.tflite", {"": (28, 28, 1)})


def test_shape_that_is_none(cli: Cli, place: Path) -> None:
    answer = cli("inspect", "net.tflite", "--input-shape", "a,b")
    assert answer.code == 2
    assert "'a,b' is not a shape" in answer.err


def with_weights(**changes: Array | None) -> dict[str, Array]:
    merged = {f"layers/dense/vars/{key}": value for key, value in changes.items()}
    return {key: value for key, value in (FITTING | merged).items() if value is not None}


BAD_WEIGHTS: dict[str, tuple[dict[str, Array], str]] = {
    "shape": (with_weights(**{"0": np.zeros((5, 3), np.float32)}), r"kernel has shape \[5, 3\] .* needs \[4, 3\]"),
    "missing": (with_weights(**{"1": None}), "has 1 arrays where kernel, bias are expected"),
    "none": ({}, "has 0 arrays"),
    "text": (with_weights(**{"1": np.array([b"a", b"b", b"c"])}), "not numbers"),
}


@pytest.mark.parametrize("what", BAD_WEIGHTS)
def test_weights_that_do_not_fit(what: str, tmp_path: Path) -> None:
    weights, hint = BAD_WEIGHTS[what]
    with pytest.raises(FormatError, match=hint):
        load(written(tmp_path / "net.keras", DENSE, weights=weights))


def test_weights_that_fit(tmp_path: Path) -> None:
    assert len(load(written(tmp_path / "net.keras", DENSE, weights=FITTING)).graph.ops) == 1


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_truncated_at_any_place(suffix: str, tmp_path: Path) -> None:
    path, _, _ = unpacked("nested", suffix, tmp_path)
    content = path.read_bytes()
    for size in [0, 1, 4, 8, 100, *range(500, len(content), max(len(content) // 40, 1))]:
        path.write_bytes(content[:size])
        with pytest.raises(ModelError):
            load(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damaged_bytes_end_in_a_model_error_or_a_model(suffix: str, tmp_path: Path) -> None:
    path, _, _ = unpacked("nested", suffix, tmp_path)
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = generator.integers(0, len(damaged), 30)
        damaged[places] = generator.integers(0, 256, 30)
        path.write_bytes(damaged.tobytes())
        with suppress(ModelError):
            load(path)


def test_weights_only_file_says_what_is_missing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3)
    with pytest.raises(UnsupportedError, match="holds weights only, not the architecture"):
        load(tmp_path / "net.weights.h5")


def test_hdf5_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["spectrum"] = np.zeros(3)
    with pytest.raises(FormatError, match="not a Keras model"):
        load(tmp_path / "net.h5")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    path = written(tmp_path / "net.keras", DENSE)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/dense/vars/1"] = FITTING["layers/dense/vars/1"]
        file["layers/dense/vars/0"] = h5py.ExternalLink("/elsewhere.h5", "/secret")
    replace_member(path, "model.weights.h5", content.getvalue())
    with pytest.raises(FormatError, match="links are not followed"):
        load(path)


def test_array_that_the_file_does_not_hold(tmp_path: Path) -> None:
    path = written(tmp_path / "net.keras", layer("Dense", units=1 << 24, use_bias=False))
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("layers/dense/vars/0", (4, 1 << 24), np.float32, chunks=(4, 1 << 16))
    replace_member(path, "model.weights.h5", content.getvalue())
    with pytest.raises(FormatError, match="claims 268,435,456 bytes that the file does not hold"):
        load(path)


def test_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (64 << 20))
    with pytest.raises(FormatError, match="zip bomb"):
        load(path)


def replace_member(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {item: archive.read(item) for item in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for item, own in (members | {name: content}).items():
            archive.writestr(item, own)


def nest(depth: int) -> Layer:
    inner = layer("ReLU")
    for number in range(depth):
        inner = {"class_name": "Sequential", "config": {"name": f"s{number}", "layers": [
            layer("InputLayer", "x", batch_shape=[None, 4]), inner]}, "name": f"s{number}"}  # fmt: skip
    return inner


CONFIGS: dict[str, Callable[[Path], Path]] = {
    "deep": lambda path: written(path, nest(50)),
    "brackets": lambda path: bracketed(path),
    "huge": lambda path: written(path, layer("ZeroPadding2D", padding=2**30), shape=(None, 4, 4, 1)),
    "huge input": lambda path: written(path, layer("ReLU"), shape=(None, 2**40)),
    "empty image": lambda path: written(path, layer("Cropping2D", cropping=9), shape=(None, 4, 4, 1)),
    "no layers": lambda path: written(path, config={"name": "net", "layers": []}),
    "list": lambda path: replaced_config(path, "[]"),
    "number": lambda path: replaced_config(path, "3"),
    "no shape": lambda path: written(path, layer("ReLU"), shape=(None, "a")),  # type: ignore[arg-type]
    "subclass": lambda path: written(path, class_name="MyModel", config={"units": 3}),
}


def bracketed(path: Path) -> Path:
    return replaced_config(path, "[" * 100_000)


def replaced_config(path: Path, text: str) -> Path:
    written(path, layer("ReLU"))
    replace_member(path, "config.json", text.encode())
    return path


@pytest.mark.parametrize("what", CONFIGS)
def test_configuration_bombs_and_nonsense(what: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as error:
        load(CONFIGS[what](tmp_path / "net.keras"))
    assert str(error.value).startswith(str(tmp_path / "net.keras"))
