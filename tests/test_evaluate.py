"""Scores, against values worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Cli
from small_nets import classifier, images, through_file
from tersor.data.feed import Sample
from tersor.errors import DataError, RecipeError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.metrics import paired_proportion_interval, wilson_interval
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import Change, Scorer, evaluate

SCORES = np.array([[0.1, 0.5, 0.2, 0.05, 0.05, 0.05, 0.05]])
"""The order of classes is 1, 2, 0, then the others."""


def score(metric: str, pairs: list[tuple[Array, object]]) -> float:
    scorer = Scorer(metric)
    for output, label in pairs:
        scorer.add([output], label, "the sample")
    return scorer.score().value


@pytest.mark.parametrize(
    ("label", "wanted"),
    [(1, 1.0), (2, 0.0), (np.int64(1), 1.0), (1.0, 1.0), (np.array([1]), 1.0), (np.eye(7)[1], 1.0), (np.eye(7)[3], 0)],
)
def test_top1_takes_indices_and_one_hot_rows(label: object, wanted: float) -> None:
    assert score("top1", [(SCORES, label)]) == wanted


def test_top5_counts_the_five_largest() -> None:
    output = np.array([[7, 6, 5, 4, 3, 2, 1]])
    assert [score("top5", [(output, label)]) for label in range(7)] == [1, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("label", [-1, 7, 1.5, np.nan, "1", "cat", None, np.zeros(3), b"x", True + 9])
def test_label_that_is_no_class_is_refused_with_its_source(label: object) -> None:
    with pytest.raises(DataError, match="the sample"):
        score("top1", [(SCORES, label)])


def test_share_of_right_answers_has_the_wilson_interval() -> None:
    scorer = Scorer("top1")
    for label in (1, 1, 1, 0):
        scorer.add([SCORES], label)
    result = scorer.score()
    assert (result.value, result.samples, result.metric) == (0.75, 4, "top1")
    assert result.interval == wilson_interval(3, 4)
    assert str(result) == "top1 0.75 [0.3006, 0.9544] on 4 samples"


def test_mse_is_the_mean_over_values_and_samples() -> None:
    pairs: list[tuple[Array, object]] = [(np.array([1.0, 2.0]), [1.0, 4.0]), (np.array([0.0, 0.0]), np.array([[1, 1]]))]
    assert score("mse", pairs) == pytest.approx((2.0 + 1.0) / 2)


@pytest.mark.parametrize("label", [[1.0], ["a", "b"], [np.nan, 1.0], None])
def test_mse_refuses_labels_that_do_not_fit(label: object) -> None:
    with pytest.raises(DataError, match="the sample"):
        score("mse", [(np.array([1.0, 2.0]), label)])


@pytest.mark.parametrize("outputs", [[[0.1], [0.4], [0.35], [0.8]], [[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]])
def test_auc_of_one_score_and_of_two_classes(outputs: list[list[float]]) -> None:
    labels = [0, 0, 1, 1]
    assert score("auc", [(np.array(row), label) for row, label in zip(outputs, labels, strict=True)]) == 0.75


def test_auc_of_one_class_only_is_refused() -> None:
    with pytest.raises(DataError, match="both classes"):
        score("auc", [(np.array([0.1]), 1), (np.array([0.2]), 1)])


def test_function_as_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metric_of_evaluate.py").write_text("def first(output, label):\n    return output[0, 0] + label\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert score("metric_of_evaluate:first", [(SCORES, 1), (SCORES, 2)]) == pytest.approx(1.6)
    with pytest.raises(DataError, match="metric metric_of_evaluate:first fails on the sample"):
        score("metric_of_evaluate:first", [(SCORES, "text")])
    with pytest.raises(DataError, match="no_such"):
        Scorer("metric_of_evaluate:no_such")


def test_unknown_metric_and_no_samples() -> None:
    with pytest.raises(RecipeError, match="unknown metric 'f1': there are top1, top5, mse, auc"):
        Scorer("f1")
    with pytest.raises(DataError, match="no samples"):
        Scorer("top1").score()


def test_evaluate_takes_pairs_and_samples_and_tells_progress(tmp_path: Path, engine: Engine) -> None:
    tflite.write(classifier(), tmp_path / "net.tflite")
    told: list[int] = []
    pairs = [(image, number % 5) for number, image in enumerate(images(40))]
    first = evaluate(tmp_path / "net.tflite", pairs, engine=engine, progress=told.append)
    second = evaluate(tmp_path / "net.tflite", [Sample(*pair) for pair in pairs], kernels="builtin", engine=engine)
    assert first == second
    assert first.samples == told[-1] == 40


def test_state_starts_afresh_with_every_sample(tmp_path: Path, engine: Engine) -> None:
    """Else a recurrent model's answer depends on the sample before."""
    builder = Builder()
    x, state = builder.input("x", [1, 2]), builder.variable("state", [1, 6])
    weights = [builder.constant("f", np.ones((2, 2), np.float32)), builder.constant("t", np.ones((2, 3), np.float32))]
    y = builder.op("SVDF", [x, *weights, None, state], [1, 2], {"rank": 1})
    tflite.write(through_file(builder.model([y])), tmp_path / "net.tflite")
    handle = engine.open(str(tmp_path / "net.tflite"))
    one = np.ones((1, 2), np.float32)
    answers = [outputs[0] for outputs in handle.run_all([[one]] * 3)]
    assert [answer.tolist() for answer in answers] == [[[2.0, 2.0]]] * 3


