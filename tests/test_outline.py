"""Weights of which only the shape is known: read from no file, computed with in no time, written as a hole, and never
taken for weights."""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from conftest import Cli
from small_nets import random
from tersor.errors import FormatError, ModelError
from tersor.formats import tflite
from tersor.formats.keras.weights import ByPosition
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model
from tersor.ir.outline import SMALLEST, filled, has_outlines, in_order, is_outline, outline
from tersor.ir.placement import Placement
from tersor.numerics.affine import dequantize, quantize, weight_params
from tersor.stages.load import load
from tersor.stages.place import outlines_suffice_above, place
from tersor.stages.place_everywhere import place_everywhere
from tersor.stages.thin import thinned
from tersor.targets import ethos_u, micro

DEMO = Path(__file__).parents[1] / "demo" / "fashion_mnist.keras"


def wide(filters: int = 256) -> Model:
    builder = Builder("net")
    x = builder.input("x", (1, 4, 4, 128))
    weights = builder.constant("w", random((filters, 1, 1, 128), low=-0.5))
    bias = builder.constant("b", random((filters,)))
    options = {"stride_w": 1, "stride_h": 1, "padding": 1}
    return builder.model([builder.op("CONV_2D", [x, weights, bias], (1, 4, 4, filters), options)])


def test_nothing_else_is_taken_for_an_outline() -> None:
    made = outline((3, 4), np.float32)
    assert is_outline(made)
    assert is_outline(np.moveaxis(made, 1, 0))
    assert is_outline(made.reshape(2, 6))
    assert is_outline(in_order(made.T, np.int8))
    others: list[Array] = [np.broadcast_to(np.float32(value), (3, 4)) for value in (0, 7)]
    others += [np.zeros((3, 4)), np.array(made), np.float32(0) + made]
    assert not any(is_outline(array) for array in others)


def test_numbers_of_an_outline_are_those_of_zeros() -> None:
    made, zeros = outline((8, 3), np.float32), np.zeros((8, 3), np.float32)
    for axis in (None, 0):
        params = weight_params(made, DType.INT8, axis)
        assert params == weight_params(zeros, DType.INT8, axis)
        assert is_outline(quantize(made, params))
        assert np.array_equal(quantize(made, params), quantize(zeros, params))
        assert np.array_equal(dequantize(quantize(made, params), params), zeros)


def test_a_model_with_outlines_is_not_written(tmp_path: Path) -> None:
    model = thinned(replace(wide(), source="net.keras"))
    assert has_outlines(model)
    with pytest.raises(ModelError, match=r"net\.keras: large weights were not read: it is for forecasts only"):
        tflite.write(model, tmp_path / "net.tflite")
    tflite.write(filled(model), tmp_path / "net.tflite")
    weights = tflite.read(tmp_path / "net.tflite").graph.tensors["w"].data
    assert weights is not None
    assert not weights.any()


def test_a_hollow_file_has_all_shapes_and_small_values(tmp_path: Path) -> None:
    whole = wide(4096)
    tflite.write(whole, tmp_path / "whole.tflite")
    tflite.write_hollow(thinned(whole), tmp_path / "hollow.tflite")
    mine, theirs = (tflite.read(tmp_path / f"{name}.tflite").graph for name in ("hollow", "whole"))
    assert mine.ops == theirs.ops
    assert {name: (t.shape, t.dtype) for name, t in mine.tensors.items()} == {
        name: (t.shape, t.dtype) for name, t in theirs.tensors.items()
    }
    assert mine.tensors["b"] == theirs.tensors["b"]
    assert mine.tensors["w"].data is not None
    assert not mine.tensors["w"].data.any()
    assert (tmp_path / "hollow.tflite").stat().st_blocks * 512 < (tmp_path / "whole.tflite").stat().st_size / 4


