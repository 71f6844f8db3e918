"""`tersor train`: what it writes, where it goes on, and what it says of what it cannot do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras", reason="training needs Keras 3")

import keras

import tersor
from conftest import Cli
from docs_blocks import blocks
from small_nets import classifier, dense
from tersor.data.dataset import Dataset
from tersor.errors import DataError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Array
from tersor.training.augment import AUGMENTATIONS, parse_augmentation
from tersor.training.batches import Batches, Epoch
from tersor.training.checkpoint import read_checkpoint
from tersor.training.course import Course, in_mixed_precision, stoppable
from tersor.training.material import Material, held_back, load_material
from tersor.training.methods import phases_of
from tersor.training.operator import Operator
from tersor.training.qat import prepare
from tersor.training.sparsity import sparsity_of
from tersor.training.task import task_of

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own backends warn of themselves

COUNT = 160
LINE = ("train", "net.tflite", "--data", "xy.npz", "--batch-size", "16", "--learning-rate", "0.01", "-o", "out.keras")


def pictures(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Bytes, and the class that a picture's colour and brightness tell."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 5, count)
    base = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 200], [30, 30, 30]])[y]
    return np.clip(base[:, None, None] + random.normal(0, 25, (count, 6, 6, 3)), 0, 255).astype(np.uint8), y


@pytest.fixture
def xy(place: Path) -> Path:
    x, y = pictures(COUNT)
    np.savez(place / "xy.npz", x=x, y=y)
    return place


def weights(path: Path) -> list[Array]:
    return [np.asarray(own) for own in keras.saving.load_model(path).get_weights()]


def test_it_learns_and_writes_what_it_measured(cli: Cli, xy: Path) -> None:
    answer = cli(*LINE, "--rescale", "1/255", "--epochs", "8", "--tflite", "out.tflite", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["recipe"], found["loss"], found["training_samples"]) == ("int8", "cross_entropy", 144)
    assert [item["epoch"] for item in found["history"]] == list(range(9))
    trained, before = found["results"]["trained"], found["results"]["untrained"]["score"]["value"]
    assert trained["score"]["value"] > before + 0.2
    assert trained["change_from_float"]["value"] > 0.2
    assert found["best_epoch"] > 0
    best = found["history"][found["best_epoch"]]["value"]
    assert best == max(item["value"] for item in found["history"])
    assert abs(best - trained["score"]["value"]) <= 1 / 16  # the file and what Keras computes
    assert sorted(path.name for path in xy.iterdir() if "out" in path.name) == ["out.keras", "out.tflite"]
    assert cli("evaluate", "out.tflite", "--data", "xy.npz", "--rescale", "1/255").code == 0
    whole = tersor.quantize(keras.saving.load_model("out.keras"))
    assert tflite.write_bytes(whole) == tflite.write_bytes(tflite.read("out.tflite"))


def test_what_it_says(cli: Cli, xy: Path) -> None:
    answer = cli(*LINE, "--rescale", "1/255", "--epochs", "1")
    assert answer.code == 0, answer.err
    for part in (
        "144 samples to train on, 16 others",
        "loss: cross_entropy (the output is a softmax of 5 classes); judged by top1",
        "before training: float",
        "next: tersor quantize out.keras -o out.tflite",
        f"Keras on {keras.backend.backend()}",
    ):
        assert part in answer.err
    assert "int8, not trained" in answer.out


def in_a_process(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    code = "from tersor.cli.main import main; main()"
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "KERAS_BACKEND": keras.backend.backend(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for_batch(running: subprocess.Popen[bytes], path: Path, epoch: int, batch: int) -> None:
    """Until the checkpoint was written in this epoch."""
    for _ in range(4800):
        if path.exists():
            standing = read_checkpoint(path).standing
            if (standing.epoch, standing.batch) >= (epoch, batch):
                return
        if running.poll() is not None:
            break
        time.sleep(0.05)
    running.kill()
    pytest.fail(f"no checkpoint: {running.communicate()[1].decode()}")


LONG = (*LINE, "--rescale", "1/255", "--epochs", "3", "--checkpoint-minutes", "0")


def test_what_is_killed_goes_on_and_ends_bit_for_bit_where_it_would_have(cli: Cli, xy: Path) -> None:
    assert cli(*LONG).code == 0
    expected = weights(xy / "out.keras")
    (xy / "out.keras").unlink()
    running = in_a_process(xy, *LONG)
    wait_for_batch(running, xy / "out.keras.checkpoint", 1, 3)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert not (xy / "out.keras").exists()
    refused = cli(*LONG)
    assert refused.code == 8
    assert "--resume goes on, --overwrite begins anew" in refused.err
    answer = cli(*LONG, "--resume", "--json")
    assert answer.code == 0, answer.err
    assert "goes on at epoch 2, batch" in answer.err or "goes on at epoch 3" in answer.err
    assert [item["epoch"] for item in json.loads(answer.out)["history"]] == [0, 1, 2, 3]
    for own, wanted in zip(weights(xy / "out.keras"), expected, strict=True):
        np.testing.assert_array_equal(own, wanted)
    assert not (xy / "out.keras.checkpoint").exists()


def test_ctrl_c_leaves_the_best_and_says_how_to_go_on(cli: Cli, xy: Path) -> None:
    line = [*LONG[:-3], "100000", *LONG[-2:]]
    running = in_a_process(xy, *line)
    wait_for_batch(running, xy / "out.keras.checkpoint", 2, 1)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to child processes, too
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert b"--resume goes on" in err
    assert (xy / "out.keras").exists()
    assert read_checkpoint(xy / "out.keras.checkpoint").standing.epoch >= 2
    answer = cli(*line, "--resume", "--learning-rate", "1e30")
    assert answer.code == 6
    assert "with learning_rate [0.01] -> [1e+30]" in answer.err
    assert "try --learning-rate 1e+29" in answer.err
    assert "--resume goes on there" in answer.err
    kept = read_checkpoint(xy / "out.keras.checkpoint").variables  # of the last good one
    assert all(np.isfinite(values).all() for values in kept if values.dtype.kind == "f")
    assert weights(xy / "out.keras")


def test_a_second_ctrl_c_would_end_at_once() -> None:
    usual = signal.getsignal(signal.SIGINT)
    with stoppable() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is usual
    assert signal.getsignal(signal.SIGINT) is usual


def test_patience_ends_it_and_the_best_is_kept(cli: Cli, xy: Path) -> None:
    answer = cli(*LINE, "--epochs", "30", "--learning-rate", "1e-12", "--patience", "2", "--json")
    found = json.loads(answer.out)
    assert (answer.code, len(found["history"]), found["best_epoch"]) == (0, 3, 0)
    assert "no epoch was better than none" in cli(*LINE, "--epochs", "1", "--learning-rate", "1e-12", "--overwrite").err


def test_in_mixed_precision_the_file_still_is_what_was_judged(cli: Cli, xy: Path) -> None:
    answer = cli(*LINE, "--rescale", "1/255", "--epochs", "4", "--mixed-precision", "--tflite", "out.tflite", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["results"]["trained"]["score"]["value"] > found["results"]["untrained"]["score"]["value"]
    network = keras.saving.load_model("out.keras")
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    x = pictures(200, seed=1)[0].astype(np.float32) / 255
    expected = network.predict_on_batch(x)
    [rows] = [np.concatenate([next(iter(row.values())) for row in tersor.run("out.tflite", [one[None] for one in x])])]
    assert np.abs(rows - expected).max() <= 2 / 256


def test_in_mixed_precision_only_products_are_less_precise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, usual = set(), Operator._rounded_weights

    def look(layer: Operator, kernel: Any) -> Any:
        seen.add(keras.backend.standardize_dtype(keras.ops.convert_to_tensor(kernel).dtype))
        return usual(layer, kernel)

    monkeypatch.setattr(Operator, "_rounded_weights", look)
    x = pictures(8)[0].astype(np.float32) / 255
    network = prepare(classifier(), "int8", data=[one[None] for one in x])
    mixed = in_mixed_precision(network)
    assert {layer.compute_dtype for layer in mixed.operators()} == {"bfloat16"}
    assert {layer.compute_dtype for layer in mixed.quantizers().values()} == {"float32"}
    assert {str(own.dtype) for own in mixed.weights} <= {"float32", "int32"}
    error = np.abs(network.predict_on_batch(x) - mixed.predict_on_batch(x))
    assert 0 < error.max() < 0.1
    assert seen == {"float32"}
    quantizer = mixed.quantizers()[network.source.graph.ops[0].outputs[0]]
    values = np.asarray(keras.Model(mixed.inputs, quantizer.output).predict_on_batch(x))
    low, high = quantizer.bounds() or (0.0, 0.0)
    steps = values / ((max(high, 0) - min(low, 0)) / 255)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)  # on the grid of 8 bits, which bfloat16 does not have


def test_two_devices_train_as_one(cli: Cli, xy: Path) -> None:
    line = (*LINE, "--rescale", "1/255", "--epochs", "2")
    if keras.backend.backend() != "jax":
        answer = cli(*line, "--data-parallel")
        assert answer.code == 2
        assert "--data-parallel is for JAX" in answer.err
        return
    assert cli(*line).code == 0
    two = "--xla_force_host_platform_device_count=2"
    running = in_a_process(
        xy,
        *line[:-4],
        "--epochs",
        "2",
        "--data-parallel",
        "--rescale",
        "1/255",
        "--overwrite",
        "-o",
        "two.keras",
        XLA_FLAGS=two,
    )
    _, err = running.communicate(timeout=600)
    assert running.returncode == 0, err
    for own, wanted in zip(weights(xy / "two.keras"), weights(xy / "out.keras"), strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-4)
    running = in_a_process(xy, *line, "--batch-size", "15", "--data-parallel", "--overwrite", XLA_FLAGS=two)
    _, err = running.communicate(timeout=600)
    assert (running.returncode, b"cannot be shared by 2 devices" in err) == (2, True)


# Bad input


def test_a_label_that_is_no_class_is_named_before_anything_is_trained(cli: Cli, xy: Path) -> None:
    x, y = pictures(COUNT)
    y[77] = 12
    np.savez("bad.npz", x=x, y=y)
    answer = cli("train", "net.tflite", "--data", "bad.npz", "-o", "out.keras")
    assert answer.code == 4
    assert "bad.npz[77]: label 12 is none of the model's 5 classes (0..4)" in answer.err


@pytest.mark.parametrize(
    ("code", "text", "options"),
    [
        (4, "no labels to train on", ["--data", "x.npy"]),
        (2, "--batch-size 200, and there are 144 samples to train on", ["--batch-size", "200"]),
        (4, "too few to judge by", ["--validate", "0.001"]),
        (2, "as 0.1 or 10%", ["--validate", "1.5"]),
        (4, "none.npz: ", ["--validate", "none.npz"]),
        (2, "unknown flavour 'int9'", ["--recipe", "int9"]),
        (2, "there is nothing to train for", ["--recipe", "float16"]),
        (2, "there are flip, shift", ["--augment", "spin"]),
        (2, "a number above 0 and up to 1", ["--augment", "shift=2"]),
        (2, "there are cross_entropy", ["--loss", "hinge"]),
        (2, "above 0", ["--learning-rate", "0"]),
        (2, "written as a .keras file", ["-o", "out.tflite"]),
        (8, "no checkpoint to resume from", ["--resume"]),
        (8, "cannot be written", ["-o", "net.tflite/out.keras"]),
    ],
)
def test_what_is_refused_before_anything_is_trained(
    code: int, text: str, options: list[str], cli: Cli, xy: Path
) -> None:
    answer = cli(*LINE, *options)
    assert (answer.code, text in answer.err) == (code, True), answer.err
    assert not (xy / "out.keras").exists()
    assert not list(xy.glob("*.checkpoint"))


def test_an_output_that_is_there_is_not_replaced(cli: Cli, xy: Path) -> None:
    (xy / "out.keras").write_text("mine")
    answer = cli(*LINE)
    assert answer.code == 8
    assert "out.keras is there already" in answer.err
    assert (xy / "out.keras").read_text() == "mine"


def test_a_model_that_cannot_be_trained_is_refused_by_operator(cli: Cli, xy: Path) -> None:
    net = Builder("net")
    given = net.input("x", [1, 8])
    tflite.write(
        net.model([net.op("CUMSUM", [given, net.constant("a", np.array(1, np.int32))], [1, 8])]), xy / "c.tflite"
    )
    np.savez("c.npz", x=np.ones((40, 8), np.float32) * np.arange(40)[:, None], y=np.arange(40) % 8)
    answer = cli("train", "c.tflite", "--data", "c.npz", "-o", "out.keras", "--batch-size", "4")
    assert answer.code in (3, 5)
    assert "CUMSUM" in answer.err


def test_a_full_disk_ends_it_and_the_checkpoint_from_before_stays(
    cli: Cli, xy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = np.savez
    written: list[int] = []

    def full(file: Any, **arrays: Any) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(1)
        usual(file, **arrays)

    monkeypatch.setattr("tersor.training.checkpoint.np.savez", full)
    answer = cli(*LINE, "--epochs", "3")
    assert answer.code == 8
    assert "out.keras.checkpoint: cannot be written: No space left on device" in answer.err
    assert read_checkpoint(xy / "out.keras.checkpoint").standing.epoch == 1
    assert [path.name for path in xy.iterdir() if "part" in path.name] == []


def test_a_checkpoint_of_another_run_is_refused(cli: Cli, xy: Path) -> None:
    stopped(cli, xy)
    answer = cli(*LINE, "--resume", "--seed", "1")
    assert answer.code == 2
    assert "another run: seed was 0 and is 1 now" in answer.err
    (xy / "out.keras.checkpoint").write_bytes(b"PK")
    answer = cli(*LINE, "--resume")
    assert answer.code == 8
    assert "not a checkpoint that can be read" in answer.err


def stopped(cli: Cli, xy: Path) -> None:
    """A training that ends before its first epoch is over."""

    def interrupt(watch: Any, batch: int, logs: object = None) -> None:
        if watch._stop.signal is None:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tersor.training.course._Watch.on_train_batch_end", interrupt)
        answer = cli(*LINE, "--epochs", "2")
    assert answer.code == 130
    assert "nothing to keep yet" in answer.err
    assert not (xy / "out.keras").exists()


# What is trained for


@pytest.mark.parametrize(
    ("kind", "size", "label", "loss", "from_logits", "metric"),
    [
        ("SOFTMAX", 5, 3, "cross_entropy", False, "top1"),
        ("SOFTMAX", 5, np.array([0, 0, 1, 0, 0]), "cross_entropy", False, "top1"),
        ("RELU", 5, 3, "cross_entropy", True, "top1"),
        ("LOGISTIC", 1, 1, "binary_cross_entropy", False, "auc"),
        ("LOGISTIC", 5, np.array([1, 0, 1, 0, 0]), "binary_cross_entropy", False, "mse"),
        ("LOGISTIC", 5, 4, "binary_cross_entropy", False, "top1"),
        ("RELU", 1, 0.5, "mse", True, "mse"),
        ("RELU", 5, np.array([0.5, 1, 2, 3, 4]), "mse", True, "mse"),
    ],
)
def test_the_loss_suits_the_output(
    kind: str, size: int, label: object, loss: str, from_logits: bool, metric: str
) -> None:
    net = Builder("net")
    values = net.op(kind, [net.input("x", [1, size])], [1, size])
    task = task_of(
        net.model([net.op("RESHAPE", [values, net.constant("s", np.array([1, size], np.int32))], [1, size])]).graph,
        label,
    )
    assert (task.loss, task.metric) == (loss, metric)
    assert loss in ("mse", "mae") or task.from_logits == from_logits
    target = task.target(label, "a sample")
    assert target.shape == (size,)
    assert target.dtype == np.float32
    if isinstance(label, int) and size > 1:
        assert target.argmax() == label
        assert target.sum() == 1
    assert float(task.keras_loss()(target[None], np.full((1, size), 0.25, np.float32))) > 0


def test_several_outputs_are_for_the_library(cli: Cli, xy: Path) -> None:
    net = Builder("net")
    given = net.input("x", [1, 8])
    model = net.model([dense(net, given, 3, name="a"), dense(net, given, 2, name="b")])
    tflite.write(model, xy / "two.tflite")
    np.savez("two.npz", x=np.ones((40, 8), np.float32) * np.arange(40)[:, None], y=np.arange(40) % 3)
    answer = cli("train", "two.tflite", "--data", "two.npz", "-o", "out.keras")
    assert answer.code == 3
    assert "2 outputs" in answer.err
    x = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    network = prepare(model, "int8", data=[one[None] for one in x])
    network.compile("adam", ["mse", "mse"])
    before = network.get_weights()
    network.fit(x, [np.zeros((32, 3)), np.ones((32, 2))], verbose=0)
    assert any((own != wanted).any() for own, wanted in zip(network.get_weights(), before, strict=True))
    assert len(tersor.quantize(network).graph.outputs) == 2


# Data


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_augmentation_changes_a_sample_and_keeps_its_shape_and_range(name: str, dtype: type) -> None:
    x: Array = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(dtype)
    kept = x.copy()
    augmentation = parse_augmentation(f"{name}=1" if name == "flip" else name)
    found = [augmentation.apply(x, np.random.default_rng(seed), "x") for seed in range(6)]
    assert {item.shape for item in found} == {x.shape}
    assert any((item != x).any() for item in found)
    np.testing.assert_array_equal(x, kept)
    again = augmentation.apply(x, np.random.default_rng(5), "x")
    np.testing.assert_array_equal(again, found[5])
    if dtype is np.uint8:
        assert min(item.min() for item in found) >= 0
        assert max(item.max() for item in found) <= 255


def test_flip_and_shift_do_what_they_say() -> None:
    x = np.arange(64.0).reshape(8, 8, 1)
    np.testing.assert_array_equal(AUGMENTATIONS["flip"][0](x, np.random.default_rng(0), 1.0), x[:, ::-1])
    seen = {float(AUGMENTATIONS["shift"][0](x, np.random.default_rng(seed), 0.125)[4, 4, 0]) for seed in range(60)}
    assert seen == {x[4 + i, 4 + j, 0] for i in (-1, 0, 1) for j in (-1, 0, 1)}


def material(count: int, **more: Any) -> tuple[Material, Batches]:
    x, y = pictures(count)
    np.savez("some.npz", x=x, y=y)
    model = classifier()
    found = load_material("some.npz", model, "0.25", preprocess=tersor.Preprocess(rescale=1 / 255), **more)
    return found, Batches(found, model.graph, task_of(model.graph, 1), 8, 3)


def test_every_epoch_has_every_sample_once_in_an_order_of_its_own(place: Path) -> None:
    found, batches = material(64)
    assert (len(batches), len(found.training), len(found.validation)) == (6, 48, 16)
    epochs = [np.concatenate([batches.batch(epoch, i)[0] for i in range(6)]) for epoch in (0, 1, 0)]
    np.testing.assert_array_equal(epochs[0], epochs[2])
    assert (epochs[0] != epochs[1]).any()
    sums = [np.sort(own.sum((1, 2, 3))) for own in epochs[:2]]
    np.testing.assert_array_equal(sums[0], sums[1])
    held = {one.inputs.tobytes() for one in found.validation if isinstance(one.inputs, np.ndarray)}
    assert not held & {one.tobytes() for one in epochs[0]}
    part = Epoch(batches, 0, start=4)
    np.testing.assert_array_equal(np.concatenate([part[i][0] for i in range(len(part))]), epochs[0][32:])
    part.close()


def test_samples_are_changed_before_they_are_normalized(place: Path) -> None:
    found, batches = material(64, augmentation=parse_augmentation("brightness"))
    x = batches.batch(0, 0)[0]
    assert (x.dtype, x.min() >= 0, x.max() <= 1) == (np.float32, True, True)
    assert (x != batches.batch(1, 0)[0]).any()
    plain = material(64)[1].batch(0, 0)[0]
    offsets = (x - plain).reshape(8, -1)
    assert 0.01 < np.abs(np.median(offsets, axis=1)).max() <= 0.2 + 1e-6
    np.testing.assert_array_equal(np.asarray(next(iter(found.validation)).inputs).dtype, np.float32)


def test_data_without_places_is_kept_in_memory(place: Path) -> None:
    yielding = "    for i in range(40):\n        yield np.full((6, 6, 3), i, 'float32'), i % 5\n"
    (place / "mine.py").write_text(f"import numpy as np\ndef samples():\n{yielding}")
    found = load_material("mine:samples", classifier())
    assert (len(found.training), len(found.validation)) == (36, 4)
    assert any("held in memory" in note for note in found.notes)
    values = {
        int(np.asarray(one.inputs).flat[0]): one.label for part in (found.training, found.validation) for one in part
    }
    assert values == {i: i % 5 for i in range(40)}


def test_files_that_cannot_be_read_are_left_out_of_a_batch_of_one_size(place: Path) -> None:
    x, y = pictures(40)
    for number, (pixels, label) in enumerate(zip(x, y, strict=True)):
        path = place / "photos" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    path.write_bytes(b"no image")
    model = classifier()
    task = task_of(model.graph, 1)
    strict = Batches(load_material("photos", model, "0.2"), model.graph, task, 16, 0)
    with pytest.raises(DataError, match="--skip-bad"):
        [strict.batch(0, i) for i in range(2)]
    loose = Batches(load_material("photos", model, "0.2", skip_bad=True), model.graph, task, 16, 0)
    assert {loose.batch(0, i)[0].shape for i in range(2)} == {(16, 6, 6, 3)}


def test_what_goes_wrong_with_samples_in_the_midst_is_said_in_one_line(cli: Cli, xy: Path) -> None:
    x, y = pictures(COUNT)
    values = x.astype(np.float32)
    values[50] = np.nan
    np.savez("nan.npz", x=values, y=y)
    answer = cli("train", "net.tflite", "--data", "nan.npz", "-o", "out.keras", "--epochs", "1", "--batch-size", "16")
    assert answer.code == 4
    assert "nan.npz[50]" in answer.err
    assert "NaN" in answer.err
    assert len(answer.err.strip().splitlines()) < 8


def test_a_share_is_held_back_at_random() -> None:
    data = Dataset(lambda _places: iter(()), 100, "data", peek=lambda _place: pytest.fail("not asked for"))
    held, others = held_back(data, 0.2, seed=0)
    assert (len(held), len(others)) == (20, 80)
    assert held.chosen != held_back(data, 0.2, seed=1)[0].chosen
    assert held.chosen == held_back(data, 0.2, seed=0)[0].chosen


# Zeros

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "train.md"

PRUNING = """
[pruning]
sparsity = 0.5

