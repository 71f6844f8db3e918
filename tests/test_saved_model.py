"""What TensorFlow converts computes what TensorFlow computes; what it should not run is not run.

These tests need TensorFlow, which `pip install '.[dev,tensorflow]'` brings along.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Cli, Run
from small_nets import shared_file
from tersor.errors import FormatError, ModelError, RecipeError, TersorWarning, UnsupportedError
from tersor.formats import tflite
from tersor.formats.saved_model.conversion import Conversion
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.stages.load import load
from tersor.stages.optimize import optimize

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"),
]

MAKE = Path(__file__).with_name("make_tensorflow_models.py")
TRUSTED = "Python code and file operators of this model may run"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of models that `MAKE` makes, in a process of its own: TensorFlow is not imported in this one."""
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run([sys.executable, MAKE, folder], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(autouse=True)
def tensorflow_stays_outside() -> Any:
    """No conversion brings TensorFlow into this process."""
    there = "tensorflow" in sys.modules  # as Keras's backend, where other tests ran in this process
    yield
    assert there or "tensorflow" not in sys.modules


def recorded(path: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    with np.load(path) as file:
        parts = {kind: {k.split(":", 1)[1]: file[k] for k in file if k.startswith(kind)} for kind in ("in:", "out:")}
    return parts["in:"], parts["out:"]


def assert_same(run: Run, model: Model, inputs: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """The model has TensorFlow's names, and its answers, also behind our passes."""
    graph = model.graph
    assert set(graph.inputs) == set(inputs)
    assert set(graph.outputs) == set(wanted)
    (signature,) = model.signatures
    assert dict(signature.inputs) == {name: name for name in graph.inputs}
    assert dict(signature.outputs) == {name: name for name in graph.outputs}
    for version in (model, optimize(model)):
        answers = dict(zip(graph.outputs, run(version, [inputs[name] for name in graph.inputs]), strict=True))
        for name, values in wanted.items():
            assert answers[name].shape == values.shape
            np.testing.assert_allclose(answers[name], values, atol=1e-5 * max(1.0, float(np.abs(values).max())), rtol=0)


@pytest.mark.parametrize("name", ["plain", "exported", "tf1", "tf1_ref", "frozen.pb"])
def test_answers_are_those_of_tensorflow(name: str, models: Path, run: Run) -> None:
    model = load(models / name)
    inputs, wanted = recorded(models / f"{name.removesuffix('.pb')}.npz")
    if name == "frozen.pb":  # its outputs have no names of their own
        wanted = dict(zip(model.graph.outputs, wanted.values(), strict=True))
    assert_same(run, model, inputs, wanted)
    assert all(model.graph.tensors[item].shape == inputs[item].shape for item in model.graph.inputs)
    assert all(model.graph.tensors[item].open_shape is None for item in model.graph.inputs)
    assert model.description.startswith("converted by TensorFlow")


def test_signatures_are_in_alphabetical_order(models: Path) -> None:
    """They have none of their own, and two conversions of a model must be the same."""
    assert load(models / "plain").graph.outputs == ("features", "scores")
    assert load(models / "exported").graph.outputs == ("output_0", "output_1")


def test_graph_file_stands_for_its_saved_model(models: Path, run: Run) -> None:
    assert_same(run, load(models / "plain" / "saved_model.pb"), *recorded(models / "plain.npz"))


def test_open_sizes_are_asked_for_and_closed(models: Path, run: Run) -> None:
    with pytest.raises(UnsupportedError, match=r"open_shape: input 'x' leaves sizes open: \[\?,\?,3\].*--input-shape"):
        load(models / "open_shape")
    with pytest.raises(UnsupportedError, match=r"the shape 6,9,4 does not fit it"):
        load(models / "open_shape", {"": (6, 9, 4)})
    assert_same(run, load(models / "open_shape", {"x": (6, 9, 3)}), *recorded(models / "open_shape.npz"))


def test_one_of_several_signatures_is_asked_for(models: Path, run: Run) -> None:
    with pytest.raises(RecipeError, match="has 2 signatures; give --signature: clip, project"):
        load(models / "several")
    with pytest.raises(RecipeError, match="no signature 'other'; it has clip, project"):
        load(models / "several", conversion=Conversion(signature="other"))
    model = load(models / "several", conversion=Conversion(signature="clip"))
    assert model.signatures[0].key == "clip"
    assert_same(run, model, *recorded(models / "several.npz"))
    with pytest.raises(RecipeError, match="no graph of the SavedModel has the tags gpu; give --tags: serve"):
        load(models / "plain", conversion=Conversion(tags=("gpu",)))


def test_without_a_signature_nothing_says_what_the_inputs_are(models: Path) -> None:
    with pytest.raises(UnsupportedError, match="the SavedModel has no signature"):
        load(models / "no_signature")


def test_parts_of_a_frozen_graph(models: Path, run: Run) -> None:
    asked = Conversion(graph_inputs=("image",), graph_outputs=("middle",))
    model = load(models / "frozen.pb", conversion=asked)
    inputs, wanted = recorded(models / "frozen.npz")
    assert_same(run, model, {"image": inputs["image"]}, {"middle": wanted["y"] / inputs["scale"]})
    with pytest.raises(RecipeError, match="the graph has no operator 'elsewhere'; its inputs look like image, scale"):
        load(models / "frozen.pb", conversion=Conversion(graph_outputs=("elsewhere",)))


# Operators that LiteRT does not have


def test_missing_operators_are_named_and_counted(models: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"no operator for Cumprod x2: .*--select-tf-ops.*Flex delegate"):
        load(models / "select")
    with pytest.raises(UnsupportedError, match=r"Mul \(float64\) x1"):
        load(models / "double")
    with pytest.raises(UnsupportedError, match="neither LiteRT nor its Flex delegate has these operators: Erfc x1"):
        load(models / "nowhere", conversion=Conversion(select_tf_ops=True))


def test_recurrent_layer_with_an_open_batch_says_what_helps(models: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"a recurrent layer .*open batch.*batch_size=1"):
        load(models / "recurrent")


def test_tensorflow_ops_need_a_tensorflow_that_runs_them(models: Path, cli: Cli, place: Path) -> None:
    answer = cli("inspect", models / "select", "--select-tf-ops")
    assert answer.code == 0
    assert "2 FlexCumprod" in answer.out
    assert "warning:" in answer.err
    assert "stay TensorFlow ops: Cumprod x2; such a file needs the Flex delegate on the device" in answer.err
    np.save(place / "four.npy", np.ones((20, 4), np.float32))
    for command in (("quantize", "--data", "four.npy"), ("quantize", "--as", "float16"), ("run", "four.npy")):
        answer = cli(command[0], models / "select", "--select-tf-ops", *command[1:])
        assert answer.code == ModelError.exit_code
        assert "holds TensorFlow ops, and TensorFlow 2." in answer.err
        assert "is built without the Flex delegate that runs them; 2.18 has it: set TERSOR_TENSORFLOW_PY" in answer.err
    assert not list(place.glob("select*"))


# Models that reach for files or for Python


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("writes", "WriteFile x1"),
        ("reads", "ReadFile x1"),
        ("python", "PyFunc x1"),
        ("prints", "PrintV2 x1"),
        ("at_loading", "InitializeTableFromTextFileV2 x1"),
    ],
)
def test_reaching_out_is_refused_before_anything_is_loaded(name: str, operator: str, models: Path) -> None:
    with pytest.raises(UnsupportedError, match=rf"reaches for files.*\({operator}\).*--trust-code"):
        load(models / name)
    assert not (models / "mark.txt").exists()


def test_trusted_code_is_converted_as_far_as_litert_can(models: Path) -> None:
    with pytest.warns(TersorWarning, match=TRUSTED), pytest.raises(UnsupportedError, match="WriteFile x1"):
        load(models / "writes", conversion=Conversion(trust_code=True))


# Keras files


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_file_by_way_of_tensorflow_has_the_same_inputs_and_answers(suffix: str, models: Path, run: Run) -> None:
    path = models / f"two_inputs.{suffix}"
    inputs, wanted = recorded(models / "two_inputs.npz")
    ours, theirs = load(path), load(path, conversion=Conversion(via_tensorflow=True))
    assert theirs.graph.inputs == ours.graph.inputs == ("right", "a_left")
    assert theirs.graph.outputs == ("wide", "narrow")
    assert_same(run, theirs, inputs, wanted)


def test_keras_layer_that_is_not_read_goes_through_tensorflow(models: Path, run: Run) -> None:
    model = load(models / "conv3d.keras", conversion=Conversion(via_tensorflow=True))
    assert_same(run, model, *recorded(models / "conv3d.npz"))


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_lambda_is_executed_only_when_trusted(suffix: str, models: Path, run: Run, cli: Cli) -> None:
    path = models / f"lambda.{suffix}"
    for asked in (None, Conversion(via_tensorflow=True)):
        with pytest.raises(UnsupportedError, match=r"layer 'secret' \(Lambda\).*not executed.*--trust-code"):
            load(path, conversion=asked)
    with pytest.warns(TersorWarning, match=TRUSTED):
        model = load(path, conversion=Conversion(trust_code=True))
    inputs, wanted = recorded(models / "lambda.npz")
    assert_same(run, model, dict(zip(model.graph.inputs, inputs.values(), strict=True)), wanted)
    assert TRUSTED in cli("inspect", path, "--trust-code").err


def test_custom_layer_needs_its_class(models: Path) -> None:
    for asked in (None, Conversion(via_tensorflow=True), Conversion(trust_code=True)):
        if asked is not None and asked.trust_code:
            with pytest.warns(TersorWarning), pytest.raises(UnsupportedError, match=r"model.export\('folder'\)"):
                load(models / "custom.keras", conversion=asked)
        else:
            with pytest.raises(UnsupportedError, match=r"custom.*model.export\('folder'\)"):
                load(models / "custom.keras", conversion=asked)


# Damage


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a graph at all " * 20])
def test_damaged_graphs(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pb").write_bytes(content)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "saved_model.pb").write_bytes(content)
    for name in ("net.pb", "net"):
        with pytest.raises(FormatError, match=name):
            load(tmp_path / name)


def test_missing_variables(models: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    graph = (models / "plain" / "saved_model.pb").read_bytes()
    (tmp_path / "half" / "saved_model.pb").write_bytes(graph)
    with pytest.raises(ModelError, match=r"half: TensorFlow cannot convert it: .*variables") as raised:
        load(tmp_path / "half")
    assert "\n" not in str(raised.value)
    (tmp_path / "half" / "saved_model.pb").write_bytes(graph[: len(graph) // 2])
    with pytest.raises(FormatError, match=r"saved_model.pb is truncated or corrupted"):
        load(tmp_path / "half")


# The commands, and a real model


def test_commands_take_a_saved_model(models: Path, cli: Cli, place: Path) -> None:
    rows = np.random.default_rng(2).uniform(-1, 1, (40, 12, 12, 3)).astype(np.float32)
    np.savez(place / "xy.npz", x=rows, y=np.arange(40) % 5)
    answer = cli("quantize", models / "plain", "--data", "xy.npz", "--samples", "20", "--output", "out")
    assert answer.code == 0, answer.err
    made = tflite.read(place / "out" / "plain.int8.tflite").graph
    assert {made.tensors[name].dtype for name in (*made.inputs, *made.outputs)} == {DType.INT8}
    assert set(made.outputs) == {"scores", "features"}
    assert "I0000" not in answer.err
    answer = cli("quantize", models / "plain", "--data", "xy.npz", "--batch-size", "4", "--output", "batch.tflite")
    assert answer.code == 0, answer.err
    assert tflite.read(place / "batch.tflite").graph.tensors["image"].shape == (4, 12, 12, 3)
    assert cli("evaluate", models / "plain", "--data", "xy.npz").code == 0
    np.save(place / "x.npy", rows[:3])
    assert cli("run", models / "plain", "x.npy", "--output", "o.npz").code == 0
    with np.load(place / "o.npz") as outputs:
        assert outputs["scores"].shape == (3, 5)
    assert f"{models / 'plain'} (" in cli("inspect", models / "plain").out


DSCNN = """
import os, sys
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
tf.compat.v1.disable_eager_execution()
with tf.compat.v1.Session() as session:
    signature = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1]).signature_def["serving_default"]
    (given,), (wanted,) = signature.inputs.values(), signature.outputs.values()
    np.save(sys.argv[3], session.run(wanted.name, {given.name: np.load(sys.argv[2])["x"]}))
"""


def test_keyword_network_is_converted_exactly_and_quantized_without_loss(run: Run, cli: Cli, tmp_path: Path) -> None:
    folder, data = shared_file("kws_dscnn/kws_ref_model"), shared_file("kws_dscnn/kws_mfcc_500.npz")
    command = [sys.executable, "-c", DSCNN, str(folder), str(data), str(tmp_path / "theirs.npy")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    theirs = np.load(tmp_path / "theirs.npy")
    samples, labels = np.load(data)["x"], np.load(data)["y"]
    ours = np.concatenate([run(optimize(load(folder)), [samples])[0]])
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    assert (ours.argmax(1) == labels).mean() == (theirs.argmax(1) == labels).mean() > 0.9
    answer = cli("quantize", folder, "--data", data, "--output", tmp_path / "out", "--json")
    assert answer.code == 0
    outcome = json.loads(answer.out)
    assert outcome["products"][0]["accuracy"]["value"] > outcome["float"]["accuracy"]["value"] - 0.01
