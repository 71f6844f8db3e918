"""How long a call of `fit` will train."""

from __future__ import annotations

import inspect
from typing import Any

import keras


def steps_of_fit(model: Any, *args: Any, **kwargs: Any) -> int | None:
    """The number of steps (batches) that `fit` with these arguments takes; None if that cannot be known beforehand."""
    given = inspect.signature(keras.Model.fit).bind(model, *args, **kwargs)
    given.apply_defaults()
    asked = given.arguments
    each = asked["steps_per_epoch"]
    if each is None:
        each = _batches(asked["x"], asked["batch_size"] or 32, asked["validation_split"] or 0.0)
    return None if each is None else max(asked["epochs"] - asked["initial_epoch"], 0) * each


def _batches(x: Any, size: int, held_back: float) -> int | None:
    while isinstance(x, dict | list | tuple) and len(x):  # several inputs: of equal lengths
        x = next(iter(x.values())) if isinstance(x, dict) else x[0]
    if isinstance(x, keras.utils.PyDataset):
        return None if x.num_batches is None else int(x.num_batches)
    if hasattr(x, "cardinality"):  # tf.data; below 0 where it is infinite or unknown
        known = int(x.cardinality())
        return known if known >= 0 else None
    if hasattr(x, "shape") and len(x.shape):
        return -(-int(x.shape[0] * (1.0 - held_back)) // size)
    try:
        return len(x)  # a loader of batches, as PyTorch's
    except TypeError:
        return None
