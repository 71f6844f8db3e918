"""``conv_valid(pad(x))`` -> ``conv_same(x)``, where SAME pads just as much on each side.

SAME pads ``max((ceil(n / s) - 1) s + (k - 1) d + 1 - n, 0)`` zeros in all along an axis, half of them (rounded down) in
front. Refused where the amounts differ (a padding of 3 before a 7x7 of stride 2: SAME pads 2 and 3), where the pad
reaches batch or channels, and where the padded value is used by others too.
"""

from __future__ import annotations

from dataclasses import replace

from tersor.ir.graph import Graph, Op
from tersor.numerics.patches import same_padding
from tersor.passes._match import is_float, values, with_input

_SAME, _VALID = 0, 1


def refusal(graph: Graph, pad: Op) -> str | None:
    """Why a PAD cannot become part of the convolution that reads it; None if it can."""
    if pad.kind != "PAD" or pad.inputs[0] is None or not is_float(graph, pad.outputs[0]):
        return "it is no PAD of floats"
    layer, amounts = graph.sole_reader(pad.outputs[0]), values(graph, pad, 1)
    if amounts is None or amounts.shape != (4, 2) or amounts[0].any() or amounts[3].any():
        return "it pads other axes than height and width, or by amounts that are computed"
    if layer is None or layer.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return f"{pad.outputs[0]!r} is not used by one convolution alone"
    weights = graph.operand(layer, 1)
    if layer.options is None or layer.option("padding", _SAME) != _VALID or weights is None:
        return f"{layer.name!r} pads too"
    for axis, side in ((1, "h"), (2, "w")):
        size = graph.tensors[pad.inputs[0]].shape[axis]
        stride, dilation = layer.option(f"stride_{side}", 1), layer.option(f"dilation_{side}_factor", 1)
        wanted = same_padding(size, weights.shape[axis], stride, dilation)
        if tuple(amounts[axis].tolist()) != wanted:
            return f"it pads {amounts[axis].tolist()} along axis {axis}, SAME pads {list(wanted)}"
    return None


def apply(graph: Graph) -> Graph:
    """The graph with such pads folded; the same object if there are none."""
    ops: dict[str, tuple[Op, ...]] = {}
    for pad in graph.ops:
        if refusal(graph, pad) is not None or pad.inputs[0] is None:
            continue
        layer = graph.sole_reader(pad.outputs[0])
        if layer is None or layer.options is None:
            continue
        same = with_input(layer, 0, pad.inputs[0])
        ops[pad.name] = ()
        ops[layer.name] = (_with_padding(same),)
    return graph.edit(replace_ops=ops) if ops else graph


def _with_padding(op: Op) -> Op:
    assert op.options is not None
    return replace(op, options=op.options.with_fields(padding=_SAME))
