"""Models with operators that only TensorFlow has: these stay, the rest is quantized, TensorFlow's interpreter runs it.

These tests need a TensorFlow whose interpreter has the Flex delegate (2.18 is the last) in an environment of its own,
and `TERSOR_TENSORFLOW_PYTHON` set to its Python; `make test-tensorflow` does both.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli
from tersor.errors import ModelError, PlanError, UnsupportedError
from tersor.formats import tflite
from tersor.formats.saved_model.conversion import Conversion
from tersor.runtimes.engine import Engine
from tersor.stages.load import admit_tensorflow_ops, load, tensorflow_ops

PYTHON = os.environ.get("TERSOR_TENSORFLOW_PYTHON")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="TERSOR_TENSORFLOW_PYTHON names no Python"),
    pytest.mark.filterwarnings("ignore:.*stay TensorFlow ops:tersor.errors.TersorWarning"),
]

MAKE = """
import sys
import numpy as np
import tensorflow as tf

random = np.random.default_rng(0)
kernel = tf.Variable(random.normal(0, 0.3, (3, 3, 3, 16)).astype("float32"))
weights = tf.Variable(random.normal(0, 0.3, (16, 10)).astype("float32"))

class Network(tf.Module):
    def __init__(self):
        self.variables_of_it = [kernel, weights]

    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32, name="image")])
    def call(self, image):
        found = tf.nn.relu(tf.nn.conv2d(image, kernel, 2, "SAME"))
        found = tf.math.cumprod(1 + 0.1 * found, axis=3)
        return {"scores": tf.nn.softmax(tf.reduce_mean(found, [1, 2]) @ weights)}

network = Network()
tf.saved_model.save(network, sys.argv[1] + "/network", network.call.get_concrete_function())
images = random.normal(size=(120, 16, 16, 3)).astype("float32")
np.save(sys.argv[1] + "/images.npy", images)
np.save(sys.argv[1] + "/scores.npy", network.call(images)["scores"].numpy())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tensorflow_ops")
    command = [str(PYTHON), "-c", MAKE, str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return made


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
def test_outputs_are_tensorflows(folder: Path, kernels: str) -> None:
    model = load(folder / "network", conversion=Conversion(select_tf_ops=True))
    assert tensorflow_ops(model) == {"Cumprod": 1}
    tflite.write(model, folder / "float.tflite")
    images, wanted = np.load(folder / "images.npy")[:8], np.load(folder / "scores.npy")[:8]
    with Engine() as engine:
        with pytest.raises(UnsupportedError, match=r"float\.tflite: holds TensorFlow ops"):
            engine.open(str(folder / "float.tflite"), kernels)
        admit_tensorflow_ops(model, engine)
        handle = engine.open(str(folder / "float.tflite"), kernels, copies=2)
        found = [outputs[0][0] for outputs in handle.run_all([image[np.newaxis]] for image in images)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_rest_is_quantized_and_measured(folder: Path, cli: Cli) -> None:
    answer = cli(
        "quantize", folder / "network", "--select-tf-ops", "--data", folder / "images.npy", "--as",
        "int8_float_io,int16x8,float16", "--output", folder / "out", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    flavours = {item["name"]: item for item in json.loads(answer.out)["products"]}
    assert flavours["int8_float_io"]["sqnr_db"] > 30
    assert flavours["int16x8"]["sqnr_db"] > 55
    integers = tflite.read(folder / "out" / "network.int8_float_io.tflite").graph
    kinds = {op.label: integers.tensors[op.outputs[0]].dtype for op in integers.ops}
    assert str(kinds["CONV_2D"]) == "int8"
    assert str(kinds["FlexCumprod"]) == "float32"


def test_integers_throughout_are_refused(folder: Path, cli: Cli) -> None:
    answer = cli("quantize", folder / "network", "--select-tf-ops", "--data", folder / "images.npy", "--as", "int8")
    assert answer.code == PlanError.exit_code
    assert "FlexCumprod: TensorFlow computes it in float: 'Cumprod'" in answer.err


def test_run_evaluate_and_debug_take_such_files(folder: Path, cli: Cli) -> None:
    model = load(folder / "network", conversion=Conversion(select_tf_ops=True))
    tflite.write(model, folder / "own.tflite")
    answer = cli("quantize", folder / "own.tflite", "--data", folder / "images.npy", "--as", "int8_float_io")
    assert answer.code == 0, answer.err
    small = folder / "own.int8_float_io.tflite"
    answer = cli("run", small, folder / "images.npy", "--top", "1")
    assert answer.code == 0, answer.err
    assert len(answer.out.splitlines()) == 120
    answer = cli("debug", folder / "own.tflite", small, "--data", folder / "images.npy", "--json")
    assert answer.code == 0, answer.err
    classes = np.load(folder / "scores.npy").argmax(-1)
    np.savez(folder / "labelled.npz", x=np.load(folder / "images.npy"), y=classes)
    answer = cli("evaluate", folder / "own.tflite", "--data", folder / "labelled.npz", "--json")
    assert json.loads(answer.out)["value"] == 1


@pytest.mark.parametrize("place", ["code", "options"])
def test_what_reaches_for_files_is_not_run(folder: Path, cli: Cli, place: str) -> None:
    """TensorFlow obeys the options and not the code, so that both are looked at."""
    model = load(folder / "network", conversion=Conversion(select_tf_ops=True))
    (op,) = (op for op in model.graph.ops if op.kind == "CUSTOM")
    meddled = (
        replace(op, custom_code="FlexReadFile")
        if place == "code"
        else replace(op, custom_options=(op.custom_options or b"").replace(b"\x12\x07Cumprod", b"\x12\x07RdrFile"))
    )
    assert meddled != op
    path = folder / f"{place}.tflite"
    tflite.write(model.with_graph(model.graph.edit(replace_ops={op.name: (meddled,)})), path)
    for command in (("run", path, folder / "images.npy"), ("quantize", path, "--as", "float16")):
        answer = cli(*command)
        assert answer.code == ModelError.exit_code
        assert "reach for files, Python or other machines (R" in answer.err
        assert "File x1): it is not run" in answer.err
