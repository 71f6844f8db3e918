"""Layers that are an activation function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated, elu, relu, softmax
from tersor.formats.keras.layers.reshape import reshaped, transposed


def _activation_layer(call: Call) -> str:
    return activated(call, call.input())


def _relu_layer(call: Call) -> str:
    limit = call.option("max_value", None)
    slope = _number(call.option("negative_slope", 0.0))
    return relu(
        call,
        call.input(),
        slope,
        None if limit is None else _number(limit),
        _number(call.option("threshold", 0.0)),
    )


def _leaky_relu_layer(call: Call) -> str:
    slope = call.option("negative_slope", call.option("alpha", 0.3))
    return relu(call, call.input(), slope=_number(slope))


def _prelu_layer(call: Call) -> str:
    tensor = call.input()
    shared = {int(axis) for axis in call.option("shared_axes", None) or ()}
    shape = tuple(1 if axis in shared else size for axis, size in enumerate(call.shape(tensor)))[1:]
    alpha = call.take({"alpha": shape})["alpha"]
    return call.op("PRELU", [tensor, call.constant("alpha", alpha)], call.shape(tensor))


def _softmax_layer(call: Call) -> str:
    tensor = call.input()
    call.no_mask(tensor)
    axis = call.option("axis", -1)
    if isinstance(axis, int):
        return softmax(call, tensor, axis)
    shape = call.shape(tensor)
    axes = sorted(int(item) % len(shape) for item in axis)
    if len(axes) == 1:
        return softmax(call, tensor, axes[0])
    others = [place for place in range(len(shape)) if place not in axes]
    moved = transposed(call, tensor, [*others, *axes], "moved")
    flat = reshaped(call, moved, (*(shape[place] for place in others), int(np.prod([shape[a] for a in axes]))), "flat")
    result = call.op("SOFTMAX", [flat], call.shape(flat), {"beta": 1.0}, "softmax")
    result = reshaped(call, result, call.shape(moved), "unfolded")
    return transposed(call, result, np.argsort([*others, *axes]).tolist())


def _number(value: Any) -> float:
    """Keras 2 writes some numbers as serialized arrays."""
    return float(value["value"] if isinstance(value, dict) else value)


LAYERS: dict[str, Callable[[Call], str]] = {
    "Activation": _activation_layer,
    "ELU": lambda call: elu(call, call.input(), _number(call.option("alpha", 1.0))),
    "LeakyReLU": _leaky_relu_layer,
    "PReLU": _prelu_layer,
    "ReLU": _relu_layer,
    "Softmax": _softmax_layer,
}
