"""One step of a recurrent layer, written out operator by operator.

A cell multiplies the whole sequence with its kernel at once (`project`), so that a step holds the products with the
state only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tersor.errors import FormatError
from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import FUNCTIONS, binary, function_name
from tersor.formats.keras.layers.dense import product
from tersor.ir.graph import Array

States = list[str | None]
"""Tensors [batch, units]; None stands for zeros."""


@dataclass(frozen=True)
class Cell:
    """A cell with its constants in place.

    Attributes:
        units: the width of its states.
        states: how many it has; the first is its output.
        project: sequence [batch, time, features] -> parts of it that a step reads, [batch, time, n].
        step: (names the step, parts of one moment [batch, n], states) -> the new states.
    """

    units: int
    states: int
    project: Callable[[str], list[str]]
    step: Callable[[Call, Sequence[str], States], list[str]]


def cell_of(call: Call, features: int, part: str = "") -> Cell:
    """The cell of a layer, or a cell that is a layer itself; `part` is where its arrays lie."""
    kind = call.layer.kind.removesuffix("Cell")
    makers = {"GRU": _gru, "LSTM": _lstm, "SimpleRNN": _simple}
    if kind not in makers or call.layer.module.split(".")[0] not in ("", "keras", "tensorflow", "tf_keras"):
        raise call.refused("it is a custom cell: use LSTMCell, GRUCell or SimpleRNNCell")
    return makers[kind](call, features, part)


def arrays_of(call: Call, features: int, gates: int, part: str, bias_rows: int = 1) -> tuple[Array, Array, Array]:
    """Kernel [features, gates units], recurrent kernel [units, gates units] and bias [rows, gates units]."""
    units = call.size("units")
    width = gates * units
    shapes: dict[str, tuple[int, ...]] = {"kernel": (features, width), "recurrent_kernel": (units, width)}
    has_bias = bool(call.option("use_bias", True))
    if has_bias:
        shapes["bias"] = (width,) if bias_rows == 1 else (bias_rows, width)
    arrays = call.take(shapes, part)
    bias = arrays["bias"] if has_bias else np.zeros((bias_rows, width), np.float32)
    return arrays["kernel"], arrays["recurrent_kernel"], bias.reshape(bias_rows, width)


def _apply(call: Call, key: str, default: str, tensor: str, part: str) -> str:
    return FUNCTIONS[function_name(call, key, default)](call.at(part), tensor)


def _product(call: Call, part: str, kernel: Array, bias: Array) -> Callable[[Call, str], str]:
    """A FULLY_CONNECTED whose constants are made once and read in every step."""
    weights = call.constant(f"{part}_kernel", np.ascontiguousarray(kernel.T))
    offset = call.constant(f"{part}_bias", np.ascontiguousarray(bias))
    return lambda at, tensor: product(at, tensor, weights, offset, part)


def _simple(call: Call, features: int, part: str) -> Cell:
    """H' = f(x W + h U + b)."""
    kernel, recurrent, bias = arrays_of(call, features, 1, part)
    units = call.size("units")
    inner, outer = _product(call, "input", kernel, bias[0]), _product(call, "state", recurrent, np.zeros_like(bias[0]))

    def step(at: Call, x: Sequence[str], states: States) -> list[str]:
        total = x[0] if states[0] is None else binary("ADD", at, x[0], outer(at, states[0]), "sum")
        return [_apply(at, "activation", "tanh", total, "output")]

    return Cell(units, 1, lambda sequence: [inner(call, sequence)], step)


