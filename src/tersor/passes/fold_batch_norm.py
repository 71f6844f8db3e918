"""``s (W x + b) + t`` -> ``(s W) x + (s b + t)``, ``W (s x + t) + b`` -> ``(W s) x + (W t + b)``.

A batch normalization in inference is a product and a sum with constants per channel, and so are rescaling and
normalization of the input. Behind a convolution (depthwise and transposed, too) or a dense layer they are folded into
weights and bias; in front of one, into the weights of its input channels. Sums and products are computed in float64 and
rounded once.

Refused where the result between is used elsewhere or has an activation function; and for a sum in front of a
convolution that pads: its border is padded with zeros, and would have to be padded with the offset. The results of a
transposed convolution do not see all taps, so that a sum in front of it is not the same for all of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ir.outline import is_outline
from tersor.ops import BIAS_VERSION, layer_operands
from tersor.passes._match import (
    activation,
    is_float,
    per_channel,
    renewed,
    until_unchanged,
    values,
    with_input,
)

_WEIGHT_AXES = {
    "CONV_2D": (0, 3),
    "DEPTHWISE_CONV_2D": (3, None),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (0, 3),
}
"""Axes of output and input channels in the weights; a depthwise convolution has one for both."""

_PRODUCTS, _SUMS = ("MUL", "DIV"), ("ADD", "SUB")
_FOLDED = frozenset({*_PRODUCTS, *_SUMS})


def apply(graph: Graph) -> Graph:
    """The graph with such operators folded; the same object if there are none."""
    for fold in (_fold_behind, _fold_before):
        graph = until_unchanged(graph, partial(_round, fold=fold))
    return graph


def refusal(graph: Graph, op: Op) -> str | None:
    """Why a product or sum with a constant cannot be folded into the operator before it; None if it can."""
    name = op.inputs[0] if op.inputs else None
    layer = None if name is None else graph.producers.get(name)
    if op.kind not in (*_PRODUCTS, *_SUMS) or name is None or not is_float(graph, op.outputs[0]):
        return "it is no product or sum of floats"
    if layer is None or layer.kind not in _WEIGHT_AXES:
        return "no convolution or dense layer computes its operand"
    if _coefficients(graph, op) is None or graph.tensors[name].shape != graph.tensors[op.outputs[0]].shape:
        return "its other operand is not a constant per channel"
    if graph.sole_reader(name) is not op:
        return f"{name!r} is used elsewhere too"
    if activation(layer):
        return f"{layer.name!r} has an activation function"
    if activation(op) and layer.kind == "TRANSPOSE_CONV":
        return f"{layer.name!r} takes no activation function"
    return None if _is_plain(graph, layer) else f"the weights of {layer.name!r} are not float constants"


def refusal_before(graph: Graph, op: Op, layer: Op) -> str | None:
    """Why a product or sum with a constant cannot be folded into the layer that reads it; None if it can."""
    name = op.outputs[0]
    if op.kind not in (*_PRODUCTS, *_SUMS) or activation(op) or not is_float(graph, name):
        return "it is no bare product or sum of floats"
    if _coefficients(graph, op) is None or op.inputs[0] is None:
        return "its other operand is not a constant per channel"
    if graph.tensors[op.inputs[0]].shape != graph.tensors[name].shape:
        return "it changes the shape"
    if layer.kind not in _WEIGHT_AXES or _data(layer) != name or graph.sole_reader(name) is not layer:
        return f"{name!r} is used elsewhere too"
    weights = values(graph, layer, layer_operands(layer.kind).weights)
    if weights is None or not _is_plain(graph, layer):
        return f"the weights of {layer.name!r} are not float constants"
    channels = graph.tensors[name].shape[-1]
    if _input_size(layer, weights) != channels:
        return f"{layer.name!r} has groups, or joins positions"
    pads = layer.kind != "FULLY_CONNECTED" and layer.option("padding", 0) == 0 and weights.shape[1:3] != (1, 1)
    if op.kind in _SUMS and layer.kind == "TRANSPOSE_CONV":
        return f"the results of {layer.name!r} do not see all taps"
    if op.kind in _SUMS and pads:
        return f"{layer.name!r} pads with zeros, which would have to be the offset"
    return None


def _round(graph: Graph, fold: object) -> Graph:
    """All folds that do not touch each other."""
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: list[Tensor] = []
    for op in graph.ops:
        if op.kind not in _FOLDED:
            continue
        found = _fold_behind(graph, op) if fold is _fold_behind else _fold_before(graph, op)
        if found is None or any(name in ops for name in found[0]):
            continue
        ops |= found[0]
        tensors += found[1]
    return graph.edit(replace_ops=ops, tensors=tensors) if ops else graph


_Fold = tuple[dict[str, tuple[Op, ...]], list[Tensor]]


def _fold_behind(graph: Graph, op: Op) -> _Fold | None:
    if refusal(graph, op) is not None or op.inputs[0] is None:
        return None
    layer = graph.producers[op.inputs[0]]
    coefficients, weights = _coefficients(graph, op), values(graph, layer, layer_operands(layer.kind).weights)
    assert coefficients is not None
    assert weights is not None
    scale, offset = coefficients
    spread = [1] * weights.ndim
    spread[_WEIGHT_AXES[layer.kind][0]] = -1
    options = layer.options
    if options is not None and activation(op):
        options = options.with_fields(fused_activation_function=activation(op))
    changed = replace(layer, name=op.name, outputs=op.outputs, options=options)
    new = _rebuilt(
        graph, layer, changed, _product(weights, scale.reshape(spread)), _bias(graph, layer) * scale + offset
    )
    return {layer.name: (new[0],), op.name: ()}, new[1]


def _fold_before(graph: Graph, op: Op) -> _Fold | None:
    layer = graph.sole_reader(op.outputs[0])
    if layer is None or refusal_before(graph, op, layer) is not None or op.inputs[0] is None:
        return None
    place = layer_operands(layer.kind)
    coefficients, weights = _coefficients(graph, op), values(graph, layer, place.weights)
    assert coefficients is not None
    assert weights is not None
    scale, offset = coefficients
    out_axis, in_axis = _WEIGHT_AXES[layer.kind]
    if in_axis is None:
        multiplier = weights.shape[3] // len(scale)
        scale, offset = np.repeat(scale, multiplier), np.repeat(offset, multiplier)
    others = tuple(axis for axis in range(weights.ndim) if axis != out_axis)
    shifts = 0.0 if is_outline(weights) else (weights.astype(np.float64) * offset).sum(axis=others)
    changed = with_input(layer, place.data, op.inputs[0])
    new = _rebuilt(graph, layer, changed, _product(weights, scale), _bias(graph, layer) + shifts)
    return {op.name: (), layer.name: (new[0],)}, new[1]


def _product(weights: Array, factors: Array) -> Array:
    return weights if is_outline(weights) else weights * factors


def _rebuilt(graph: Graph, layer: Op, changed: Op, weights: Array, bias: Array) -> tuple[Op, list[Tensor]]:
    place = layer_operands(layer.kind)
    tensors = [renewed(graph, layer, place.weights, weights, f"{changed.name}/kernel")]
    tensors.append(renewed(graph, layer, place.bias, bias, f"{changed.name}/bias"))
    changed = replace(changed, version=max(changed.version, BIAS_VERSION.get(layer.kind, 1)))
    return with_input(with_input(changed, place.weights, tensors[0].name), place.bias, tensors[1].name), tensors


def _coefficients(graph: Graph, op: Op) -> tuple[Array, Array] | None:
    """(scale, offset) per channel of a product or sum with a constant second operand."""
    channels = graph.tensors[op.outputs[0]].shape[-1] if graph.tensors[op.outputs[0]].shape else 1
    constant = per_channel(graph, op, 1, channels)
    if constant is None or (op.kind == "DIV" and not np.all(constant)):
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    pairs = {"MUL": (constant, zeros), "ADD": (ones, constant), "SUB": (ones, -constant)}
    return pairs[op.kind] if op.kind in pairs else (1 / constant, zeros)


def _data(layer: Op) -> str | None:
    return layer.inputs[layer_operands(layer.kind).data]


def _is_plain(graph: Graph, layer: Op) -> bool:
    place = layer_operands(layer.kind)
    weights, bias = values(graph, layer, place.weights), graph.operand(layer, place.bias)
    if weights is None or weights.dtype != np.float32:
        return False
    return bias is None or (bias.is_constant and bias.quant is None and is_float(graph, bias.name))


def _bias(graph: Graph, layer: Op) -> Array:
    bias = values(graph, layer, layer_operands(layer.kind).bias)
    if bias is None:
        return np.zeros(graph.tensors[layer.outputs[0]].shape[-1])
    return bias.astype(np.float64)


def _input_size(layer: Op, weights: Array) -> int:
    """Input channels that the weights tell apart."""
    if layer.kind == "DEPTHWISE_CONV_2D":
        return int(weights.shape[3]) // int(layer.option("depth_multiplier", 1) or 1)
    return int(weights.shape[-1])
