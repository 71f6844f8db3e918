"""``x`` -> ``x, DEPTHWISE_CONV_2D(x)``: some values of activations become outputs of the model.

For observers that count values. A depthwise convolution with large strides and one weight of 1 takes a grid of
positions out of an activation, with all channels of each: the runtime does that while the activation lies in the cache,
and uses its memory again at once, where otherwise all would be kept. STRIDED_SLICE takes five times as long.
Values stay what they are, and outputs that were there before stay first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Record, Tensor

_FEWEST_POSITIONS = 8
"""However many channels there are."""

_LEAST_SHARE = 2
"""An activation with fewer times the positions that are wanted is shown whole."""

_BORDER = 2
"""Rows and columns that are left out at the border, at most: padding makes values there that are like no others."""

_VALID = 1
"""The code of this padding in `schema.fbs`."""


def apply(graph: Graph, names: Iterable[str], wanted: int) -> tuple[Graph, dict[str, tuple[int, int]]]:
    """Expose values of some activations.

    Args:
        graph: a float graph.
        names: float32 activations that the graph computes, of two axes or more.
        wanted: how many values to show of each, about; of small ones all are.

    Returns:
        The graph with further outputs, and for each name the place of its values among all outputs, and how many
        values of the activation each stands for.
    """
    tensors: dict[str, Tensor] = {}
    outputs = list(graph.outputs)
    places: dict[str, tuple[int, int]] = {}
    after: dict[str, list[Op]] = {}
    for name in names:
        tensor = graph.tensors[name]
        rows, columns = _strides(tensor.shape, wanted)
        ops: list[Op] = []
        if rows * columns > 1:
            if len(tensor.shape) != 4:
                ops, tensor = _in_a_row(graph, tensor, tensors)
            op, tensor = _thinned(graph, tensor, (rows, columns), tensors)
            ops.append(op)
            producer = graph.producers[name]
            after.setdefault(producer.name, [producer]).extend(ops)
        places[name] = len(outputs), max(round(graph.tensors[name].elements / tensor.elements), 1)
        outputs.append(tensor.name)
    return graph.edit(replace_ops=after, tensors=tensors.values(), outputs=outputs), places


def _strides(shape: tuple[int, ...], wanted: int) -> tuple[int, int]:
    """Over rows and columns, such that about so many values are left; positions of other shapes are one row.

    Odd ones: upsampling repeats its pattern every 2 or 4 positions.
    """
    height, width = shape[1:3] if len(shape) == 4 else (1, math.prod(shape[:-1]))
    positions = max(-(-wanted // (math.prod(shape) // (height * width))), _FEWEST_POSITIONS)
    share = height * width / positions
    if share < _LEAST_SHARE:
        return 1, 1
    rows = max(min(math.sqrt(share), height), share / width)
    rows = max(int(rows) - (int(rows) % 2 == 0), 1)
    return rows, min(int(share / rows) | 1, width)


def _in_a_row(graph: Graph, tensor: Tensor, tensors: dict[str, Tensor]) -> tuple[list[Op], Tensor]:
    """An activation as an image of one row."""
    channels = tensor.shape[-1]
    shape = (1, 1, tensor.elements // channels, channels)
    found = Tensor(graph.fresh_name(f"{tensor.name}/row", tensors), shape, DType.FLOAT32)
    sizes = Tensor(f"{found.name}/shape", (4,), DType.INT32).with_data(np.array([1, 1, -1, channels], np.int32))
    tensors |= {item.name: item for item in (found, sizes)}
    op = Op(f"{found.name}/op", "RESHAPE", (tensor.name, sizes.name), (found.name,), Record("ReshapeOptions"))
    return [op], found


def _thinned(graph: Graph, tensor: Tensor, strides: tuple[int, int], tensors: dict[str, Tensor]) -> tuple[Op, Tensor]:
    """Every so many-th row and column of an image."""
    batch, *sizes, channels = tensor.shape
    first = [min(stride // 2, _BORDER) for stride in strides]
    kernel = np.zeros((1, first[0] + 1, first[1] + 1, channels), np.float32)
    kernel[0, -1, -1] = 1.0
    counts = [(size - own - 1) // stride + 1 for size, own, stride in zip(sizes, first, strides, strict=True)]
    found = Tensor(graph.fresh_name(f"{tensor.name}/values", tensors), (batch, *counts, channels), DType.FLOAT32)
    weights = Tensor(f"{found.name}/weights", kernel.shape, DType.FLOAT32).with_data(kernel)
    bias = Tensor(f"{found.name}/bias", (channels,), DType.FLOAT32).with_data(np.zeros(channels, np.float32))
    tensors |= {item.name: item for item in (found, weights, bias)}
    fields = {"padding": _VALID, "stride_h": strides[0], "stride_w": strides[1], "depth_multiplier": 1}
    options = Record(
        "DepthwiseConv2DOptions", tuple((fields | {"dilation_h_factor": 1, "dilation_w_factor": 1}).items())
    )
    inputs = (tensor.name, weights.name, bias.name)
    return Op(f"{found.name}/op", "DEPTHWISE_CONV_2D", inputs, (found.name,), options), found
