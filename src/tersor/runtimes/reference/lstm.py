"""UNIDIRECTIONAL_SEQUENCE_LSTM of 8 bits with a 16-bit cell state, step by step.

builtin: `LstmStepInteger8x8_16` (`lstm_eval.cc`) on the functions of `reference/portable_tensor_utils.cc`. micro:
`LstmStep` (`micro/kernels/lstm_eval.h`), which has neither peepholes nor coupled gates, projection or normalization,
multiplies with two roundings where builtin has one, and looks sigmoid and tanh up in a table (see `lookup`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_functions import inverse_square_root, logistic_16, tanh_16
from tersor.numerics.fixed_point import Multiplier, divide_by_power, quantize_multiplier, rescale_twice
from tersor.ops import (
    LSTM_CELL_STATE,
    LSTM_GATES,
    LSTM_HIDDEN,
    LSTM_OUTPUT_STATE,
    LSTM_PROJECTION,
    LSTM_PROJECTION_BIAS,
)
from tersor.runtimes.reference.call import Call, stored
from tersor.runtimes.reference.lookup import sigmoid_at, tanh_at

_GATE_SCALE = np.float32(2**-12)
_UNIT = 15
"""Fractional bits of gates after their activation."""


def unidirectional_sequence_lstm(call: Call) -> list[Array]:
    """UNIDIRECTIONAL_SEQUENCE_LSTM; input [batch, time, inputs], or [time, batch, inputs], or one step of it."""
    layer, data = _layer(call), call.centered(0)
    steps = data[None] if data.ndim == 2 else data if call.op.option("time_major", False) else data.swapaxes(0, 1)
    output, cell = call.value(LSTM_OUTPUT_STATE).astype(np.int64), call.value(LSTM_CELL_STATE).astype(np.int64)
    answers = []
    for step in steps:
        output, cell = layer.step(step, output, cell)
        answers.append(output)
    found = np.stack(answers)
    if data.ndim == 2:
        found = found[0]
    elif not call.op.option("time_major", False):
        found = found.swapaxes(0, 1)
    return [found.astype(call.results[0].dtype.numpy)]


@dataclass(frozen=True, eq=False)
class _Gate:
    """One gate: weights and how their products come to the scale of its sum."""

    weights: Array
    recurrent: Array
    bias: Array | int
    by: Multiplier
    recurrent_by: Multiplier
    peephole: Array | None
    peephole_by: Multiplier | None
    norm: Array | None
    norm_bias: Array
    norm_scale: np.float32

    def sum(self, data: Array, output: Array, cell: Array) -> Array:
        """The gate before its activation, 16 bits: each product is rounded by itself."""
        found = _short(rescale_twice(data @ self.weights.T + self.bias, self.by))
        found = _short(found + rescale_twice(output @ self.recurrent.T, self.recurrent_by))
        if self.peephole is not None and self.peephole_by is not None:
            found = _short(found + rescale_twice(self.peephole * cell, self.peephole_by))
        return found if self.norm is None else self._normalized(found)

    def _normalized(self, values: Array) -> Array:
        """Layer normalization (`PortableApplyLayerNorm`)."""
        assert self.norm is not None
        size = values.shape[-1]
        mean = _quotient(values.sum(-1, keepdims=True) * 1024, size)
        squares = (values * values).sum(-1, keepdims=True)
        variance = _quotient(squares * ((1 << 20) // size) - mean * mean, 1 << 20)
        guard = max(1, int(np.float32(10000) * self.norm_scale))
        shares = rescale_twice(1024 * values - mean, inverse_square_root(np.where(variance < 1, guard, variance)))
        sums = shares * self.norm + self.norm_bias
        by = quantize_multiplier(self.norm_scale)
        rounded = _quotient(np.where(sums > 0, sums + 512, sums - 512), 1024)
        return _short(rescale_twice(rounded, Multiplier(by.value, by.shift + 12)))


@dataclass(frozen=True, eq=False)
class _Layer:
    """A whole layer, ready to step."""

    call: Call
    gates: dict[str, _Gate]
    cell_power: int
    clip: int
    output_clip: int

    def step(self, data: Array, output: Array, cell: Array) -> tuple[Array, Array]:
        """The output and the cell state after one step; `data` is less its zero point."""
        micro = self.call.kernels == "micro"
        shown = output - self.call.quant(LSTM_OUTPUT_STATE).zero_point
        forget = _sigmoid(self.gates["forget"].sum(data, shown, cell), micro)
        entering = 0x7FFF - forget
        if "input" in self.gates:
            entering = _sigmoid(self.gates["input"].sum(data, shown, cell), micro)
        news = _tanh(self.gates["cell"].sum(data, shown, cell), -12, micro)
        kept = _times(forget, cell, _UNIT, micro)
        cell = _short(kept + _times(entering, news, 2 * _UNIT + self.cell_power, micro))
        if self.clip > 0:
            cell = np.clip(cell, -self.clip, self.clip)
        leaving = _sigmoid(self.gates["output"].sum(data, shown, cell), micro)
        return self._hidden(leaving * _tanh(cell, self.cell_power, micro)), cell

    def _hidden(self, products: Array) -> Array:
        call, hidden = self.call, self.call.quant(LSTM_OUTPUT_STATE)
        if call.kernels == "micro":
            by = quantize_multiplier(2.0 ** (-2 * _UNIT) / np.float64(np.float32(hidden.scale)))
            return _byte(rescale_twice(products, by) + hidden.zero_point)
        hidden = call.inner_quant(LSTM_HIDDEN)
        by = quantize_multiplier(np.float32(2.0**-_UNIT / np.float64(np.float32(hidden.scale)) * 2.0**-_UNIT))
        scaled = rescale_twice(products, by)
        return self._projected(scaled) if call.has(LSTM_PROJECTION) else _byte(scaled + hidden.zero_point)

    def _projected(self, scaled: Array) -> Array:
        """The kernel takes the zero point off and adds it to the bias; both are rounded as it does."""
        call, hidden = self.call, self.call.inner_quant(LSTM_HIDDEN)
        weights = call.value(LSTM_PROJECTION).astype(np.int64)
        bias = hidden.zero_point * weights.sum(1)
        if call.has(LSTM_PROJECTION_BIAS):
            bias = bias + call.value(LSTM_PROJECTION_BIAS)
        sums = _byte(scaled - hidden.zero_point) @ weights.T + bias
        scale = call.scale(LSTM_PROJECTION) * np.float32(hidden.scale)
        by = quantize_multiplier(scale / call.scale(LSTM_OUTPUT_STATE))
        found = _byte(rescale_twice(sums, by) + call.quant(LSTM_OUTPUT_STATE).zero_point)
        return np.clip(found, -self.output_clip, self.output_clip) if self.output_clip > 0 else found


def _layer(call: Call) -> _Layer:
    names = [name for name, place in LSTM_GATES.items() if call.has(place.input)]
    gates = {name: _gate(call, name) for name in names}
    extra = [gate for gate in gates.values() if gate.peephole is not None or gate.norm is not None]
    if call.kernels == "micro" and (extra or "input" not in gates or call.has(LSTM_PROJECTION)):
        raise call.refusal(
            "TensorFlow Lite Micro has it without peepholes, coupled gates, projection and normalization only"
        )
    scale, clip = call.scale(LSTM_CELL_STATE), np.float32(call.op.option("cell_clip", 0.0))
    output_clip = np.float32(call.op.option("proj_clip", 0.0)) / call.result_scale()
    return _Layer(
        call,
        gates,
        round(float(np.log2(scale))),
        int(min(clip / scale, np.float32((1 << 15) - 1))),
        int(min(output_clip, np.float32(127))),
    )


def _gate(call: Call, name: str) -> _Gate:
    place = LSTM_GATES[name]
    norm = call.value(place.norm) if call.has(place.norm) else None
    scale = np.float32(call.inner_quant(list(LSTM_GATES).index(name)).scale) if norm is not None else _GATE_SCALE
    if call.value(place.recurrent).ndim == 1:
        raise call.refusal("its recurrent weights are a diagonal")
    peephole = call.value(place.peephole).astype(np.int64) if place.peephole and call.has(place.peephole) else None
    peephole_by = None
    if peephole is not None and place.peephole is not None:
        cell = 2.0 ** round(float(np.log2(call.scale(LSTM_CELL_STATE))))
        peephole_by = quantize_multiplier(np.float32(cell * float(call.scale(place.peephole)) / float(scale)))
    return _Gate(
        call.value(place.input).astype(np.int64),
        call.value(place.recurrent).astype(np.int64),
        call.value(place.bias).astype(np.int64) if norm is None and call.has(place.bias) else 0,
        quantize_multiplier(call.scale(place.input) * call.scale(0) / scale),
        quantize_multiplier(call.scale(place.recurrent) * call.scale(LSTM_OUTPUT_STATE) / scale),
        peephole,
        peephole_by,
        None if norm is None else norm.astype(np.int64),
        call.value(place.bias).astype(np.int64) if norm is not None else np.zeros(1, np.int64),
        call.scale(place.norm) if norm is not None else np.float32(1),
    )


def _sigmoid(values: Array, micro: bool) -> Array:
    return sigmoid_at(3 * values) if micro else logistic_16(values)


def _tanh(values: Array, power: int, micro: bool) -> Array:
    """Tanh of values of scale 2**power."""
    if not micro:
        return tanh_16(values, 15 + power)
    shift = 12 + power
    return tanh_at(3 * values << shift if shift >= 0 else (3 * values + ((1 << -shift) >> 1)) >> -shift)


def _times(one: Array, other: Array, shift: int, micro: bool) -> Array:
    if micro:
        return _short(rescale_twice(one * other, quantize_multiplier(2.0**-shift)))
    return divide_by_power(one * other, shift).astype(np.int16).astype(np.int64)


def _quotient(values: Array, divisor: int) -> Array:
    """Towards zero, as C divides."""
    found: Array = np.sign(values) * (np.abs(values) // divisor)
    return found


def _byte(values: Array) -> Array:
    return stored(values, DType.INT8).astype(np.int64)


def _short(values: Array) -> Array:
    return stored(values, DType.INT16).astype(np.int64)
