"""Recurrent layers that LiteRT has a fused kernel for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.reshape import reshaped

_TANH = 4
"""`schema.fbs`, enum ActivationFunctionType."""

_GATES = ("input", "forget", "cell", "output")
"""The order of the gates in Keras's kernels, which is that of UNIDIRECTIONAL_SEQUENCE_LSTM too."""


def lstm(call: Call) -> str:
    """`LSTM` with its usual functions: UNIDIRECTIONAL_SEQUENCE_LSTM over [1, time, features].

    The kernel keeps its state from run to run, where Keras begins each sample anew: whoever runs the model resets its
    variables between samples, as for TensorFlow's own conversion.
    """
    _refuse_options(call)
    tensor, units = call.input(3), call.size("units")
    _, steps, features = call.shape(tensor)
    shapes: dict[str, tuple[int, ...]] = {"kernel": (features, 4 * units), "recurrent_kernel": (units, 4 * units)}
    if call.option("use_bias", True):
        shapes["bias"] = (4 * units,)
    arrays = call.take(shapes, part="cell")
    inputs: list[str | None] = [tensor]
    for key in ("kernel", "recurrent_kernel"):
        parts = np.split(arrays[key], 4, axis=1)
        inputs += [
            call.constant(f"{key}_{gate}", np.ascontiguousarray(part.T))
            for gate, part in zip(_GATES, parts, strict=True)
        ]
    inputs += [None] * 3  # peepholes
    biases = np.split(arrays.get("bias", np.zeros(4 * units, np.float32)), 4)
    inputs += [call.constant(f"bias_{gate}", part.copy()) for gate, part in zip(_GATES, biases, strict=True)]
    inputs += [None] * 2  # projection
    inputs += [call.builder.variable(f"{call.name}/{state}_state", (1, units)) for state in ("output", "cell")]
    inputs += [None] * 4  # layer normalization
    options = {"fused_activation_function": _TANH, "cell_clip": 0.0, "proj_clip": 0.0, "time_major": False}
    whole = bool(call.option("return_sequences", False))
    shape = (1, steps, units)
    result = call.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, shape, options, "" if whole else "sequence")
    if whole:
        return result
    begin, size = call.integers("begin", [0, steps - 1, 0]), call.integers("size", [1, 1, units])
    last = call.op("SLICE", [result, begin, size], (1, 1, units), None, "last")
    return reshaped(call, last, (1, units))


def _refuse_options(call: Call) -> None:
    call.no_mask()
    for key, usual in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        if call.option(key, usual) != usual:
            raise call.refused(f"{key} {call.option(key)!r} is not read: LiteRT's kernel computes {usual}")
    for key in ("return_state", "stateful", "go_backwards", "time_major"):
        if call.option(key, False):
            raise call.refused(f"{key} is not read")


LAYERS: dict[str, Callable[[Call], str]] = {"LSTM": lstm}
