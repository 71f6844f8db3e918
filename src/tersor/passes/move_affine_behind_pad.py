"""``pad_0(s x + t)`` -> ``s pad_p(x) + t`` with ``p = -t / s``: a scale or an offset before a pad moves behind it.

There the convolution that reads the pad takes it in (`fold_batch_norm`). A product moves for any ``s``, since
``s 0 = 0``. A sum moves where ``t`` is one number: the border then holds ``-t``, which the sum makes 0 again; PAD
becomes PADV2. Inputs that are rescaled to -1..1 in front of a padded convolution are of this kind.

Refused where no convolution without padding of its own is the only reader of the pad, where the value between is used
elsewhere, and for an offset that differs from channel to channel: PADV2 pads with one number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op, Record, Tensor
from tersor.passes._match import activation, is_float, per_channel, until_unchanged, values, with_input

_VALID = 1


def refusal(graph: Graph, pad: Op) -> str | None:
    """Why nothing moves behind a pad; None if a product or sum in front of it can."""
    if pad.kind not in ("PAD", "PADV2") or pad.inputs[0] is None or not is_float(graph, pad.outputs[0]):
        return "it is no pad of floats"
    layer, amounts = _layer_behind(graph, pad), values(graph, pad, 1)
    if layer is None or layer.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D") or layer.option("padding", 0) != _VALID:
        return f"{pad.outputs[0]!r} is not read by one convolution alone that does not pad"
    op = graph.producers.get(pad.inputs[0])
    if op is None or op.kind not in ("MUL", "ADD", "SUB") or graph.sole_reader(pad.inputs[0]) is not pad:
        return "no product or sum comes before it, or its result is used elsewhere too"
    constant = _constant(graph, op)
    if constant is None or activation(op) or op.inputs[0] is None:
        return f"{op.name!r} has an activation function, or no constant per channel"
    if graph.tensors[op.inputs[0]].shape != graph.tensors[op.outputs[0]].shape:
        return f"{op.name!r} changes the shape"
    if amounts is None or amounts.shape != (4, 2) or amounts[0].any() or amounts[3].any():
        return "it pads other axes than height and width"
    border = _border(graph, pad)
    if border is None:
        return "the value of the border is computed"
    if op.kind == "MUL" and border and (np.ptp(constant) or not constant[0]):
        return f"{op.name!r} has several factors, and the border is not 0"
    if op.kind != "MUL" and np.ptp(constant):
        return f"{op.name!r} has several offsets, and a pad has one value"
    return None


def apply(graph: Graph) -> Graph:
    """The graph with them moved; the same object if there are none."""
    return until_unchanged(graph, _round)


def _round(graph: Graph) -> Graph:
    for pad in graph.ops:
        if refusal(graph, pad) is None:
            return _moved(graph, pad)
    return graph


def _moved(graph: Graph, pad: Op) -> Graph:
    assert pad.inputs[0] is not None
    op = graph.producers[pad.inputs[0]]
    constant = _constant(graph, op)
    assert constant is not None
    assert op.inputs[0] is not None
    border, number = _border(graph, pad) or 0.0, float(constant[0])
    moved = {"ADD": border - number, "SUB": border + number, "MUL": border / (number or 1)}[op.kind]
    padded = Tensor(graph.fresh_name(f"{pad.name}/source"), graph.tensors[pad.outputs[0]].shape, DType.FLOAT32)
    early, tensors = _pad(graph, with_input(pad, 0, op.inputs[0]), padded.name, moved)
    late = replace(with_input(op, 0, padded.name), name=pad.name, outputs=pad.outputs)
    return graph.edit(replace_ops={op.name: (), pad.name: (early, late)}, tensors=[padded, *tensors])


def _layer_behind(graph: Graph, pad: Op) -> Op | None:
    """What reads a pad in the end, behind products and sums that moved there already."""
    reader = graph.sole_reader(pad.outputs[0])
    while reader is not None and reader.kind in ("MUL", "ADD", "SUB") and _constant(graph, reader) is not None:
        reader = graph.sole_reader(reader.outputs[0])
    return reader


def _pad(graph: Graph, pad: Op, result: str, border: float) -> tuple[Op, list[Tensor]]:
    pad = replace(pad, name=result, outputs=(result,))
    if not border:
        return replace(pad, kind="PAD", inputs=pad.inputs[:2], options=Record("PadOptions", ()), version=1), []
    value = np.array(border, np.float32)
    tensor = Tensor(graph.fresh_name(f"{result}/border"), (), DType.FLOAT32).with_data(value)
    inputs = (*pad.inputs[:2], tensor.name)
    return replace(pad, kind="PADV2", inputs=inputs, options=Record("PadV2Options", ()), version=1), [tensor]


def _border(graph: Graph, pad: Op) -> float | None:
    """What a pad pads with; None if that is computed."""
    if pad.kind == "PAD":
        return 0.0
    value = values(graph, pad, 2)
    return None if value is None else float(value.reshape(-1)[0])


def _constant(graph: Graph, op: Op) -> Array | None:
    """The second operand per channel, [channels] in float64."""
    shape = graph.tensors[op.outputs[0]].shape
    return per_channel(graph, op, 1, shape[-1]) if shape else None
