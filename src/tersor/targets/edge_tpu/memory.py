"""How many bytes of parameters the Edge TPU is given, and how many of them it can keep.

Measured in compiled files: channels are spread over 16 tiles, a tile's share above 4 is a multiple of 4, input channels
come in fours, and each channel has a bias and a multiplier of 4 bytes each. That gives the bytes of CONV_2D and
FULLY_CONNECTED exactly; those of DEPTHWISE_CONV_2D depend on more than is known, and those of an LSTM are several times
what the file holds.
"""

from __future__ import annotations

from collections.abc import Iterable

from tersor.ir.graph import Graph, Op
from tersor.ir.placement import Resource

PARAMETERS, CACHED, STREAMED = "parameters", "parameters kept on the chip", "parameters sent in every run"
"""What the compiler's log says of memory."""

CACHE = int(7.73 * 1024 * 1024)
"""Bytes on the chip for parameters and for activations: what the compiler says is left beside a tiny network."""

_TILES = 16
_PER_CHANNEL = 8
_DEPTHWISE_PER_TAP = 4
"""Bytes of a depthwise weight: a guess that is right within 7 % on three networks."""


def parameter_bytes(op: Op, graph: Graph) -> int:
    """Bytes that one operator's constants take on the device: see this module."""
    weights = graph.operand(op, 1)
    if weights is None or not weights.is_constant or not weights.shape:
        return 0
    match op.kind:
        case "CONV_2D" | "FULLY_CONNECTED":
            depth = weights.shape[-1]
            taps = weights.elements // max(1, weights.shape[0] * depth)
            return _spread(weights.shape[0]) * (taps * _up(depth, 4) + _PER_CHANNEL)
        case "DEPTHWISE_CONV_2D":
            taps = weights.elements // weights.shape[-1]
            return _spread(weights.shape[-1]) * (taps * _DEPTHWISE_PER_TAP + _PER_CHANNEL)
    constants = [graph.tensors[name] for name in op.present_inputs if graph.tensors[name].is_constant]
    return sum(tensor.byte_size for tensor in constants if tensor.dtype.bits == 8)


def forecast(ops: Iterable[Op], graph: Graph) -> tuple[Resource, ...]:
    """An estimate for the operators of a graph that the device runs."""
    mapped = tuple(ops)
    parameters = sum(parameter_bytes(op, graph) for op in mapped)
    room = max(0, CACHE - widest(mapped, graph))
    cached = min(parameters, room)
    return resources(cached, parameters - cached, is_estimate=True)


def resources(cached: int, streamed: int, *, is_estimate: bool) -> tuple[Resource, ...]:
    """Bytes of parameters; none for a network without any."""
    if not cached + streamed:
        return ()
    amounts = {PARAMETERS: cached + streamed, CACHED: cached, STREAMED: streamed}
    return tuple(Resource(name, amount, "bytes", is_estimate) for name, amount in amounts.items())


def widest(ops: Iterable[Op], graph: Graph) -> int:
    """The most bytes that one operator reads and writes: they lie where parameters could."""
    touched = ([graph.tensors[name] for name in {*op.present_inputs, *op.outputs}] for op in ops)
    return max((sum(item.byte_size for item in tensors if not item.is_constant) for tensors in touched), default=0)


def _spread(channels: int) -> int:
    share = -(-channels // _TILES)
    return _TILES * (share if share <= 4 else _up(share, 4))


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