def test_integer_doors_are_scaled_by_the_file(tmp_path: Path, engine: Engine) -> None:
    builder = Builder()
    y = builder.op("ABS", [builder.input("x", [1, 2], DType.INT32)], [1, 2], dtype=DType.INT32, version=4)
    tflite.write(builder.model([y]), tmp_path / "net.tflite")
    assert evaluate(tmp_path / "net.tflite", [(np.array([-3, 1]), [3, 2])], "mse", engine=engine).value == 0.5


@pytest.mark.parametrize(("gain", "loss"), [(0.02, 0.02), (0.0, 0.05), (0.01, 0.002)])
def test_paired_interval_covers_the_true_difference(gain: float, loss: float) -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        gained, lost, _ = generator.multinomial(400, [gain, loss, 1 - gain - loss])
        low, high = paired_proportion_interval(int(gained), int(lost), 400)
        covered += low <= gain - loss <= high
    assert 0.93 < covered / 2000 <= 1


def test_paired_interval_is_narrower_than_two_of_their_own() -> None:
    low, high = paired_proportion_interval(2, 10, 1000)
    assert low < -0.008 < high < 0
    alone = wilson_interval(940, 1000)
    assert high - low < (alone[1] - alone[0]) / 2


def test_changes_on_the_same_samples() -> None:
    labels = [number % 2 for number in range(200)]
    generator = np.random.default_rng(0)
    outputs = [np.eye(2, dtype=np.float32)[label] + generator.normal(0, 0.4, 2) for label in labels]

    def scored(metric: str, noise: float) -> Scorer:
        scorer, own = Scorer(metric), np.random.default_rng(1)
        for output, label in zip(outputs, labels, strict=True):
            scorer.add([(output + own.normal(0, noise, 2)).astype(np.float32)], label)
        return scorer

    for metric in ("top1", "auc"):
        same = scored(metric, 0).change_from(scored(metric, 0))
        assert same.value == 0
        assert not same.is_significant
        worse = scored(metric, 1.5).change_from(scored(metric, 0))
        assert worse.is_significant
        assert worse.interval[0] <= worse.value <= worse.interval[1] < 0


def test_command_calls_a_loss_a_loss(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = ("quantize", "net.tflite", "--data", "labelled.npz", "--samples", "10")
    data = np.load(place / "x.npy")
    np.savez(place / "labelled.npz", x=data, y=np.zeros(len(data), np.int64))
    assert "points below" not in cli(*base).err
    change = json.loads(cli(*base, "--json").out)["products"][0]["accuracy_change"]
    assert change["significant"] is False
    monkeypatch.setattr(Scorer, "change_from", lambda *_: Change(-0.1, (-0.15, -0.05)))
    answer = cli(*base)
    assert "-10.0 [-15.0, -5.0]" in answer.out
    assert "warning: int8: top1 is 10.0 points below float (95 %: 5.0..15.0); tersor debug says why" in answer.err
