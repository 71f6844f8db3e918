"""A network that is taught by another, and fine-tuning of quantized networks without labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="training needs Keras 3")

from keras import ops  # noqa: E402

import tersor  # noqa: E402
from tersor.data.dataset import from_iterable  # noqa: E402
from tersor.data.feed import Sample  # noqa: E402
from tersor.errors import DataError, PlanError  # noqa: E402
from tersor.ir.graph import Array  # noqa: E402
from tersor.recipe import adjusted, load_recipe, parse_recipe, to_toml  # noqa: E402
from tersor.runtimes.engine import Engine  # noqa: E402
from tersor.stages.outcome import Options  # noqa: E402
from tersor.stages.prepare import Preparation  # noqa: E402
from tersor.stages.produce import prepared, produce  # noqa: E402
from tersor.stages.repair.figures import Reference  # noqa: E402
from tersor.training import distill, finetune, qat  # noqa: E402
from tersor.training.finetune import FineTuner  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own backends warn of themselves

SAMPLES = 120


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as found:
        yield found


@pytest.fixture(scope="module")
def pictures() -> Array:
    """Blobs, no two alike."""
    random = np.random.default_rng(0)
    return random.normal(0, 1, (SAMPLES, 8, 8, 3)).cumsum(axis=1).cumsum(axis=2).astype(np.float32) / 4


@pytest.fixture(scope="module")
def model() -> Any:
    """A network whose weights spread far, as 4 bits cannot follow."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(given)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    found = keras.Model(given, layers.Dense(5, activation="softmax", name="answer")(x))
    random = np.random.default_rng(0)
    for layer in found.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * np.exp(random.normal(0, 1, kernel.shape)).astype(np.float32), bias])
    return found


def test_the_divergence_of_a_network_from_itself_is_none_and_of_logits_that_of_probabilities() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (6, 4)).astype(np.float32)
    other = np.random.default_rng(1).normal(0, 3, (6, 4)).astype(np.float32)
    given = keras.Input((4,))
    straight = keras.Model(given, keras.layers.Identity()(given))
    soft = keras.Model(given, keras.layers.Softmax()(given))

    def loss(student: Any, teacher: Any, mine: Array, yours: Array, held: str, temperature: float = 1.0) -> float:
        taught = distill.Distiller(student, teacher, [held], [1.0], temperature=temperature)
        own = [student(ops.convert_to_tensor(mine))]
        return float(taught.compute_loss(x=ops.convert_to_tensor(yours), y_pred=own))

    assert loss(straight, straight, logits, logits, distill.LOGITS) == pytest.approx(0, abs=1e-6)
    p, q = (np.exp(item) / np.exp(item).sum(1, keepdims=True) for item in (logits, other))
    wanted = float(np.mean(np.sum(q * np.log(q / p), axis=1)))
    assert loss(straight, straight, logits, other, distill.LOGITS) == pytest.approx(wanted, rel=1e-4)
    assert loss(soft, soft, logits, other, distill.PROBABILITIES) == pytest.approx(wanted, rel=1e-4)
    warm = [
        loss(*pair, logits, other, held, 4.0)
        for pair, held in (((straight, straight), "logits"), ((soft, soft), "probabilities"))
    ]
    assert warm[0] == pytest.approx(warm[1], rel=1e-3)
    assert loss(straight, straight, logits, other, distill.VALUES) == pytest.approx(
        np.mean((logits - other) ** 2), rel=1e-4
    )


