"""`tersor compare --kernels` and `tersor evaluate --kernels micro`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli
from integer_nets import BUILDS, IntegerNet
from small_nets import classifier, images
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.recipe import load_recipe
from tersor.runtimes import tflite_micro
from tersor.stages.calibrate import calibrate
from tersor.stages.optimize import optimize
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize

needs_micro = pytest.mark.skipif(not tflite_micro.is_installed(), reason="tflite-micro is not installed")


@pytest.fixture
def file(place: Path) -> Path:
    """`classifier` in int8, beside `data.npz` with labels."""
    model, samples = optimize(classifier()), list(images(40)[:, None])
    path = place / "int8.tflite"
    tflite.write(quantize(model, plan(model, load_recipe("int8"), calibrate(model, samples))), path)
    np.savez(place / "data.npz", x=images(40, seed=1), y=np.arange(40) % 5)
    return path


@needs_micro
def test_one_file_on_three_kernel_sets(file: Path, cli: Cli) -> None:
    answer = cli("compare", str(file), "--kernels", "xnnpack,builtin,micro", "--data", "data.npz", "--as-is")
    assert answer.code == 0
    rows = answer.out.splitlines()
    assert [row.split()[0] for row in rows] == ["kernels", "xnnpack", "builtin", "micro"]
    assert "40 samples; agree, equal bits and worst" in answer.err
    assert "layers are from the integer reference, which is exact on these 8 samples" in answer.err


def test_the_first_layer_where_they_part(place: Path, cli: Cli) -> None:
    """One LEAKY_RELU, which XNNPACK computes with factors of eight bits."""
    net = IntegerNet(3, DType.INT8)
    (place / "leaky.tflite").write_bytes(net.file(BUILDS["LEAKY_RELU"][0](net)))
    port = tflite.read(place / "leaky.tflite").graph.tensor("x")
    assert port.quant is not None
    np.save(place / "x.npy", net.random.uniform(*port.quant.real_range, (20, *port.shape[1:])).astype(np.float32))
    answer = cli("compare", "leaky.tflite", "--kernels", "builtin,xnnpack", "--data", "x.npy", "--json")
    (found,) = json.loads(answer.out)["files"]
    assert found["exact"] == found["traced"] == 8
    (parting,) = found["partings"]
    assert (parting["index"], parting["kind"], parting["worst"]) == (0, "LEAKY_RELU", 1)
    assert 0 < parting["share"] < 1
    assert found["kernels"][1]["equal"] < 1


def test_without_the_package_the_reference_stands_in(file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_micro, "is_installed", lambda: False)
    answer = cli("compare", str(file), "--kernels", "builtin,micro", "--data", "data.npz", "--as-is")
    assert answer.code == 0
    assert "micro is the integer reference's: pip install 'tersor[micro]' for the kernels themselves" in answer.err


def test_a_float_file_runs_but_its_layers_are_not_compared(file: Path, cli: Cli) -> None:
    tflite.write(classifier(), file.with_name("float.tflite"))
    answer = cli("compare", "float.tflite", "--kernels", "builtin,xnnpack", "--data", "data.npz", "--as-is")
    assert answer.code == 0
    assert "layers are not compared: the integer reference does not compute CONV_2D 'conv'" in answer.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--kernels", "xnnpack,cmsis"], "--kernels: unknown kernels 'cmsis': there are builtin, micro, xnnpack"),
        (["--kernels", "micro"], "two or more kernel sets are compared, such as xnnpack,builtin,micro"),
        (["--kernels", "xnnpack,builtin", "--max-drop", "1%"], "--max-drop is for two models"),
        ([], "compare takes two models, or one with --kernels xnnpack,builtin,micro"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], told: str, file: Path, cli: Cli) -> None:
    answer = cli("compare", str(file), *arguments, "--data", "data.npz")
    assert answer.code == 2
    assert told in answer.err
    assert len([line for line in answer.err.splitlines() if line.startswith("error:")]) == 1


@needs_micro
def test_evaluate_and_run_on_a_microcontrollers_kernels(file: Path, cli: Cli) -> None:
    answer = cli("evaluate", str(file), "--kernels", "micro", "--data", "data.npz", "--as-is")
    assert answer.code == 0
    assert "on 40 samples, micro kernels" in answer.out
    answer = cli("benchmark", str(file), "--kernels", "micro")
    assert answer.code == 2
    assert "the micro kernels are not timed on this machine; there are xnnpack, builtin" in answer.err


@needs_micro
def test_what_the_micro_kernels_refuse(place: Path, cli: Cli) -> None:
    net = IntegerNet(0, DType.INT8)
    (place / "n1.tflite").write_bytes(net.file(BUILDS["RELU_N1_TO_1"][0](net)))
    shape = tflite.read(place / "n1.tflite").graph.tensor("x").shape
    np.savez(place / "data.npz", x=np.zeros((3, *shape[1:]), np.int8), y=np.zeros(3, np.int64))
    answer = cli("evaluate", "n1.tflite", "--kernels", "micro", "--data", "data.npz")
    assert answer.code != 0
    assert "the micro kernels refuse the model: Didn't find op for builtin opcode 'RELU_N1_TO_1'" in answer.err


def test_without_the_package_evaluate_says_what_to_install(
    file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tersor.errors import UnsupportedError
    from tersor.runtimes.micro_session import MicroSession

    monkeypatch.setattr(tflite_micro, "is_installed", lambda: False)
    with pytest.raises(UnsupportedError, match=r"need the package tflite-micro: pip install 'tersor\[micro\]'"):
        MicroSession(str(file))
