"""A layer that goes through a sequence with a state: the long short-term memory of `numerics.lstm`, with gradients."""

from __future__ import annotations

from typing import Any

from keras import ops

from tersor.errors import UnsupportedError
from tersor.ops import LSTM_GATES, LSTM_PROJECTION, LSTM_PROJECTION_BIAS
from tersor.training.operators.call import Call

_TANH = 4
"""Its code among the fused activation functions."""

_VARIANCE_FLOOR = 1e-8
"""See `numerics.lstm`."""


def lstm(call: Call) -> Any:
    """Each sample begins with an empty state, as each run of the file does."""
    if (
        call.option("fused_activation_function", _TANH) != _TANH
        or len(call.shapes[LSTM_GATES["forget"].recurrent]) != 2
    ):
        raise UnsupportedError(
            f"operator {call.op.name!r} ({call.op.label}) cannot be trained: its activation is not tanh, or its "
            "recurrent weights are a diagonal"
        )
    sequence = call.operand(0)
    if not call.option("time_major", False):
        sequence = ops.swapaxes(sequence, 0, 1)
    by_input = {
        name: ops.matmul(sequence, ops.transpose(call.operand(place.input)))
        for name, place in LSTM_GATES.items()
        if call.operand(place.input) is not None
    }
    samples, (cells, outputs) = ops.shape(sequence)[1], call.shapes[LSTM_GATES["forget"].recurrent]
    state = ops.zeros((samples, outputs)), ops.zeros((samples, cells))
    results = []
    for time in range(call.shapes[0][0 if call.option("time_major", False) else 1]):
        state = _step(call, {name: sums[time] for name, sums in by_input.items()}, state)
        results.append(state[0])
    return ops.stack(results, axis=0 if call.option("time_major", False) else 1)


def _step(call: Call, by_input: dict[str, Any], state: tuple[Any, Any]) -> tuple[Any, Any]:
    """Output and cell state after one step."""
    output, cell = state

    def gate(name: str, cell: Any) -> Any:
        place = LSTM_GATES[name]
        total = by_input[name] + ops.matmul(output, ops.transpose(call.operand(place.recurrent)))
        if place.peephole is not None and call.operand(place.peephole) is not None:
            total = total + cell * call.operand(place.peephole)
        if call.operand(place.norm) is not None:
            centred = total - ops.mean(total, axis=-1, keepdims=True)
            variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
            total = centred * ops.rsqrt(variance + _VARIANCE_FLOOR) * call.operand(place.norm)
        return total + call.operand(place.bias)

    forget = ops.sigmoid(gate("forget", cell))
    keep = ops.sigmoid(gate("input", cell)) if "input" in by_input else 1.0 - forget
    cell = _clipped(forget * cell + keep * ops.tanh(gate("cell", cell)), call.option("cell_clip", 0.0))
    hidden = ops.sigmoid(gate("output", cell)) * ops.tanh(cell)
    if call.operand(LSTM_PROJECTION) is None:
        return hidden, cell
    projected = ops.matmul(hidden, ops.transpose(call.operand(LSTM_PROJECTION)))
    bias = call.operand(LSTM_PROJECTION_BIAS)
    return _clipped(projected if bias is None else projected + bias, call.option("proj_clip", 0.0)), cell


def _clipped(x: Any, bound: float) -> Any:
    return ops.clip(x, -bound, bound) if bound > 0 else x
