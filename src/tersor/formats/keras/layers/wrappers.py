"""Layers that hold another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.config import Layer, layer_inside
from tersor.formats.keras.layers.activation import binary
from tersor.formats.keras.layers.merge import concatenated
from tersor.formats.keras.layers.reshape import reshaped, reversed_along
from tersor.ir.dtypes import DType

_READ_MASKS = frozenset({"Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN", "GlobalAveragePooling1D", "Softmax"})


def bidirectional(call: Call) -> tuple[str, ...]:
    """`Bidirectional`: the layer, and its twin that reads backwards; then both joined."""
    given = call.args[0] if call.args else next(iter(call.kwargs.values()), None)
    sequence, *states = given if isinstance(given, list) else [given]
    states += call.kwargs.get("initial_state") or []
    if not isinstance(sequence, Edge):
        raise call.refused("it is not called with a tensor")
    forward = layer_inside(call.option("layer"))
    if forward.kind not in ("GRU", "LSTM", "RNN", "SimpleRNN"):
        raise call.refused(f"it holds a layer {forward.name!r} ({forward.kind}), which is not read in both directions")
    backward = layer_inside(call.option("backward_layer", None) or call.option("layer"))
    backward = _backwards(forward, backward)
    half = len(states) // 2
    results = []
    for layer, part, own in ((forward, "forward", states[:half]), (backward, "backward", states[half:])):
        inner: dict[str, Any] = {key: value for key, value in call.kwargs.items() if key == "mask"}
        if own:
            inner["initial_state"] = own
        is_given = part == "backward" and call.option("backward_layer", None) is not None
        steps = (f"{part}_", layer.name.removeprefix("backward_")) if is_given else (f"{part}_",)
        results.append(call.enter(call.inside(layer, f"{part}_layer", steps, sequence, **inner)))
    (ahead, *ahead_states), (back, *back_states) = results
    if forward.config.get("return_sequences", False):
        back = reversed_along(call, back, 1, "forwards")
    return (*_joined(call, ahead, back), *ahead_states, *back_states)


def _backwards(forward: Layer, backward: Layer) -> Layer:
    name = backward.name.removeprefix("forward_")
    name = name if name.startswith("backward_") else f"backward_{name}"
    is_backwards = not forward.config.get("go_backwards", False)
    return replace(backward, name=name, config={**backward.config, "go_backwards": is_backwards})


def _joined(call: Call, ahead: str, back: str) -> tuple[str, ...]:
    mode = call.option("merge_mode", "concat")
    if mode is None:
        return ahead, back
    if mode == "concat":
        return (concatenated(call, [ahead, back], -1),)
    if mode == "ave":
        return (binary("MUL", call, binary("ADD", call, ahead, back, "sum"), 0.5),)
    kinds = {"sum": "ADD", "mul": "MUL"}
    if mode not in kinds:
        raise call.refused(f"merge_mode {mode!r} is not read")
    return (binary(kinds[mode], call, ahead, back),)


def time_distributed(call: Call) -> str:
    """`TimeDistributed`: the steps of all samples become samples, since layers treat samples alike."""
    tensor = call.any_input()
    batch, steps, *rest = call.shape(tensor)
    layer = layer_inside(call.option("layer"))
    if call.mask(tensor) is not None and (layer.network is not None or layer.kind in _READ_MASKS):
        call.no_mask(tensor)
    folded = reshaped(call, tensor, (batch * steps, *rest), "steps")
    results = call.enter(call.inside(layer, "layer", (), folded))
    if len(results) != 1:
        raise call.refused(f"the layer inside returns {len(results)} tensors where one is read")
    shape = call.shape(results[0])
    if shape[0] != batch * steps:
        raise call.refused(f"the layer inside makes {shape[0]} samples of {batch * steps}")
    return reshaped(call, results[0], (batch, steps, *shape[1:]))


def spectral_normalization(call: Call) -> str:
    """`SpectralNormalization` changes the weights in training only: the layer inside."""
    layer = layer_inside(call.option("layer"))
    (result,) = call.enter(call.inside(layer, "layer", (layer.name,), call.input()))
    return result


def masking(call: Call) -> str:
    """`Masking`: steps whose features all equal mask_value carry no data; they become zeros."""
    tensor, value = call.input(), float(call.option("mask_value", 0.0))
    shape = call.shape(tensor)

    def emit() -> str:
        other = call.constant("mask_value", np.float32(value))
        differs = call.op("NOT_EQUAL", [tensor, other], shape, None, "differs", dtype=DType.BOOL)
        axis = call.integers("axis", [len(shape) - 1])
        return call.op("REDUCE_ANY", [differs, axis], shape[:-1], {"keep_dims": False}, "mask", dtype=DType.BOOL)

    if value:
        mask = reshaped(call, emit(), (*shape[:-1], 1), "positions")
        zero = call.constant("zero", np.zeros(shape, np.float32))
        result = call.op("SELECT_V2", [mask, tensor, zero], shape, dtype=call.builder.dtype_of(tensor))
    else:
        target = call.integers("shape", shape)  # a tensor of its own: only what comes behind is masked
        result = call.op("RESHAPE", [tensor, target], shape, {"new_shape": shape})
    call.masks[result] = emit
    return result


LAYERS: dict[str, Callable[[Call], str | tuple[str, ...]]] = {
    "Bidirectional": bidirectional,
    "Masking": masking,
    "SpectralNormalization": spectral_normalization,
    "TimeDistributed": time_distributed,
}
