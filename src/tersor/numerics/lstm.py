"""A long short-term memory layer in float32, step by step, with everything inside it in sight.

The runtime shows a layer's input and output sequences, but of what is inside only the last step. Calibration needs the
extremes over all steps, so it computes them here from the input and the weights.

Source: LiteRT, `tflite/kernels/lstm_eval.cc` (the float step) and `unidirectional_sequence_lstm.cc`; Hochreiter and
Schmidhuber 1997; peepholes, Gers et al. 2002; projection, Sak et al. 2014 (arXiv 1402.1128).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tersor.ir.graph import Array

_VARIANCE_FLOOR = np.float32(1e-8)
"""Added to the variance before the root (`MeanStddevNormalization`, `reference/portable_tensor_utils.cc`)."""


@dataclass(frozen=True, eq=False)
class Gate:
    """Weights of one gate.

    Attributes:
        input: [cells, inputs].
        recurrent: [cells, outputs].
        bias: [cells].
        peephole: [cells], how much it sees of the cell state; None if nothing.
        norm: [cells], coefficients of layer normalization; None without.
    """

    input: Array
    recurrent: Array
    bias: Array
    peephole: Array | None = None
    norm: Array | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """What a layer went through; each array in the layout of the layer's input, [..., outputs] or [..., cells].

    Attributes:
        output: the results.
        hidden: what is projected to the output; the output itself without projection.
        cell: the cell state after each step.
        gates: by gate, the sums before normalization and activation.
    """

    output: Array
    hidden: Array
    cell: Array
    gates: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Lstm:
    """A layer that starts from zero state.

    Attributes:
        gates: "forget", "cell" and "output", and "input" unless it is coupled (1 - forget).
        projection: [outputs, cells], None without.
        projection_bias: [outputs], None without.
        cell_clip: bound of the cell state, 0 for none.
        projection_clip: bound of the projected output, 0 for none.
        time_major: sequences are [time, batch, inputs], not [batch, time, inputs].
    """

    gates: Mapping[str, Gate]
    projection: Array | None = None
    projection_bias: Array | None = None
    cell_clip: float = 0.0
    projection_clip: float = 0.0
    time_major: bool = False

    def trace(self, sequence: Array) -> Trace:
        """Run the layer over a float32 sequence, laid out as `time_major` says."""
        steps = sequence if self.time_major else sequence.swapaxes(0, 1)
        recurrent = self.gates["forget"].recurrent
        state = _State(
            np.zeros((steps.shape[1], recurrent.shape[1]), np.float32),
            np.zeros((steps.shape[1], recurrent.shape[0]), np.float32),
        )
        by_input = {name: steps @ gate.input.T for name, gate in self.gates.items()}
        seen: list[_State] = []
        for time in range(steps.shape[0]):
            state = self._step({name: sums[time] for name, sums in by_input.items()}, state)
            seen.append(state)
        return Trace(
            output=self._laid_out([state.output for state in seen]),
            hidden=self._laid_out([state.hidden for state in seen]),
            cell=self._laid_out([state.cell for state in seen]),
            gates={name: self._laid_out([state.sums[name] for state in seen]) for name in self.gates},
        )

    def _step(self, by_input: Mapping[str, Array], before: _State) -> _State:
        sums: dict[str, Array] = {}
        forget = _sigmoid(self._sum("forget", by_input, before.output, before.cell, sums))
        if "input" in self.gates:
            keep = _sigmoid(self._sum("input", by_input, before.output, before.cell, sums))
        else:
            keep = 1 - forget
        cell = forget * before.cell + keep * np.tanh(self._sum("cell", by_input, before.output, before.cell, sums))
        if self.cell_clip > 0:
            cell = np.clip(cell, -self.cell_clip, self.cell_clip)
        hidden = _sigmoid(self._sum("output", by_input, before.output, cell, sums)) * np.tanh(cell)
        return _State(self._project(hidden), cell, hidden, sums)

    def _sum(
        self, name: str, by_input: Mapping[str, Array], output: Array, cell: Array, sums: dict[str, Array]
    ) -> Array:
        """What a gate's activation is applied to; the sum before normalization is filed in `sums`."""
        gate = self.gates[name]
        total = by_input[name] + output @ gate.recurrent.T
        if gate.peephole is not None:
            total = total + cell * gate.peephole
        sums[name] = total
        if gate.norm is not None:
            centred = total - total.mean(axis=-1, keepdims=True)
            total = centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + _VARIANCE_FLOOR) * gate.norm
        return np.asarray(total + gate.bias)

    def _project(self, hidden: Array) -> Array:
        if self.projection is None:
            return hidden
        output = hidden @ self.projection.T
        if self.projection_bias is not None:
            output = output + self.projection_bias
        if self.projection_clip > 0:
            output = np.clip(output, -self.projection_clip, self.projection_clip)
        return np.asarray(output)

    def _laid_out(self, steps: list[Array]) -> Array:
        stacked = np.stack(steps)
        return stacked if self.time_major else stacked.swapaxes(0, 1)


@dataclass(frozen=True, eq=False)
class _State:
    """One step of a batch: output [batch, outputs], cell and hidden [batch, cells], sums by gate."""

    output: Array
    cell: Array
    hidden: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    sums: Mapping[str, Array] = field(default_factory=dict)


def _sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-values)), written so that nothing overflows."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values), np.float32)
