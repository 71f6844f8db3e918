"""What a network is trained for: which loss, on which targets, judged by which metric."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tersor.errors import DataError, RecipeError, UnsupportedError
from tersor.ir.graph import Array, Graph
from tersor.stages.evaluate import class_index

CROSS_ENTROPY, BINARY, SQUARED, ABSOLUTE = "cross_entropy", "binary_cross_entropy", "mse", "mae"
LOSSES = (CROSS_ENTROPY, BINARY, SQUARED, ABSOLUTE)

_PROBABILITIES, _LOGISTIC = "SOFTMAX", "LOGISTIC"
_PASSED = ("RESHAPE", "SQUEEZE")


@dataclass(frozen=True)
class Task:
    """A loss and what it needs.

    Attributes:
        loss: one of `LOSSES`.
        from_logits: whether outputs are no probabilities yet.
        shape: of an output, without the batch.
        metric: what the network is judged by, see `stages.evaluate.Scorer`.
        why: why this loss, in words.
    """

    loss: str
    from_logits: bool
    shape: tuple[int, ...]
    metric: str
    why: str

    def __str__(self) -> str:
        return f"loss: {self.loss} ({self.why}); judged by {self.metric}"

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller figure is the better one."""
        return self.metric == "mse"

    def keras_loss(self) -> Any:
        """The loss as Keras has it."""
        losses = keras.losses
        return {
            CROSS_ENTROPY: lambda: losses.CategoricalCrossentropy(from_logits=self.from_logits),
            BINARY: lambda: losses.BinaryCrossentropy(from_logits=self.from_logits),
            SQUARED: losses.MeanSquaredError,
            ABSOLUTE: losses.MeanAbsoluteError,
        }[self.loss]()

    def target(self, label: object, source: str) -> Array:
        """What the output should be for a label, float32 of `shape`. Raises DataError for a label that does not fit."""
        count = math.prod(self.shape)
        if label is None:
            raise DataError(f"{source}: it has no label")
        values = np.asarray(label)
        if self.loss in (SQUARED, ABSOLUTE) or (values.size == count and self.loss == BINARY):
            return self._numbers(values, source)
        if self.loss == CROSS_ENTROPY and values.size == count > 1 and values.dtype.kind == "f":
            return self._numbers(values, source)  # how probable each class is
        index = class_index(label, count, source)
        if not 0 <= index < count:
            raise DataError(f"{source}: label {index} is none of the model's {count} classes (0..{count - 1})")
        row = np.zeros(count, np.float32)
        row[index] = 1
        return row.reshape(self.shape)

    def _numbers(self, values: Array, source: str) -> Array:
        if values.size != math.prod(self.shape):
            raise DataError(f"{source}: the label has {values.size} values, the output {math.prod(self.shape)}")
        if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
            raise DataError(f"{source}: the label is not made of finite numbers")
        if self.loss == BINARY and not ((values >= 0) & (values <= 1)).all():
            raise DataError(f"{source}: label {values.reshape(-1)[0]:g} is not 0 or 1, and the model tells two classes")
        return values.astype(np.float32).reshape(self.shape)


def task_of(graph: Graph, label: object, loss: str | None = None, metric: str | None = None) -> Task:
    """What suits the model's output and a label.

    Args:
        graph: the float graph.
        label: of any sample.
        loss: what is asked for instead; one of `LOSSES`.
        metric: likewise, "top1", "auc" or "mse".

    Raises UnsupportedError for several outputs, DataError without a label, RecipeError for a loss that there is not.
    """
    if len(graph.outputs) != 1:
        raise UnsupportedError(
            f"the model has {len(graph.outputs)} outputs ({', '.join(graph.outputs)}) and samples have one label: "
            "train it in Python, with a loss for each (docs/how-to/train.md)"
        )
    if label is None:
        raise DataError(
            "the data has no labels to train on: sub-folders are classes, a .npz holds them as y; without labels, "
            "tersor quantize corrects rounding"
        )
    if loss is not None and loss not in LOSSES:
        raise RecipeError(f"--loss {loss!r}: there are {', '.join(LOSSES)}")
    shape = graph.tensors[graph.outputs[0]].shape[1:]
    found, from_logits, judged, why = _suited(_source(graph), math.prod(shape), np.asarray(label))
    if loss is not None:
        from_logits = _source(graph) != (_PROBABILITIES if loss == CROSS_ENTROPY else _LOGISTIC)
        judged = {CROSS_ENTROPY: "top1", BINARY: "auc" if math.prod(shape) == 1 else "top1"}.get(loss, "mse")
        found, why = loss, "as asked for"
    return Task(found, from_logits, shape, metric or judged, why)


def _suited(source: str, count: int, label: Array) -> tuple[str, bool, str, str]:
    """Loss, whether outputs are logits, metric, and why."""
    many = label.size == count > 1 and int(np.count_nonzero(label)) != 1
    if source == _PROBABILITIES and count > 1:
        return CROSS_ENTROPY, False, "top1", f"the output is a softmax of {count} classes"
    if source == _LOGISTIC:
        if count == 1:
            return BINARY, False, "auc", "the output is one sigmoid"
        return BINARY, False, "mse" if many else "top1", f"the output is {count} sigmoids"
    if label.size == count:
        return SQUARED, False, "mse", f"labels are numbers, {count} as the output has"
    return CROSS_ENTROPY, True, "top1", f"labels are classes, and the output is {count} numbers: logits"


def _source(graph: Graph) -> str:
    """The kind of operator that makes the output's values."""
    op = graph.producers.get(graph.outputs[0])
    while op is not None and op.kind in _PASSED and op.inputs[0] is not None:
        op = graph.producers.get(op.inputs[0])
    return "" if op is None else op.kind
