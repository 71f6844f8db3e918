"""Float models of one layer that keeps state: UNIDIRECTIONAL_SEQUENCE_LSTM in its variants, and SVDF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Model
from tersor.ops import LSTM_CELL_STATE, LSTM_GATES, LSTM_OUTPUT_STATE, LSTM_PROJECTION, LSTM_PROJECTION_BIAS

INPUTS, CELLS, TIME = 4, 6, 9
RELU, TANH = 1, 4


@dataclass(frozen=True)
class Variant:
    """What an LSTM has besides the plain layer."""

    batch: int = 1
    coupled: bool = False
    peephole: bool = False
    outputs: int | None = None
    norm: bool = False
    time_major: bool = False
    cell_clip: float = 0.0
    options: tuple[tuple[str, Any], ...] = ()
    diagonal: bool = False
    offset: float = 0.0
    gain: float = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        return (TIME, self.batch, INPUTS) if self.time_major else (self.batch, TIME, INPUTS)


VARIANTS = {
    "plain": Variant(),
    "batch": Variant(batch=3),
    "coupled": Variant(coupled=True),
    "peephole": Variant(peephole=True),
    "projection": Variant(outputs=3),
    "norm": Variant(norm=True),
    "time_major": Variant(time_major=True, batch=2),
    "clipped": Variant(cell_clip=0.4),
    "small_cell": Variant(gain=0.05),
    "large_input": Variant(offset=20.0),
    "everything": Variant(
        coupled=True, peephole=True, outputs=CELLS, norm=True, cell_clip=0.9, time_major=True, batch=2
    ),
}


def lstm(builder: Builder, x: str, variant: Variant, seed: int = 0) -> str:
    """Add an LSTM with random weights. Returns its result's name."""
    random = np.random.default_rng(seed)
    outputs = variant.outputs or CELLS
    operands: list[str | None] = [x] + [None] * 23

    def put(index: int | None, shape: tuple[int, ...], bound: float) -> None:
        if index is not None:
            values = random.uniform(-bound, bound, shape).astype(np.float32)
            operands[index] = builder.constant(f"operand_{index}", values)

    for name, place in LSTM_GATES.items():
        if variant.coupled and name == "input":
            continue
        put(place.input, (CELLS, INPUTS), 0.9 * variant.gain)
        put(place.recurrent, (CELLS,) if variant.diagonal else (CELLS, outputs), 0.9 * variant.gain)
        put(place.bias, (CELLS,), 0.4 * variant.gain)
        if variant.peephole:
            put(place.peephole, (CELLS,), 0.7)
        if variant.norm:
            put(place.norm, (CELLS,), 1.2)
    if variant.outputs:
        put(LSTM_PROJECTION, (outputs, CELLS), 0.8)
        put(LSTM_PROJECTION_BIAS, (outputs,), 0.2)
    operands[LSTM_OUTPUT_STATE] = builder.variable("output_state", (variant.batch, outputs))
    operands[LSTM_CELL_STATE] = builder.variable("cell_state", (variant.batch, CELLS))
    options = {
        "fused_activation_function": TANH,
        "cell_clip": variant.cell_clip,
        "time_major": variant.time_major,
        **dict(variant.options),
    }
    shape = (*variant.shape[:2], outputs)
    return builder.op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, shape, options, name="lstm")


def lstm_model(variant: Variant) -> Model:
    builder = Builder()
    return through_file(builder.model([lstm(builder, builder.input("x", variant.shape), variant)]))


def svdf(builder: Builder, x: str, *, bias: bool = True, rank: int = 2, activation: int = RELU) -> str:
    """Add an SVDF layer of 5 units with a memory of 4 steps. Returns its result's name."""
    random = np.random.default_rng(1)
    operands = [
        x,
        builder.constant("features", random.uniform(-1, 1, (5 * rank, INPUTS)).astype(np.float32)),
        builder.constant("times", random.uniform(-1, 1, (5 * rank, 4)).astype(np.float32)),
        builder.constant("bias", random.uniform(-0.5, 0.5, 5).astype(np.float32)) if bias else None,
        builder.variable("memory", (1, 5 * rank * 4)),
    ]
    return builder.op("SVDF", operands, (1, 5), {"rank": rank, "fused_activation_function": activation}, name="svdf")


def svdf_model(**options: Any) -> Model:
    builder = Builder()
    return through_file(builder.model([svdf(builder, builder.input("x", (1, INPUTS)), **options)]))


def through_file(model: Model) -> Model:
    """The model with complete options, as every model has that a user brings."""
    return tflite.read_bytes(tflite.write_bytes(model))