@pytest.mark.parametrize("stored", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("target", ["edge_tpu", "cpu", "micro"])
def test_the_forecast_needs_no_large_weights(
    target: str, stored: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tersor.formats.keras.weights.SMALLEST", 1000)
    monkeypatch.setattr("tersor.stages.thin.SMALLEST", 1000)
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(DEMO) as given, zipfile.ZipFile(path, "w", stored) as made:
        for name in given.namelist():
            made.writestr(name, given.read(name))
    whole, sketched = load(path), load(path, outlines_above=0)
    assert has_outlines(sketched)
    assert not has_outlines(whole)
    assert whole.graph.ops == sketched.graph.ops
    assert place(whole, target) == place(sketched, target)


@pytest.mark.parametrize(("name", "is_read"), [("kernel", False), ("recurrent_kernel", False), ("mean", True)])
def test_what_decides_on_operators_is_read(name: str, is_read: bool, tmp_path: Path) -> None:
    values = random((1, SMALLEST))
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["vars/0"] = values
        found = ByPosition(file, outlines=True).take("layer", {name: values.shape})[name]
    assert np.array_equal(found, values) is is_read
    assert is_outline(found) is not is_read


def test_an_archive_that_ends_early_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(DEMO) as given, zipfile.ZipFile(path, "w") as made:
        for name in given.namelist():
            content = given.read(name)
            made.writestr(name, content[:20_000] if name.endswith(".h5") else content)
    with pytest.raises(FormatError, match=r"model\.keras: .*(truncated|damaged|corrupted)"):
        load(path, outlines_above=0)


def test_of_which_files_all_is_read() -> None:
    assert outlines_suffice_above(["edge_tpu", "cpu"]) == 0
    assert outlines_suffice_above(["edge_tpu", "micro"]) == micro.WEIGHTS_MATTER
    assert outlines_suffice_above(["ethos_u"]) == math.inf


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_state_of_an_optimizer_makes_no_network_large(suffix: str, tmp_path: Path) -> None:
    path = with_state(tmp_path / f"model{suffix}")
    size = path.stat().st_size
    assert size > 2 * STATE
    assert not has_outlines(load(path, outlines_above=size - STATE))
    assert has_outlines(load(path, outlines_above=1000))


STATE = 4 * SMALLEST
"""Bytes."""


def with_state(path: Path) -> Path:
    """A file with a dense layer of `SMALLEST` weights, and as many bytes of an optimizer's."""
    size = (SMALLEST // 64, 64)
    content = io.BytesIO()
    layers = [
        {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, size[0]], "dtype": "float32"}},
        {"class_name": "Dense", "config": {"name": "d", "units": 64, "activation": "linear", "use_bias": False}},
    ]
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    with h5py.File(content, "w") as file:
        if path.suffix == ".keras":
            file["layers/dense/vars/0"] = random(size)
            file["optimizer/vars/0"] = random(size)
        else:
            file.attrs["model_config"] = json.dumps(config)
            file["model_weights/d/d/kernel:0"] = random(size)
            file["model_weights/d"].attrs["weight_names"] = [b"d/kernel:0"]
            file["optimizer_weights/d/kernel:0"] = random(size)
    if path.suffix == ".h5":
        path.write_bytes(content.getvalue())
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def test_vela_is_not_asked_about_large_networks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethos_u, "QUICK_BELOW", 1000)
    monkeypatch.setattr(ethos_u, "place", lambda *_, **__: pytest.fail("it was asked"))
    answer = cli("place", DEMO)
    assert answer.code == 0
    assert "not asked: takes long for a network of this size; ask for it: tersor place" in " ".join(answer.out.split())
    found = {item["target"]: item for item in json.loads(cli("place", DEMO, "--json").out)["targets"]}
    assert found["ethos_u"]["error"].startswith("not asked: ")
    assert found["ethos_u"]["operators"] == []
    assert found["cpu"]["error"] is None


def test_options_of_vela_ask_it_about_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ethos_u, "QUICK_BELOW", 1000)
    asked: list[dict[str, object]] = []

    def vela(model: Model, **options: object) -> Placement:
        assert not has_outlines(model)
        asked.append(options)
        return place(model, "cpu")

    monkeypatch.setattr(ethos_u, "place", vela)
    judged = {item.target: item for item in place_everywhere(load(DEMO), accelerator="ethos-u85-256")}
    assert asked == [{"accelerator": "ethos-u85-256"}]
    assert judged["ethos_u"].is_asked


def test_a_model_that_was_not_read_is_not_given_to_vela(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tersor.formats.keras.weights.SMALLEST", 1000)
    monkeypatch.setattr(ethos_u, "place", lambda *_, **__: pytest.fail("it was asked"))
    judged = {item.target: item for item in place_everywhere(load(DEMO, outlines_above=0))}
    assert not judged["ethos_u"].is_asked
    assert judged["cpu"].placement is not None