[pruning.schedule]
kind = "constant"
begin = 4
"""

INT8 = """
activations = "int8"
weights = "int8"
compute = "integer"
"""


def test_the_recipes_of_the_page_are_recipes(tmp_path: Path) -> None:
    texts = [block.text for block in blocks(PAGE) if block.language == "toml"]
    assert texts
    for text in texts:
        (tmp_path / "r.toml").write_text(text)
        assert [phase.name for phase in phases_of(str(tmp_path / "r.toml"))] == ["pruned"]


def zeros(path: Path) -> float:
    return sparsity_of(tersor.load(path)).reached


def test_a_table_of_pruning_prunes(cli: Cli, xy: Path) -> None:
    (xy / "prune.toml").write_text(PRUNING)
    line = (*LINE, "--rescale", "1/255", "--recipe", "prune.toml", "--tflite", "out.tflite")
    answer = cli(*line, "--epochs", "2", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["recipe"], list(found["results"])) == ("pruned", ["float", "trained"])
    assert found["best_epoch"] > 0  # none before the schedule ends
    assert zeros(xy / "out.tflite") == pytest.approx(0.5, abs=0.02)
    (xy / "prune.toml").write_text(PRUNING.replace("begin = 4", "begin = 50"))
    answer = cli(*line, "--epochs", "2", "--overwrite")
    assert answer.code == 5
    assert "its schedule takes 50 steps, and --epochs 2 of 9 batches are 18: give at least --epochs 6" in answer.err
    (xy / "prune.toml").write_text(PRUNING.replace("sparsity", "sparsty"))
    answer = cli(*line, "--overwrite")
    assert answer.code == 2
    assert "[pruning]" in answer.err
    assert "sparsty" in answer.err


def test_pruning_and_integers_are_trained_in_turn_and_go_on_in_the_second(cli: Cli, xy: Path) -> None:
    (xy / "both.toml").write_text(INT8 + PRUNING)
    line = (*LINE, "--rescale", "1/255", "--recipe", "both.toml", "--epochs", "2", "--checkpoint-minutes", "0")
    answer = cli(*line, "--tflite", "out.tflite")
    assert answer.code == 0, answer.err
    assert "training 1 of 2: pruned" in answer.err
    assert "training 2 of 2: both" in answer.err
    assert "of all weights" in answer.err
    assert zeros(xy / "out.tflite") >= 0.48
    expected = weights(xy / "out.keras")
    (xy / "out.keras").unlink()
    (xy / "out.tflite").unlink()
    usual, epochs = Course.save, []

    def killed(course: Course) -> None:
        usual(course)
        epochs.append(course.standing.phase)
        if epochs.count(1) == 1:
            raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Course, "save", killed)
        assert cli(*line).code == 1
    assert read_checkpoint(xy / "out.keras.checkpoint").standing.phase == 1
    answer = cli(*line, "--resume")
    assert answer.code == 0, answer.err
    for own, wanted in zip(weights(xy / "out.keras"), expected, strict=True):
        np.testing.assert_array_equal(own, wanted)
