"""Which convolutions XNNPACK computes with its sparse kernels.

XNNPACK turns whole regions of a network from NHWC to NCHW if enough of their 1x1 filters are zeros. The rules are those
of its source (`xnn_subgraph_rewrite_for_nchw` in `src/subgraph.c`) and of LiteRT's delegate, which asks for it only
where weights are stored sparsely (DENSIFY). On x86 processors with AVX it never does (`xnn_is_chw_compatible_config`),
since dense kernels are faster there, so this is a forecast for Arm and WebAssembly. It was held against XNNPACK on an
emulated x86 processor without AVX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Tensor
from tersor.numerics.packing import values_of
from tersor.numerics.patches import same_padding
from tersor.numerics.sparse import densify

LEAST = 2 / 3
"""The share of zeros in all 1x1 filters of a region has to be larger."""

_INSIDE, _ENTRY, _EXIT = "inside", "entry", "exit"

_UNARY = frozenset(
    {"ABS", "CEIL", "ELU", "FLOOR", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG"}
    | {"RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "SQUARE"}
)


@dataclass(frozen=True)
class Verdict:
    """What XNNPACK makes of the filters of one layer.

    Attributes:
        name: of the operator.
        reason: why it computes them densely; None if its sparse kernels take them.
        region: a number for all layers that are judged together; None for layers that are in no region.
        zeros: the share of zeros in the 1x1 filters of the region.
        fails: whether XNNPACK refuses to load the model, or answers wrongly, once its weights are stored sparsely.
    """

    name: str
    reason: str | None
    region: int | None = None
    zeros: float = 0.0
    fails: bool = False


def sparse_inference(graph: Graph, assumed: Mapping[str, float] | None = None) -> tuple[Verdict, ...]:
    """What XNNPACK will make of every convolution and fully connected layer, in order.

    Args:
        graph: a float graph; sparse weights may be stored as they are, or densely.
        assumed: the shares of zeros that layers are going to have, by their operators' names.
    """
    regions = _Regions(graph)
    sizes: dict[int, list[float]] = {}
    for op in graph.ops:
        if regions.has_filter(op) and regions.refusal(op) is None:
            zeros, count = _zeros(graph, op, (assumed or {}).get(op.name))
            found = sizes.setdefault(regions.of(op), [0.0, 0.0])
            found[0], found[1] = found[0] + zeros, found[1] + count
    verdicts = []
    for op in graph.ops:
        if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"):
            continue
        reason = regions.refusal(op)
        if reason is None and not regions.has_filter(op):
            reason = "only 1x1 filters are sparse; this one is computed densely beside them"
        if reason is not None:
            verdicts.append(Verdict(op.name, reason))
            continue
        zeros, count = sizes[regions.of(op)]
        taken, open_end = zeros > LEAST * count, regions.open_end(op)
        short = f"{zeros / count:.0%} of the 1x1 filters of its region are zeros; more than 67 % have to be"
        reason = None if taken and open_end is None else open_end if taken else short
        verdicts.append(Verdict(op.name, reason, regions.of(op), zeros / count, taken and open_end is not None))
    return tuple(verdicts)


def padding_of(graph: Graph, op: Op) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Zeros before and after along height and width, a PAD before the convolution included.

    None where amounts are computed, or others read the padded value.
    """
    weights, data = graph.operand(op, 1), graph.operand(op, 0)
    if weights is None or data is None or len(data.shape) != 4:
        return None
    sides = []
    for axis, side in ((1, "h"), (2, "w")):
        stride, dilation = op.option(f"stride_{side}", 1), op.option(f"dilation_{side}_factor", 1)
        own = (
            (0, 0) if op.option("padding", 0) else same_padding(data.shape[axis], weights.shape[axis], stride, dilation)
        )
        sides.append(own)
    pad = pad_before(graph, op)
    if pad is not None:
        amounts = graph.operand(pad, 1)
        assert amounts is not None
        for axis, (before, after) in enumerate(values_of(amounts)[1:3].tolist()):
            sides[axis] = (sides[axis][0] + before, sides[axis][1] + after)
    return sides[0], sides[1]


