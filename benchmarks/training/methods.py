"""tersor's methods on ResNet-8 and CIFAR-10, and the naive forms of them; in tersor's environment.

    python methods.py METHOD --model FILE --data CIFAR.npz --epochs N --seed N --output FOLDER

Writes `.tflite` files into the folder; ``networks.npz``, what the networks answered in Keras on the test images, by the
names of the files that were made of them; and ``facts.json``.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import naive
import numpy as np
from course import BATCH, Course, begun

import tersor
from tersor.training import low_bit, prune, qat
from tersor.training.network import Network

ROUNDS = 5
"""Of the comparison of steps."""

STEPS = 20
"""In a round."""


@dataclass
class Result:
    """What a method made.

    Attributes:
        model: to be written; None where there is only the network.
        network: to be asked in Keras.
        sparsity: the share of zeros in the layers that were pruned.
    """

    model: Any = None
    network: Any = None
    sparsity: float | None = None


Made = dict[str, Result]


def float_models(course: Course) -> Made:
    """What others are held against: as it is, trained on for as long, and quantized without training."""
    source = tersor.optimize(tersor.load(course.model))
    made = {"float": Result(source), "float_trained": Result(_fit(course, Network(source), "rounding").trained())}
    data = tersor.load_data(course.calibration, source)
    for recipe in (tersor.load_recipe("int8"), tersor.load_recipe("int8_w4")):
        plan = tersor.plan(source, recipe, tersor.calibrate(source, data, recipe.observer))
        corrected = tersor.correct(source, plan, data, recipe.algorithms)
        made[recipe.name] = Result(tersor.quantize(corrected.model, corrected.plan))
    return made


def quantized(recipe: str) -> Callable[[Course], Made]:
    """Quantization-aware training; scales of 4 bits are learned."""

    def method(course: Course) -> Made:
        network = qat.prepare(
            course.model,
            recipe,
            data=course.calibration,
            freeze_after=_freeze(course),
            learned=recipe == "int8_w4",
        )
        return {f"qat_{recipe}": _of(_fit(course, network, "rounding"))}

    return method


def pruned(name: str, sparsity: float | None, pattern: str) -> Callable[[Course], Made]:
    """Pruning, more and more over the first half of the steps."""

    def method(course: Course) -> Made:
        network = _pruned(course, sparsity, pattern)
        return {name: Result(network.trained(), sparsity=network.sparsity().reached)}

    return method


def pruned_and_quantized(course: Course) -> Made:
    """Both, one after the other."""
    first = _pruned(course, 0.8, "unstructured")
    network = qat.prepare(
        first.trained(), "int8", data=course.calibration, freeze_after=_freeze(course), keep_zeros=True
    )
    made = _of(_fit(course, network, "rounding"))
    made.sparsity = first.sparsity().reached
    return {"pruned_80_int8": made}


def fewer_channels(course: Course) -> Made:
    """A quarter of the channels removed before training."""
    smaller = prune.remove_channels(course.model, 0.25)
    return {"channels": Result(_fit(course, Network(smaller), "weights").trained())}


def few_bits(name: str, weights: Callable[[], Any]) -> Callable[[Course], Made]:
    """Weights of few values in all layers but the first and the last."""

    def method(course: Course) -> Made:
        network = low_bit.prepare(course.model, weights(), data=course.calibration, freeze_after=_freeze(course))
        return {name: _of(_fit(course, network, "weights"))}

    return method


def naively(name: str, change: Callable[[Any], Any]) -> Callable[[Course], Made]:
    """A method in its naive form, in Keras alone."""

    def method(course: Course) -> Made:
        return {name: Result(network=_fit(course, change(_keras_model(course)), "weights"))}

    return method


def steps(course: Course) -> list[dict[str, float]]:
    """Processor seconds of a training step of the Keras model and of the network that rounds, in turns."""
    networks = {"float": _keras_model(course), "qat": qat.prepare(course.model, "int8", data=course.calibration)}
    images, labels = course.images[: BATCH * STEPS].astype(np.float32), course.labels[: BATCH * STEPS]
    for network in networks.values():
        network.compile(keras.optimizers.Adam(1e-5), "sparse_categorical_crossentropy", metrics=["accuracy"])
        network.fit(images, labels, batch_size=BATCH, verbose=0)
    rounds = []
    for _ in range(ROUNDS):
        taken = {}
        for name, network in networks.items():
            started = time.process_time()
            network.fit(images, labels, batch_size=BATCH, verbose=0)
            taken[name] = (time.process_time() - started) / STEPS
        rounds.append(taken)
    return rounds


def _fit(course: Course, network: Any, rate: str) -> Any:
    return course.fit(keras, network, rate)


def _of(network: Any) -> Result:
    return Result(tersor.quantize(network), network)


def _pruned(course: Course, sparsity: float | None, pattern: str) -> Any:
    schedule = prune.PolynomialDecay(begin=0, end=course.steps // 2, frequency=50)
    wanted = prune.Pruning(sparsity, pattern, schedule=schedule)
    return _fit(course, prune.prepare(course.model, wanted, freeze_after=_freeze(course)), "weights")


def _freeze(course: Course) -> int:
    return 2 * course.steps // 3


def _keras_model(course: Course) -> Any:
    return keras.models.load_model(course.model, compile=False)


METHODS: dict[str, Callable[[Course], Made]] = {
    "float": float_models,
    "qat_int8": quantized("int8"),
    "qat_int8_w4": quantized("int8_w4"),
    "pruned_50": pruned("pruned_50", 0.5, "unstructured"),
    "pruned_2_4": pruned("pruned_2_4", None, "2:4"),
    "pruned_80": pruned("pruned_80", 0.8, "unstructured"),
    "pruned_80_int8": pruned_and_quantized,
    "channels": fewer_channels,
    "ternary": few_bits("ternary", low_bit.Ternary),
    "binary": few_bits("binary", low_bit.Binary),
    "naive_pruned_80": naively("naive_pruned_80", lambda model: naive.pruned(model, 0.8)),
    "naive_ternary": naively("naive_ternary", lambda model: naive.coarse(model, 0.5)),
    "naive_binary": naively("naive_binary", lambda model: naive.coarse(model, 0.0)),
}


def main() -> None:
    """One method."""
    method, course, folder = begun()
    if method == "steps":
        (folder / "facts.json").write_text(json.dumps({"steps": steps(course)}))
        return
    made = METHODS[method](course)
    facts: dict[str, Any] = {}
    answers = {}
    for name, result in made.items():
        if result.model is not None:
            tersor.save(result.model, folder / f"{name}.tflite")
        if result.network is not None:
            answers[name] = _answers(result.network, course)
        if result.sparsity is not None:
            facts[name] = {"sparsity": result.sparsity, "sparse_bytes": _sparse_bytes(result.model)}
    Path(folder / "facts.json").write_text(json.dumps({"files": facts}))
    np.savez(folder / "networks.npz", **answers)


def _sparse_bytes(model: Any) -> int:
    """The size of the file without its zeros."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sparse.tflite"
        tersor.save(model, path, sparse=True)
        return path.stat().st_size


def _answers(network: Any, course: Course) -> Any:
    images = course.test_images.astype(np.float32)
    return np.argmax(network.predict(images, batch_size=500, verbose=0), axis=-1)


if __name__ == "__main__":
    main()
