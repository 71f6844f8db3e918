"""Layers on channels_first tensors: transposed, computed channels_last, and transposed back. Passes merge the turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.layers.reshape import transposed

Function = Callable[[Call], str | tuple[str, ...]]

_NORMALIZATIONS = frozenset(
    {"BatchNormalization", "BatchNormalizationV1", "SyncBatchNormalization", "GroupNormalization"}
)


def is_channels_first(call: Call) -> bool:
    """Whether the channels are axis 1 of an image for this layer."""
    if call.layer.config.get("data_format") == "channels_first":
        return True
    axis = call.layer.config.get("axis")
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    return call.layer.kind in _NORMALIZATIONS and axis == 1 and len(call.shape(call.input())) > 3


def turned(call: Call, function: Function) -> str:
    """A layer's result, by way of channels_last."""
    tensor = call.any_input()
    rank = len(call.shape(tensor))
    there = transposed(call, tensor, [0, *range(2, rank), 1], "channels_last")
    config = {**call.layer.config, "data_format": "channels_last"}
    if call.layer.kind in _NORMALIZATIONS:
        config["axis"] = -1
    layer = replace(call.layer, config=config)
    result = function(replace(call, layer=layer, args=(Edge(there),), kwargs={}))
    if not isinstance(result, str):
        raise call.refused("data_format channels_first is not read: build the model with channels_last")
    if len(call.shape(result)) != rank:
        return result  # a global pooling, Flatten
    order: list[int] = [0, rank - 1, *np.arange(1, rank - 1).tolist()]
    return transposed(call, result, order, "channels_first")