def pad_before(graph: Graph, op: Op) -> Op | None:
    """The PAD by zeros along height and width that XNNPACK makes part of a convolution; None if there is none."""
    name = op.inputs[0]
    pad = None if name is None else graph.producers.get(name)
    if pad is None or pad.kind != "PAD" or graph.sole_reader(pad.outputs[0]) is not op or not op.option("padding", 0):
        return None
    amounts = graph.operand(pad, 1)
    if amounts is None or not amounts.is_constant or amounts.shape != (4, 2):
        return None
    values = values_of(amounts)
    return None if values[0].any() or values[3].any() else pad


class _Regions:
    """Operators that hang together, and why a region stays dense."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._roles: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._leader = {op.name: number for number, op in enumerate(graph.ops)}
        self._broken: dict[int, str] = {}
        folded = {pad.name for op in graph.ops if (pad := pad_before(graph, op))}
        self._ops = [op for op in graph.ops if op.name not in folded]
        for op in self._ops:
            role, reason = self._role(op)
            if role is None:
                self._reasons[op.name] = reason
            else:
                self._roles[op.name] = role
        for op in self._ops:
            for before in self._before(op):
                if before is not None and before.name in self._roles:
                    self._join(before, op)
        for op in self._ops:
            self._check(op)
        self._ends = self._open_ends()
        if not any(self._roles.get(op.name) == _EXIT and any(self._before(op)) for op in self._ops):
            for op in self._ops:
                self._broken.setdefault(self.of(op), "the model has no mean over height and width to end a region with")

    def open_end(self, op: Op) -> str | None:
        """What leaves the region of an operator by another way than a mean; None if nothing does."""
        return self._ends.get(self.of(op))

    def of(self, op: Op) -> int:
        return self._leader[op.name]

    def has_filter(self, op: Op) -> bool:
        return op.name in self._roles and self._roles[op.name] != _ENTRY and op.kind in ("CONV_2D", "FULLY_CONNECTED")

    def refusal(self, op: Op) -> str | None:
        return self._reasons.get(op.name) or self._broken.get(self.of(op))

    def _open_ends(self) -> dict[int, str]:
        inside = [op for op in self._ops if self._roles.get(op.name) == _INSIDE]
        read = {before.name for op in self._ops if op.name in self._roles for before in self._before(op) if before}
        return {
            self.of(
                op
            ): f"its region ends in {op.name!r} and not in a mean, and XNNPACK refuses such files or answers wrongly"
            for op in inside
            if op.name not in read
        }

    def _join(self, first: Op, second: Op) -> None:
        if second.name not in self._roles or self._roles[second.name] == _ENTRY:
            return
        old, new = sorted((self.of(first), self.of(second)))
        self._leader = {name: new if own == old else own for name, own in self._leader.items()}

    def _before(self, op: Op) -> list[Op | None]:
        """Who computes the operands; None for an input of the graph."""
        graph = self._graph
        pad = pad_before(graph, op) if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") else None
        names = (pad or op).present_inputs
        computed = [name for name in names if not graph.tensors[name].is_constant and not self._unpacks(name)]
        return [graph.producers.get(name) for name in computed]

    def _unpacks(self, name: str) -> bool:
        producer = self._graph.producers.get(name)
        return (
            producer is not None
            and producer.kind in ("DENSIFY", "DEQUANTIZE")
            and all(self._graph.tensors[own].is_constant for own in producer.present_inputs)
        )

    def _check(self, op: Op) -> None:
        """What reads a value of the region has to be in it, and so does what it reads."""
        if op.name not in self._roles or self._roles[op.name] == _ENTRY:
            return
        for before in self._before(op):
            if before is None:
                reason = f"{op.name!r} reads an input of the model: a 3x3 convolution of stride 2 has to come first"
            elif before.name not in self._roles:
                reason = f"{op.name!r} reads {before.name!r}: {self._reasons[before.name]}"
            else:
                outsider = self._outsider(before)
                if outsider is None:
                    continue
                reason = outsider
            self._broken.setdefault(self.of(op), f"its region stays dense: {reason}")

    def _outsider(self, op: Op) -> str | None:
        for name in op.outputs:
            if name in self._graph.outputs:
                return f"{name!r} is an output of the model"
            for reader in self._graph.consumers.get(name, ()):
                reading = self._graph.sole_reader(reader.outputs[0]) if reader.kind == "PAD" else None
                inside = reading if reading is not None and pad_before(self._graph, reading) is reader else reader
                if self._roles.get(inside.name) in (None, _ENTRY):
                    why = self._reasons.get(inside.name, "it begins another region")
                    return f"{inside.name!r} reads {op.name!r}: {why}"
        return None

    def _role(self, op: Op) -> tuple[str | None, str]:
        graph = self._graph
        tensors = [graph.tensors[name] for name in (*op.present_inputs[:1], *op.outputs)]
        if any(tensor.dtype not in (DType.FLOAT32, DType.FLOAT16) for tensor in tensors):
            return None, "sparse kernels compute in float"
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            return _convolution(graph, op)
        if op.kind == "FULLY_CONNECTED":
            return _INSIDE, ""
        flat = any(
            len(graph.tensors[name].shape) != 4 for name in op.inputs[: 1 if op.kind == "MEAN" else None] if name
        )
        if op.kind == "MEAN":
            axes = graph.operand(op, 1)
            spatial = axes is not None and axes.is_constant and sorted(values_of(axes).reshape(-1).tolist()) == [1, 2]
            return (_EXIT, "") if spatial and not flat else (None, "it is a mean over other axes than height and width")
        if op.kind == "DEPTH_TO_SPACE":
            return _EXIT, ""
        if op.kind in ("ADD", "MUL"):
            if flat or graph.tensors[op.present_inputs[-1]].is_constant:
                return None, "it has a constant operand, or one without 4 axes"
            return _INSIDE, ""
        if op.kind in _UNARY or op.kind == "RESIZE_BILINEAR":
            return (None, "its operand has no 4 axes") if flat and op.kind in _UNARY else (_INSIDE, "")
        return None, f"sparse regions hold no {op.label}"


def _convolution(graph: Graph, op: Op) -> tuple[str | None, str]:
    weights, data = graph.operand(op, 1), graph.operand(op, 0)
    padding = padding_of(graph, op)
    if weights is None or data is None or padding is None:
        return None, "its padding is computed"
    window, channels = weights.shape[1:3], weights.shape[3]
    strides = op.option("stride_h", 1), op.option("stride_w", 1)
    if (op.option("dilation_h_factor", 1), op.option("dilation_w_factor", 1)) != (1, 1):
        return None, "it is dilated"
    sizes = f"{window[0]}x{window[1]} of stride {strides[0]}"
    if op.kind == "DEPTHWISE_CONV_2D":
        if (op.option("depth_multiplier", 1) or 1) != 1 or channels != data.shape[3]:
            return None, "it has several outputs for each input"
        if window not in ((3, 3), (5, 5)) or strides not in ((1, 1), (2, 2)):
            return None, f"it is {sizes}; 3x3 and 5x5 of stride 1 or 2 are taken"
        role = _INSIDE
    elif window == (1, 1):
        if strides != (1, 1) or channels != data.shape[3]:
            return None, f"it is {sizes}; 1x1 filters of stride 1 are taken"
        return _INSIDE, ""
    elif (window, strides, channels) == ((3, 3), (2, 2), 3):
        role = _ENTRY
    else:
        return (
            None,
            f"it is {sizes} with {channels} inputs; 1x1 are taken, and 3x3 of stride 2 with 3 inputs at the start",
        )
    half = window[0] // 2
    if padding != ((half, half), (half, half)):
        return None, f"it pads {padding[0]} and {padding[1]}; {half} on every side is taken (prune.center_padding)"
    if strides == (2, 2) and pad_before(graph, op) is None:
        return None, f"it says SAME, which XNNPACK does not look into; it has to say {half} (prune.center_padding)"
    return role, ""


def _zeros(graph: Graph, op: Op, assumed: float | None) -> tuple[float, float]:
    """How many of a layer's weights are zeros, and how many there are."""
    weights = graph.operand(op, 1)
    assert weights is not None
    if assumed is not None:
        return assumed * weights.elements, float(weights.elements)
    stored = unpacked(graph, weights)
    return float(stored.elements - np.count_nonzero(values_of(stored))), float(stored.elements)


def unpacked(graph: Graph, weights: Tensor) -> Tensor:
    """The constant that holds a layer's weights: themselves, or what DENSIFY unpacks; or `weights`, if computed."""
    producer = graph.producers.get(weights.name)
    if producer is not None and producer.kind == "DENSIFY":
        weights = graph.tensors[producer.present_inputs[0]]
    return densify(weights)