def _gru(call: Call, features: int, part: str) -> Cell:
    """z, r = s(x W + h U); c = f(x W + r (h U)), or f(x W + (r h) U) without reset_after; h' = c + z (h - c)."""
    after = bool(call.option("reset_after", call.generation >= 3))
    kernel, recurrent, bias = arrays_of(call, features, 3, part, 2 if after else 1)
    units = call.size("units")
    two = 2 * units
    own, other = bias[0], bias[1] if after else np.zeros_like(bias[0])
    nothing = np.zeros(two, np.float32)
    gates_in = _product(call, "input_gates", kernel[:, :two], own[:two] + other[:two])
    value_in = _product(call, "input_value", kernel[:, two:], own[two:])
    gates_back = _product(call, "state_gates", recurrent[:, :two], nothing)
    value_back = _product(call, "state_value", recurrent[:, two:], other[two:])
    offset = call.constant("state_offset", other[two:].copy())

    def step(at: Call, x: Sequence[str], states: States) -> list[str]:
        h = states[0]
        total = x[0] if h is None else binary("ADD", at, x[0], gates_back(at, h), "gates_sum")
        gates = _apply(at, "recurrent_activation", "sigmoid", total, "gates")
        update, reset = split(at, gates, 2, "gate")
        if after:
            back = binary("MUL", at, reset, offset if h is None else value_back(at, h), "reset")
        elif h is not None:
            back = value_back(at, binary("MUL", at, reset, h, "reset"))
        value = x[1] if h is None and not after else binary("ADD", at, x[1], back, "value_sum")
        value = _apply(at, "activation", "tanh", value, "value")
        if h is None:
            return [binary("SUB", at, value, binary("MUL", at, update, value, "kept"), "output")]
        kept = binary("MUL", at, update, binary("SUB", at, h, value, "change"), "kept")
        return [binary("ADD", at, value, kept, "output")]

    return Cell(units, 1, lambda sequence: [gates_in(call, sequence), value_in(call, sequence)], step)


def _lstm(call: Call, features: int, part: str) -> Cell:
    """i, f, o = s(x W + h U + b); c' = f c + i g(x W + h U + b); h' = o g(c')."""
    kernel, recurrent, bias = arrays_of(call, features, 4, part)
    units = call.size("units")
    order = np.r_[0 : 2 * units, 3 * units : 4 * units, 2 * units : 3 * units]  # input, forget, output | value
    kernel, recurrent, bias = kernel[:, order], recurrent[:, order], bias[0, order]
    three = 3 * units
    nothing = np.zeros_like(bias)
    gates_in = _product(call, "input_gates", kernel[:, :three], bias[:three])
    value_in = _product(call, "input_value", kernel[:, three:], bias[three:])
    gates_back = _product(call, "state_gates", recurrent[:, :three], nothing[:three])
    value_back = _product(call, "state_value", recurrent[:, three:], nothing[three:])

    def step(at: Call, x: Sequence[str], states: States) -> list[str]:
        h, c = states
        total, value = x
        if h is not None:
            total = binary("ADD", at, total, gates_back(at, h), "gates_sum")
            value = binary("ADD", at, value, value_back(at, h), "value_sum")
        gates = _apply(at, "recurrent_activation", "sigmoid", total, "gates")
        enter, keep, leave = split(at, gates, 3, "gate")
        new = binary("MUL", at, enter, _apply(at, "activation", "tanh", value, "value"), "new")
        if c is not None:
            new = binary("ADD", at, binary("MUL", at, keep, c, "kept"), new, "state")
        return [binary("MUL", at, leave, _apply(at, "activation", "tanh", new, "squashed"), "output"), new]

    return Cell(units, 2, lambda sequence: [gates_in(call, sequence), value_in(call, sequence)], step)


def split(call: Call, tensor: str, parts: int, part: str) -> tuple[str, ...]:
    """Equal parts along the last axis."""
    *rest, width = call.shape(tensor)
    if width % parts:
        raise FormatError(f"{call.where}: {width} values cannot be split into {parts}")
    axis = call.constant(f"{part}/axis", np.int32(len(rest)))
    shapes = [(*rest, width // parts)] * parts
    return call.op_with(
        "SPLIT", [axis, tensor], shapes, {"num_splits": parts}, part, dtype=call.builder.dtype_of(tensor)
    )
