"""Distillation: one network teaches another what it answers, with labels or without (Hinton et al. 2015, arXiv 1503.02531).

A network that rounds learns from the float one what labels cannot tell it, how sure to be of what, and samples need no
labels for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.errors import DataError
from tersor.ir.graph import Array, Model
from tersor.stages.load import load
from tersor.stages.optimize import optimize
from tersor.training.network import Network

PROBABILITIES, LOGITS, VALUES = "probabilities", "logits", "values"
"""What an output holds."""

_LEAST = 1e-30
"""Of a probability, before its logarithm is taken: within float32."""

_SUM = 0.01
"""By how much the sum of probabilities may differ from 1."""


class Distiller(keras.Model):  # type: ignore[misc]
    """A network and its teacher, to `compile` and `fit` as usual: on inputs alone, or with labels as well.

    The loss of an output of classes is the divergence of the softened probabilities, times the squared temperature so
    that it weighs the same at any; of other values the squared error over their variance. Logits need not be known:
    logarithms of probabilities are logits but for a constant, which a softmax takes out.

    Args:
        student: what is trained; a functional model.
        teacher: a Keras model with the same inputs and outputs. It is frozen.
        holds: per output, PROBABILITIES, LOGITS or VALUES.
        spread: per output, the variance of the teacher's values, which errors are measured in.
        temperature: softens probabilities.
        features: layers of the student whose values are to be the teacher's, with the names of the teacher's layers.
        feature_weight: of their error, relative to their variance, beside that of the outputs.
        label_weight: of the loss that `compile` is given, where `fit` is given labels; the teacher has the rest.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        holds: Sequence[str],
        spread: Sequence[float],
        *,
        temperature: float = 1.0,
        features: Mapping[str, str] | None = None,
        feature_weight: float = 1.0,
        label_weight: float = 0.0,
    ) -> None:
        super().__init__(name=f"{student.name}_taught")
        if temperature <= 0:
            raise ValueError(f"temperature is {temperature!r}: it must be positive")
        if not 0 <= label_weight <= 1:
            raise ValueError(f"label_weight is {label_weight!r}: it must be from 0 to 1")
        pairs = dict(features or {})
        teacher.trainable = False
        self.student, self.teacher = student, teacher
        self._holds, self._spread = tuple(holds), tuple(spread)
        self._learning = _with_features(student, list(pairs))
        self._teaching = _with_features(teacher, list(pairs.values()))
        self._temperature, self._feature_weight, self._label_weight = temperature, feature_weight, label_weight

    def call(self, x: Any, training: bool = False) -> list[Any]:
        """The student's outputs, and behind them its features."""
        return _listed(self._learning(x, training=training))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """See Keras."""
        wanted = [ops.stop_gradient(item) for item in _listed(self._teaching(x, training=False))]
        count = len(self._holds)
        taught = ops.zeros(())
        for place, held in enumerate(self._holds):
            taught = taught + self._distance(y_pred[place], wanted[place], held, self._spread[place])
        for own, given in zip(y_pred[count:], wanted[count:], strict=True):
            error = ops.mean(ops.square(own - given)) / (ops.var(given) + _LEAST)
            taught = taught + self._feature_weight * error
        if y is None or self._label_weight == 0:
            return taught
        labels = super().compute_loss(x, y, _single(y_pred[:count]), sample_weight, training)
        return (1 - self._label_weight) * taught + self._label_weight * labels

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """See Keras; without labels there are none but the loss."""
        if y is None:
            return {"loss": self._loss_tracker.result()}
        return super().compute_metrics(x, y, _single(y_pred[: len(self._holds)]), sample_weight)

    def _distance(self, own: Any, given: Any, held: str, spread: float) -> Any:
        if held == VALUES:
            return ops.mean(ops.square(own - given)) / max(spread, _LEAST)
        if held == PROBABILITIES:
            own, given = (ops.log(ops.maximum(item, _LEAST)) for item in (own, given))
        own, given = (ops.log_softmax(item / self._temperature, axis=-1) for item in (own, given))
        divergence = ops.sum(ops.exp(given) * (given - own), axis=-1)
        return ops.mean(divergence) * self._temperature**2


def distiller(
    student: Any, teacher: Any, sample: Any, *, holds: Sequence[str] | None = None, **options: Any
) -> Distiller:
    """A `Distiller`, which finds out from samples what outputs hold.

    Args:
        student: what is trained: what `qat.prepare` or `low_bit.prepare` made, or any functional model.
        teacher: a Keras model, or anything that tersor reads: usually what the student was made of.
        sample: some samples [samples, ...], an array per input.
        holds: per output, if known.
        options: of `Distiller`.
    """
    found = teacher if isinstance(teacher, keras.Model) else Network(_float(teacher))
    rows = _listed(found(_tensors(sample), training=False))
    answers = [np.asarray(ops.convert_to_numpy(item), np.float32) for item in rows]
    given = tuple(holds) if holds is not None else tuple(map(held_by, answers))
    return Distiller(student, found, given, [float(item.var()) for item in answers], **options)


def distill(
    student: Any,
    teacher: Any,
    data: Any,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    verbose: int | str = "auto",
    **options: Any,
) -> Any:
    """Have a network taught by another, without labels; the student is trained in place.

    Args:
        student: see `distiller`.
        teacher: see `distiller`.
        data: samples [samples, ...], an array per input.
        epochs: how often all samples are gone through.
        batch_size: samples of a step.
        learning_rate: Adam's.
        verbose: see `keras.Model.fit`.
        options: of `distiller`.

    Returns:
        Keras's history.

    Raises:
        DataError: there are no samples.
    """
    arrays = [np.asarray(item, np.float32) for item in _listed(data)]
    if not arrays or min(map(len, arrays)) == 0:
        raise DataError("there is nothing to learn from: give samples [samples, ...], an array per input")
    some = _single([item[:batch_size] for item in arrays])
    both = distiller(student, teacher, some, **options)
    both.compile(keras.optimizers.Adam(learning_rate))
    return both.fit(_single(arrays), batch_size=batch_size, epochs=epochs, verbose=verbose)


def held_by(answers: Array) -> str:
    """What an output [samples, ..., values] holds, by its values: VALUES unless they can only be PROBABILITIES."""
    if answers.ndim < 2 or answers.shape[-1] < 2 or answers.min() < 0:
        return VALUES
    return PROBABILITIES if np.allclose(answers.sum(axis=-1), 1, atol=_SUM) else VALUES


def _float(model: Any) -> Model:
    return optimize(model if isinstance(model, Model) else load(model))


def _with_features(model: Any, names: Sequence[str]) -> Any:
    return keras.Model(model.inputs, [*model.outputs, *(model.get_layer(name).output for name in names)])


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _single(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _tensors(sample: Any) -> Any:
    return _single([ops.convert_to_tensor(item) for item in _listed(sample)])
