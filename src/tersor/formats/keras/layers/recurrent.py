"""Recurrent layers: LiteRT's fused LSTM where it fits, else written out step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tersor.formats.keras.call import Call, Edge
from tersor.formats.keras.config import Layer, layer_inside
from tersor.formats.keras.layers.activation import function_name
from tersor.formats.keras.layers.recurrent_cells import Cell, States, arrays_of, cell_of
from tersor.formats.keras.layers.reshape import last_of, reshaped, reversed_along
from tersor.formats.keras.weights import snake_case

_TANH = 4
"""`schema.fbs`, enum ActivationFunctionType."""

_STEP_LIMIT = 1024
"""Steps that are written out: 10 operators each."""


def recurrent(call: Call) -> tuple[str, ...]:
    """`LSTM`, `GRU`, `SimpleRNN`, and `RNN` of their cells.

    The fused kernel keeps its state from run to run, where Keras begins each sample anew: whoever runs the model resets
    its variables between samples, as for TensorFlow's own conversion.
    """
    for key in ("stateful", "time_major"):
        if call.option(key, False):
            raise call.refused(f"{key} is not read")
    sequence, states = _operands(call)
    mask = call.mask(sequence)
    whole = bool(call.option("return_sequences", False))
    backwards = bool(call.option("go_backwards", False))
    wants_states = bool(call.option("return_state", False))
    cells = _cells(call)
    found: list[str] = []
    for number, (owner, part) in enumerate(cells):
        is_last = number == len(cells) - 1
        if _is_fused(owner) and not (states or wants_states or mask):
            turned = reversed_along(owner, sequence, 1, "backwards") if backwards and number == 0 else sequence
            sequence = fused_lstm(owner, turned, part, whole or not is_last)
            continue
        cell = cell_of(owner, call.shape(sequence)[2], part)
        own: States = [None] * cell.states
        if states:
            if len(states) < cell.states:
                raise call.refused(f"its initial_state has {len(states)} tensors too few")
            own, states = list(states[: cell.states]), states[cell.states :]
        outputs, last = unrolled(owner, cell, sequence, own, mask, backwards=backwards and number == 0)
        found += last
        sequence = _packed(owner, outputs, "sequence") if whole or not is_last else outputs[-1]
    return (sequence, *found) if wants_states else (sequence,)


def _operands(call: Call) -> tuple[str, list[str]]:
    """The sequence and the initial states, which Keras 2 lists behind it."""
    initial = call.kwargs.get("initial_state") or (call.args[1] if len(call.args) > 1 else None) or []
    given = call.args[0] if call.args else next(iter(call.kwargs.values()), None)
    listed = given if isinstance(given, list) else [given]
    states = [*listed[1:], *(initial if isinstance(initial, list) else [initial])]
    states = [item for state in states for item in (state if isinstance(state, list) else [state])]
    if not all(isinstance(item, Edge) for item in (listed[0], *states)) or len(call.shape(str(listed[0]))) != 3:
        raise call.refused("it is called with something else than a sequence [batch, time, features] and states")
    return str(listed[0]), [str(item) for item in states]


def _cells(call: Call) -> list[tuple[Call, str]]:
    """The layer, or the cells that it stacks, each with where its arrays lie."""
    if call.layer.kind != "RNN":
        return [(call, "cell")]
    cell = layer_inside(call.option("cell"))
    if cell.kind != "StackedRNNCells":
        return [(_owner(call, cell, "cell", False), "")]
    seen: dict[str, int] = {}
    found = []
    for entry in cell.config["cells"]:
        layer = layer_inside(entry)
        name = snake_case(layer.kind)
        number = seen[name] = seen.get(name, -1) + 1
        found.append((_owner(call, layer, f"cell/cells/{name}_{number}" if number else f"cell/cells/{name}", True), ""))
    return found


def _owner(call: Call, layer: Layer, part: str, is_stacked: bool) -> Call:
    return call.inside(layer, part, (layer.name,) if is_stacked else (), str(call.args[0]) if call.args else "")


def _is_fused(call: Call) -> bool:
    names = [function_name(call, "activation", "tanh"), function_name(call, "recurrent_activation", "sigmoid")]
    return call.layer.kind in ("LSTM", "LSTMCell") and names == ["tanh", "sigmoid"]


def unrolled(
    call: Call, cell: Cell, sequence: str, states: States, mask: str | None, *, backwards: bool
) -> tuple[list[str], list[str]]:
    """Every step of a sequence [batch, time, features].

    Args:
        call: names the steps.
        cell: what a step does.
        sequence: what it reads.
        states: where it begins.
        mask: bool [batch, time]: a step that is False keeps the states.
        backwards: from the last step to the first.

    Returns:
        The outputs in the order in which they are computed, and the last states.
    """
    batch, count, _ = call.shape(sequence)
    if count > _STEP_LIMIT:
        raise call.refused(f"its {count} steps would be written out, and at most {_STEP_LIMIT} are: shorten the input")
    moments = list(
        zip(*(_unpacked(call, item, f"moments_{n}") for n, item in enumerate(cell.project(sequence))), strict=True)
    )
    present: Sequence[str] = () if mask is None else _unpacked(call, mask, "present")
    order = range(count - 1, -1, -1) if backwards else range(count)
    outputs: list[str] = []
    output = zeros = None if mask is None else call.constant("zeros", np.zeros((batch, cell.units), np.float32))
    for number in order:
        at = call.at(f"step_{number}")
        new = cell.step(at, moments[number], states)
        if mask is None or zeros is None or output is None:
            outputs.append(new[0])
            states = list(new)
            continue
        here = reshaped(at, present[number], (batch, 1), "present")
        held = [zeros if state is None else state for state in states]
        masked = [_selected(at, here, a, b, f"state_{n}") for n, (a, b) in enumerate(zip(new, held, strict=True))]
        before = zeros if call.option("zero_output_for_mask", False) else output
        output = masked[0] if before == held[0] else _selected(at, here, new[0], before, "shown")
        outputs.append(output)
        states = list(masked)
    return outputs, [state for state in states if state is not None]


def _selected(call: Call, condition: str, a: str, b: str, part: str) -> str:
    return call.op("SELECT_V2", [condition, a, b], call.shape(a), None, part, dtype=call.builder.dtype_of(a))


def _unpacked(call: Call, tensor: str, part: str) -> tuple[str, ...]:
    """The moments of [batch, time, ...]."""
    batch, count, *rest = call.shape(tensor)
    return call.op_with("UNPACK", [tensor], [(batch, *rest)] * count, {"num": count, "axis": 1}, part)


def _packed(call: Call, moments: Sequence[str], part: str) -> str:
    batch, width = call.shape(moments[0])
    shape = (batch, len(moments), width)
    return call.op("PACK", moments, shape, {"values_count": len(moments), "axis": 1}, part)


def fused_lstm(call: Call, sequence: str, part: str, whole: bool) -> str:
    """UNIDIRECTIONAL_SEQUENCE_LSTM over [batch, time, features]; the gates are in Keras's order."""
    batch, steps, features = call.shape(sequence)
    units = call.size("units")
    kernel, recurrent_kernel, bias = arrays_of(call, features, 4, part)
    gates = ("input", "forget", "cell", "output")
    inputs: list[str | None] = [sequence]
    for key, values in (("kernel", kernel), ("recurrent_kernel", recurrent_kernel)):
        parts = zip(gates, np.split(values, 4, axis=1), strict=True)
        inputs += [call.constant(f"{key}_{gate}", np.ascontiguousarray(item.T)) for gate, item in parts]
    inputs += [None] * 3  # peepholes
    inputs += [
        call.constant(f"bias_{gate}", item.copy()) for gate, item in zip(gates, np.split(bias[0], 4), strict=True)
    ]
    inputs += [None] * 2  # projection
    inputs += [call.builder.variable(f"{call.name}/{state}_state", (batch, units)) for state in ("output", "cell")]
    inputs += [None] * 4  # layer normalization
    options: dict[str, Any] = {
        "fused_activation_function": _TANH,
        "cell_clip": 0.0,
        "proj_clip": 0.0,
        "time_major": False,
    }
    shape = (batch, steps, units)
    result = call.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, shape, options, "" if whole else "sequence")
    return result if whole else last_of(call, result)


LAYERS: dict[str, Callable[[Call], tuple[str, ...]]] = dict.fromkeys(("GRU", "LSTM", "RNN", "SimpleRNN"), recurrent)
