"""Graph -> the values inside recurrent operators that calibration must know, and how they follow from what is visible.

An LSTM runs a whole sequence at once, and the runtime shows only the last cell state; an integer kernel needs the range
of all of them. The input sequence is visible and the weights are constants, so the layer is run once more in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Op
from tersor.numerics.lstm import Gate, Lstm
from tersor.numerics.packing import values_of
from tersor.ops import (
    LSTM_CELL_STATE,
    LSTM_GATES,
    LSTM_HIDDEN,
    LSTM_PROJECTION,
    LSTM_PROJECTION_BIAS,
    OPS,
    STATE,
    WEIGHT,
)

if TYPE_CHECKING:
    from tersor.runtimes.engine import Derived


def derive(graph: Graph) -> list[Derived]:
    """What to derive while a graph is calibrated; the values are named as their state tensors and by `inner_name`."""
    from tersor.runtimes.engine import Derived

    ops = [op for op in graph.ops if op.kind in _VALUES and _is_constant_layer(graph, op)]
    return [Derived(op.present_inputs[:1], _VALUES[op.kind](graph, op)) for op in ops]


def inner_name(op: Op, index: int) -> str:
    """The name under which statistics know intermediate `index` of an operator."""
    own = op.intermediates[index] if index < len(op.intermediates) else None
    return own or f"{op.name}/intermediate_{index}"


def constant(graph: Graph, op: Op, index: int | None) -> Array | None:
    """The values of a constant operand, None where the operator has none."""
    tensor = None if index is None else graph.operand(op, index)
    return None if tensor is None else values_of(tensor)


@dataclass(frozen=True)
class _LstmValues:
    """What happens inside an LSTM for its input sequence.

    Attributes:
        layer: the LSTM.
        cell: the name of its cell state.
        hidden: the name of its values before the projection, None without.
        gates: by normalized gate, the name of its sums.
    """

    layer: Lstm
    cell: str
    hidden: str | None
    gates: Mapping[str, str]

    def __call__(self, sequence: Array) -> dict[str, Array]:
        trace = self.layer.trace(sequence)
        values = {self.cell: trace.cell} | {name: trace.gates[gate] for gate, name in self.gates.items()}
        return values if self.hidden is None else values | {self.hidden: trace.hidden}


@dataclass(frozen=True, eq=False)
class _SvdfValues:
    """What an SVDF layer adds to its state for an input [batch, inputs]: the features, weights [filters, inputs]."""

    weights: Array
    state: str

    def __call__(self, values: Array) -> dict[str, Array]:
        return {self.state: values @ self.weights.T}


def _lstm_values(graph: Graph, op: Op) -> _LstmValues:
    gates: dict[str, Gate] = {}
    for name, place in LSTM_GATES.items():
        weights, recurrent, bias = (constant(graph, op, i) for i in (place.input, place.recurrent, place.bias))
        if weights is not None and recurrent is not None and bias is not None:
            peephole, norm = constant(graph, op, place.peephole), constant(graph, op, place.norm)
            gates[name] = Gate(weights, recurrent, bias, peephole, norm)
    layer = Lstm(
        gates,
        constant(graph, op, LSTM_PROJECTION),
        constant(graph, op, LSTM_PROJECTION_BIAS),
        cell_clip=op.option("cell_clip", 0.0),
        projection_clip=op.option("proj_clip", 0.0),
        time_major=bool(op.option("time_major", False)),
    )
    cell = op.inputs[LSTM_CELL_STATE]
    assert cell is not None
    hidden = None if layer.projection is None else inner_name(op, LSTM_HIDDEN)
    normalized = [gate for gate in gates if gates[gate].norm is not None]
    return _LstmValues(layer, cell, hidden, {gate: inner_name(op, list(LSTM_GATES).index(gate)) for gate in normalized})


def _svdf_values(graph: Graph, op: Op) -> _SvdfValues:
    index, state = OPS[op.kind].operand_index(WEIGHT), OPS[op.kind].operand_index(STATE)
    assert state is not None
    weights, name = constant(graph, op, index), op.inputs[state]
    assert weights is not None
    assert name is not None
    return _SvdfValues(weights, name)


_VALUES: Mapping[str, Callable[[Graph, Op], Callable[..., Mapping[str, Array]]]] = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm_values,
    "SVDF": _svdf_values,
}


def _is_constant_layer(graph: Graph, op: Op) -> bool:
    """Whether the layer is one of those that are computed here: dense float constants, full recurrent weights.

    Others stay in float; `plan.recurrent` says why.
    """
    for index, name in enumerate(op.inputs[1:], 1):
        tensor = graph.operand(op, index)
        if OPS[op.kind].operand_role(index) == STATE and (name is None or not graph.tensors[name].is_variable):
            return False
        if tensor is None or tensor.is_variable:
            continue
        if not tensor.is_constant or tensor.dtype is not DType.FLOAT32 or tensor.sparsity is not None:
            return False
    if op.kind == "SVDF":
        return True
    recurrent = [graph.operand(op, place.recurrent) for place in LSTM_GATES.values()]
    return all(tensor is None or len(tensor.shape) == 2 for tensor in recurrent)
