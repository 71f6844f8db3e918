"""What is said of samples that can be read: only what is certain."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from conftest import Cli
from small_nets import DEMO, DEMO_DATA, classifier, dense, images, random, shared_file, through_file
from tersor.data.dataset import Dataset, from_iterable
from tersor.data.feed import Sample
from tersor.data.preprocess import Preprocess
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.ir.normal import Normal
from tersor.stages.evaluate import Score, Scorer, doubt
from tersor.stages.examine import examine
from tersor.stages.load import load
from tersor.stages.load_data import load_data
from tersor.stages.match_training import match_training


def saved(folder: Path, name: str, x: object, y: object = None) -> Dataset:
    arrays = {"x": np.asarray(x)} | ({} if y is None else {"y": np.asarray(y)})
    np.savez(folder / name, **arrays)  # type: ignore[arg-type]
    return load_data(str(folder / name), classifier(), Preprocess())


def of_pictures(folder: Path, names: dict[str, int]) -> Dataset:
    """A picture per name, of that shade."""
    folder.mkdir()
    for name, shade in names.items():
        Image.new("RGB", (6, 6), (shade, 0, 0)).save(folder / f"{name}.png")
    return load_data(str(folder), classifier())


def test_copies_are_counted_and_one_pair_is_named(tmp_path: Path) -> None:
    data = of_pictures(tmp_path / "p", {"a": 1, "b": 2, "c": 1, "d": 1})
    (remark,) = examine(data, None, classifier())
    assert remark == f"2 of 4 calibration samples are copies of others ({tmp_path}/p/c.png is {tmp_path}/p/a.png)"
    x = images(6)
    x[5] = x[2]
    (remark,) = examine(saved(tmp_path, "x.npz", x), None, classifier())
    assert "1 of 6 calibration samples is a copy of others" in remark
    assert "x.npz[5] is " in remark


def test_samples_that_differ_at_their_borders_only_are_no_copies(tmp_path: Path) -> None:
    """What is looked at first is the middle of a sample."""
    x = np.zeros((3, 8, 64, 64), np.float32) + np.arange(8, dtype=np.float32)[:, None, None]
    x[1, 0, 0, 0], x[2, 0, 0, 0] = 9, 10
    assert examine(saved(tmp_path, "x.npz", x), None, classifier()) == ()
    x[2, 0, 0, 0] = 9
    (remark,) = examine(saved(tmp_path, "y.npz", x), None, classifier())
    assert "1 of 3 calibration samples is a copy of others" in remark
    assert "y.npz[2] is " in remark


def test_leak_between_calibration_and_evaluation(tmp_path: Path) -> None:
    one = of_pictures(tmp_path / "one", {"a": 1, "b": 2})
    other = of_pictures(tmp_path / "other", {"x": 2, "y": 3, "z": 4})
    (remark,) = examine(one, other, classifier())
    assert remark.startswith("1 of 3 samples that are measured on were calibrated on, too (")
    assert "other/x.png is " in remark
    assert "one/b.png" in remark
    assert examine(other.split(2)[0], other.split(2)[1], classifier()) == ()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([2] * 30, "all 30 calibration samples are of class 2"),
        ([0] * 20 + [1] * 5 + [2] * 5, "20 of 30 calibration samples are of class 0"),
        ([0] * 15 + [1] * 5 + [2] * 10, ""),
        ([0] * 20 + [1] * 10, ""),  # two classes are seldom even
        ([0] * 29 + [1], "29 of 30 calibration samples are of class 0"),
        ([1] * 10, ""),  # too few to say
        ([0.5] * 30, ""),  # targets, no classes
        ([[0, 1, 0]] * 30, "all 30 calibration samples are of class 1"),
        (list(range(30)), ""),
    ],
)
def test_classes_that_calibration_hardly_sees(tmp_path: Path, labels: list[object], message: str) -> None:
    found = examine(saved(tmp_path, "x.npz", images(len(labels)), labels), None, classifier())
    assert bool(found) == bool(message)
    assert not message or found[0].startswith(message)


def normalizing(factor: float, offset: float) -> Model:
    """x [1,6,6,3] -> MUL -> ADD -> MEAN -> FULLY_CONNECTED."""
    builder = Builder("normalizing")
    y = builder.op("MUL", [builder.input("x", [1, 6, 6, 3]), builder.constant("factor", factor)], [1, 6, 6, 3])
    y = builder.op("ADD", [y, builder.constant("offset", offset)], [1, 6, 6, 3])
    y = builder.op("MEAN", [y, builder.constant("axes", [1, 2])], [1, 3])
    return through_file(builder.model([dense(builder, y, 2)]))


@pytest.mark.parametrize(
    ("factor", "offset", "low", "high", "message"),
    [
        (1 / 127.5, -1.0, 0, 255, ""),
        (1 / 127.5, -1.0, 20, 60, ""),  # dark pictures
        (1 / 127.5, -1.0, -1, 1, "look alike to it; were they normalized before"),
        (1 / 255, 0.0, 0, 1, "look alike to it"),
        (4.0, -2.0, 0, 1, ""),  # mean 0.5, std 0.25
        (4.0, -2.0, 0, 255, "it expects other values; should they be normalized"),
        (1.0, 0.0, -5, 5, ""),
    ],
)
def test_range_that_a_model_cannot_expect(
    tmp_path: Path, factor: float, offset: float, low: float, high: float, message: str
) -> None:
    x = np.random.default_rng(0).uniform(low, high, (9, 6, 6, 3)).astype(np.float32)
    found = examine(saved(tmp_path, "x.npz", x), None, normalizing(factor, offset))
    assert bool(found) == bool(message)
    assert not message or message in found[0]


def test_models_that_do_not_normalize_themselves_are_not_judged(tmp_path: Path) -> None:
    assert examine(saved(tmp_path, "x.npz", 255 * images(30)), None, classifier()) == ()


def begins_with_batch_norm(seen: Array, *, rescales: bool = False, dilation: int = 1, remembers: bool = True) -> Model:
    """A convolution whose results on `seen`, values as they come to the convolution, are what training remembers."""
    builder = Builder("net")
    kernel = random([16, 3, 3, 3], 5)
    x = builder.input("x", [1, 12, 12, 3])
    if rescales:
        x = builder.op("MUL", [x, builder.constant("factor", np.float32(1 / 127.5))], [1, 12, 12, 3])
        x = builder.op("ADD", [x, builder.constant("shift", np.float32(-1))], [1, 12, 12, 3])
    bias = builder.constant("bias", random([16], 6))
    options = {"stride_w": 1, "stride_h": 1, "padding": 1, "dilation_w_factor": dilation, "dilation_h_factor": dilation}
    y = builder.op("CONV_2D", [x, builder.constant("kernel", kernel), bias], [1, 10, 10, 16], options)
    windows = sliding_window_view(seen, (3, 3), axis=(1, 2))
    results = np.einsum("nhwcij,oijc->nhwo", windows, kernel) + random([16], 6)
    if remembers:
        builder.note(y, Normal(tuple(results.mean((0, 1, 2))), tuple(results.std((0, 1, 2)))))
    z = builder.op("MUL", [y, builder.constant("scale", random([16], 7))], [1, 10, 10, 16])
    return builder.model([z])


def blots(count: int, seed: int) -> Array:
    """Pictures in 0..1 in which neighbours are alike."""
    values = np.random.default_rng(seed).beta(0.8, 0.8, (count, 4, 4, 3))
    values[0, 0, 0], values[0, 0, 1] = 0, 1
    return values.repeat(3, 1).repeat(3, 2).astype(np.float32)


FITS = (
    "samples lie in 0..1, and the model's first batch normalization was trained on others: they would fit if "
    "normalized to -1..1 (of bytes: --mean 127.5 --std 127.5)"
)


@pytest.mark.parametrize(
    ("wanted", "given", "said"),
    [
        ((2, -1), (2, -1), ""),
        ((2, -1), (1, 0), FITS),
        ((2, -1), (255, 0), "to -1..1"),
        ((2, -1), (1, -0.5), "to -1..1"),
        ((1, 0), (255, 0), "to 0..1 (of bytes: --rescale 1/255)"),
        ((1, 0), (2, -1), "to 0..1"),
        ((255, 0), (1, 0), "to 0..255"),
        ((255, 0), (2, -1), "to 0..255"),
        ((4.4, -2.1), (1, 0), "by mean and deviation"),
        ((4.4, -2.1), (255, 0), "by mean and deviation"),
        ((2, -1), (0.5, -1), ""),  # dark: no other way makes that better
        ((2, -1), (30, 7), ""),  # nothing that is usual
    ],
)
def test_samples_are_held_against_what_training_remembers(
    wanted: tuple[float, float], given: tuple[float, float], said: str
) -> None:
    model = begins_with_batch_norm(blots(300, 0) * np.float32(wanted[0]) + np.float32(wanted[1]))
    for seed in range(1, 6):
        samples = list(blots(16, seed) * np.float32(given[0]) + np.float32(given[1]))
        found = examine(from_iterable([Sample(item) for item in samples]), None, model)
        assert bool(found) == bool(said), found
        assert said in " ".join(found)


def test_what_a_model_does_to_its_input_counts() -> None:
    model = begins_with_batch_norm(2 * blots(300, 0) - 1, rescales=True)
    assert match_training(list(255 * blots(16, 1)), model.graph) is None
    assert "normalized to 0..255" in str(match_training(list(blots(16, 1)), model.graph))


def test_a_network_that_is_not_understood_is_not_judged() -> None:
    seen = 2 * blots(300, 0) - 1
    samples = list(blots(16, 1))
    assert match_training(samples, begins_with_batch_norm(seen).graph) is not None
    assert match_training(samples, begins_with_batch_norm(seen, dilation=2).graph) is None
    assert match_training(samples, begins_with_batch_norm(seen, remembers=False).graph) is None
    assert match_training([], begins_with_batch_norm(seen).graph) is None
    assert match_training([samples[0][:5]], begins_with_batch_norm(seen).graph) is None
    assert match_training([np.full_like(samples[0], np.nan)], begins_with_batch_norm(seen).graph) is None
    assert match_training(samples, classifier().graph) is None


def test_data_without_digests_is_not_compared() -> None:
    twice = [images(1)[0]] * 3
    assert examine(from_iterable(twice), from_iterable(twice), classifier()) == ()


def test_guessing_is_said_where_samples_are_enough_to_know() -> None:
    def score(right: int, of: int, classes: int) -> Score:
        scorer = Scorer("top1")
        output = np.eye(classes, dtype=np.float32)[0]
        for number in range(of):
            scorer.add([output], int(number >= right), "")
        return scorer.score()

    text = doubt(score(1, 100, 1000))
    assert text is not None
    assert text.startswith("top1 is 1 % on 100 samples, and guessing gets 0.1 %")
    assert doubt(score(55, 200, 2)) is not None
    assert doubt(score(6, 60, 10)) is not None
    assert doubt(score(1, 8, 10)) is None  # too few
    assert doubt(score(40, 100, 10)) is None  # poor, but it has learned
    assert doubt(score(70, 100, 2)) is None
    assert doubt(Score("mse", 0.1, (0.0, 0.2), 100)) is None


def test_quantize_and_evaluate_say_it(cli: Cli, place: Path) -> None:
    x = images(80)
    x[1] = x[0]
    np.savez(place / "xy.npz", x=x, y=np.full(80, 4))
    tflite.write(classifier(), place / "net.tflite")
    outcome = json.loads(
        cli("quantize", "net.tflite", "-d", "xy.npz", "--eval-data", "xy.npz", "--samples", "80", "--json").out
    )
    assert any("1 of 80 calibration samples is a copy" in text for text in outcome["warnings"])
    assert any("80 of 80 samples that are measured on were calibrated on, too" in text for text in outcome["warnings"])
    assert any("all 80 calibration samples are of class 4" in text for text in outcome["warnings"])
    answer = cli("evaluate", "net.tflite", "-d", "xy.npz", "--json")
    said = doubt(Score("top1", *_figures(json.loads(answer.out)), chance=0.2))
    assert (said is not None) == ("guessing gets 20 %" in answer.err)


def _figures(score: dict[str, Any]) -> tuple[float, tuple[float, float], int]:
    low, high = score["interval"]
    return score["value"], (low, high), score["samples"]


# Real models with the data that they were made for: silence


def test_no_false_alarm_on_the_demo() -> None:
    model = load(DEMO)
    data = load_data(str(DEMO_DATA), model, Preprocess(rescale=1 / 255))
    assert examine(*data.split(100), model) == ()


def test_the_demo_in_another_range_is_noticed() -> None:
    model = load(DEMO.with_suffix(".keras"))
    found = [
        examine(*load_data(str(DEMO_DATA), model, way).split(100), model)
        for way in (Preprocess(rescale=1 / 255), Preprocess(), Preprocess(mean=(127.5,), std=(127.5,)))
    ]
    assert found[0] == ()
    assert all("would fit if normalized to 0..1 (of bytes: --rescale 1/255)" in text for (text,) in found[1:])


@pytest.mark.parametrize("name", ["pretrainedResnet.tflite", "pretrainedResnet.h5"])
def test_no_false_alarm_on_small_pictures(name: str) -> None:
    model, path = load(shared_file(f"cifar10_resnet8/{name}")), shared_file("cifar10_resnet8/ic01_200.npz")
    for seed in range(5):
        assert examine(*load_data(str(path), model).split(100, seed), model) == ()
    scaled = load_data(str(path), model, Preprocess(rescale=1 / 255))
    told = ["samples lie in 0..1, and" in text for text in examine(*scaled.split(100), model)]
    assert told == [True] * name.endswith(".h5")


def test_no_false_alarm_on_photos(tmp_path: Path) -> None:
    model = load(shared_file("imagenet_mobilenetv1_025/mobilenet_v1_0.25_224.h5"))
    with zipfile.ZipFile(shared_file("photos_500/photos.zip")) as packed:
        names = [item for item in packed.namelist() if item.endswith(".jpg")]
        for name in names:
            (tmp_path / Path(name).name).write_bytes(packed.read(name))
    (tmp_path / "photos.csv").write_bytes(shared_file("photos_500/photos.csv").read_bytes())
    data = load_data(str(tmp_path / "photos.csv"), model, Preprocess(mean=(127.5,), std=(127.5,)))
    with (tmp_path / "photos.csv").open() as file:
        assert len(data) == len(list(csv.DictReader(file)))
    for seed in range(3):
        assert examine(*data.split(100, seed), model) == ()
    for way in (Preprocess(rescale=1 / 255), Preprocess()):
        wrong = load_data(str(tmp_path / "photos.csv"), model, way)
        for seed in range(3):
            (text,) = examine(*wrong.split(100, seed), model)
            assert "would fit if normalized to -1..1 (of bytes: --mean 127.5 --std 127.5)" in text