def test_a_quantized_network_learns_from_its_float_one_without_labels(model: Any, pictures: Array) -> None:
    keras.utils.set_random_seed(0)
    student = qat.prepare(model, "int8_w4", data=[item[None] for item in pictures[:50]], learned=True)
    wanted = model.predict_on_batch(pictures[60:])
    before = np.mean((student.predict_on_batch(pictures[60:]) - wanted) ** 2)
    kept = [np.array(item) for item in model.get_weights()]
    history = distill.distill(student, model, pictures[:60], epochs=6, batch_size=20, learning_rate=3e-3, verbose=0)
    after = np.mean((student.predict_on_batch(pictures[60:]) - wanted) ** 2)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert after < 0.8 * before
    for mine, yours in zip(model.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(mine, yours)


def test_features_and_labels_count_as_well(model: Any, pictures: Array) -> None:
    student = qat.prepare(model, "int8", data=[item[None] for item in pictures[:20]])
    labels = model.predict_on_batch(pictures).argmax(1)
    name = next(layer.name for layer in student.operators() if "second/kernel" in layer.op.inputs)
    both = distill.distiller(student, model, pictures[:8], features={name: "second"}, label_weight=0.3, temperature=2.0)
    both.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = both.fit(pictures, labels, batch_size=40, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"][-1])
    assert history["accuracy"][-1] > 0.5


def test_what_makes_no_sense_is_refused(model: Any, pictures: Array) -> None:
    with pytest.raises(DataError, match="nothing to learn from"):
        distill.distill(model, model, pictures[:0])
    with pytest.raises(ValueError, match="temperature is 0"):
        distill.Distiller(model, model, ["values"], [1.0], temperature=0)


def test_probabilities_are_seen_by_their_values() -> None:
    assert distill.held_by(np.array([[0.2, 0.8], [1.0, 0.0]])) == distill.PROBABILITIES
    assert distill.held_by(np.array([[0.2, 0.9], [1.0, 0.0]])) == distill.VALUES
    assert distill.held_by(np.array([[-0.2, 1.2]])) == distill.VALUES
    assert distill.held_by(np.ones((4, 1))) == distill.VALUES


def test_the_network_to_train_begins_as_the_file_and_training_makes_it_better(
    model: Any, pictures: Array, tmp_path: Path, engine: Engine
) -> None:
    recipe = load_recipe("int8_w4")
    float_model, path = prepared(tersor.load(model), tmp_path)
    samples = [Sample(item[None]) for item in pictures]
    preparation = Preparation(float_model, path, from_iterable(samples[:80]), engine)
    made = replace(preparation.drafted(recipe)[2], samples=80)  # to nearest: there is something to win
    reference = Reference(path, samples[80:], None, engine)
    before = finetune._figures(made, reference)
    source, plan = finetune.network_of(made, recipe).planned()
    assert finetune._figures(replace(made, model=source, plan=plan), reference).sqnr_db == pytest.approx(
        before.sqnr_db, abs=0.1
    )
    rounds: list[int] = []
    tuner = FineTuner(rounds=18, batch_size=20, learning_rate=1e-2)
    tuned = tuner(float_model, path, made, recipe, samples[:80], engine=engine, progress=rounds.append)
    assert rounds == list(range(1, 19))
    assert finetune._figures(tuned, reference).sqnr_db > before.sqnr_db + 1
    assert any("fine-tuned (" in own.why for own in tuned.plan.operands.values())


def test_what_is_no_better_is_not_kept(model: Any, pictures: Array, tmp_path: Path, engine: Engine) -> None:
    float_model, path = prepared(tersor.load(model), tmp_path)
    samples = [Sample(item[None]) for item in pictures[:40]]
    made = Preparation(float_model, path, from_iterable(samples), engine).corrected(load_recipe("int8"))
    wild = FineTuner(rounds=1, batch_size=30, learning_rate=10.0)
    kept = wild(float_model, path, made, load_recipe("int8"), samples, engine=engine)
    assert kept.model is made.model
    assert "fine-tuned in vain: no better on 10 samples" in kept.plan.warnings[-1]
    with pytest.raises(PlanError, match="19 samples are too few to fine-tune on"):
        wild(float_model, path, made, load_recipe("int8"), samples[:19], engine=engine)


def test_a_recipe_that_asks_for_it_is_fine_tuned_or_says_what_is_missing(
    model: Any, pictures: Array, tmp_path: Path, engine: Engine
) -> None:
    recipe = adjusted(load_recipe("int8"), finetune=True)
    assert recipe.finetune
    assert parse_recipe(to_toml(recipe), recipe.name) == recipe
    assert not adjusted(load_recipe("float16"), finetune=True).finetune
    data = [item[None] for item in pictures]
    with pytest.raises(PlanError, match=r"int8 is fine-tuned.*--finetune.*tersor\[train\]"):
        produce(tersor.load(model), {recipe: tmp_path / "a.tflite"}, data, engine=engine)
    tuner = FineTuner(rounds=1, batch_size=20)
    options = Options(calibration_samples=60, finetune=tuner)
    outcome = produce(tersor.load(model), {recipe: tmp_path / "a.tflite"}, data, options=options, engine=engine)
    plan = outcome.products[0].plan
    assert plan is not None
    told = [own.why for own in plan.operands.values() if "fine-tuned (" in own.why] + list(plan.warnings)
    assert any("fine-tuned" in text for text in told)
