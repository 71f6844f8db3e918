"""Where the axes of weights lie: in LiteRT's files, and in Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from tersor.ir.graph import Array

_AXES = {"CONV_2D": (1, 2, 3, 0), "FULLY_CONNECTED": (1, 0), "TRANSPOSE_CONV": (1, 2, 0, 3)}
"""Places of Keras's axes in the file: [h, w, in, out] of [out, h, w, in], and so on."""

CHANNEL_AXES = {"CONV_2D": (3,), "DEPTHWISE_CONV_2D": (2, 3), "FULLY_CONNECTED": (1,), "TRANSPOSE_CONV": (2,)}
"""The axes of Keras's kernels along which scales per channel vary."""

OUTPUT_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""The axis of outputs in the file's weights; that of inputs is the last one, where there is one."""


def to_keras(kind: str, weights: Array, multiplier: int = 1) -> Array:
    """A layer's weights as Keras lays them out; `multiplier` is that of a depthwise convolution."""
    if kind == "DEPTHWISE_CONV_2D":
        _, height, width, channels = weights.shape
        return weights.reshape(height, width, channels // multiplier, multiplier)
    return np.transpose(weights, _AXES[kind])


def from_keras(kind: str, weights: Array) -> Array:
    """The way back."""
    if kind == "DEPTHWISE_CONV_2D":
        height, width, channels, multiplier = weights.shape
        return weights.reshape(1, height, width, channels * multiplier)
    return np.ascontiguousarray(np.transpose(weights, np.argsort(_AXES[kind])))


def inputs_before_outputs(kind: str, values: Any) -> Any:
    """A kernel, or its mask, with its last axes [inputs, outputs]; its own inverse."""
    return ops.swapaxes(values, -1, -2) if kind == "TRANSPOSE_CONV" else values


def inputs_and_outputs(kind: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs and outputs weights in the file's layout have."""
    return (shape[-1], 1) if kind == "DEPTHWISE_CONV_2D" else (shape[-1], shape[0])
