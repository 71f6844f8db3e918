"""Models of single operators in any type, and what the real TensorFlow Lite Micro says of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from op_examples import EXAMPLES, make
from tersor.errors import RuntimeFailure
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Tensor
from tersor.ir.quant import PerTensor, QuantParams
from tersor.observers._extremes import Extremes
from tersor.observers.min_max import Observer
from tersor.ops import OPS
from tersor.recipe import load_recipe
from tersor.runtimes.isolation import Channel, Worker
from tersor.runtimes.tflite_micro import interpreter_of, printed, run_once
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from tersor.stages.statistics import Statistics

TYPES = (DType.FLOAT32, DType.INT8, DType.INT16, DType.UINT8, DType.INT32, DType.INT64, DType.BOOL)

_QUANTIZED = (DType.INT8, DType.INT16, DType.UINT8)
_SHAPE = (1, 4)
_ARENA = 1 << 20

_UNARY = ("CEIL", "COS", "FLOOR", "LOGICAL_NOT", "NEG", "ROUND", "SIN", "SQUARE", "ZEROS_LIKE")
_BINARY = ("ADD_N", "FLOOR_DIV", "FLOOR_MOD", "LOGICAL_AND", "LOGICAL_OR")


def _unary(kind: str) -> Model:
    builder = Builder(kind)
    return builder.model([builder.op(kind, [builder.input("x", _SHAPE)], _SHAPE)])


def _binary(kind: str) -> Model:
    builder = Builder(kind)
    return builder.model([builder.op(kind, [builder.input("x", _SHAPE), builder.input("y", _SHAPE)], _SHAPE)])


def _pool(kind: str) -> Model:
    builder = Builder(kind)
    options = {"filter_width": 2, "filter_height": 2, "stride_w": 2, "stride_h": 2, "padding": 1}
    return builder.model([builder.op(kind, [builder.input("x", (1, 4, 4, 2))], (1, 2, 2, 2), options)])


def _along(kind: str) -> Model:
    builder = Builder(kind)
    axis = builder.constant("axis", np.array([1], np.int32) if kind == "REDUCE_ALL" else np.int32(1))
    result = (1,) if kind == "REDUCE_ALL" else _SHAPE
    return builder.model([builder.op(kind, [builder.input("x", _SHAPE), axis], result)])


def _svdf(kind: str) -> Model:
    builder = Builder(kind)
    operands = [
        builder.input("x", (1, 3)),
        builder.constant("feature", np.ones((4, 3), np.float32)),
        builder.constant("time", np.ones((4, 5), np.float32)),
        builder.constant("bias", np.ones(4, np.float32)),
        builder.variable("state", (1, 20)),
    ]
    return builder.model([builder.op(kind, operands, (1, 4), {"rank": 1, "fused_activation_function": 1})])


def _shapes(kind: str) -> Model:
    builder = Builder(kind)
    given = [builder.input("x", (2,)), builder.input("y", (2,))]
    return builder.model([builder.op(kind, given, (2,))])


def _filled(kind: str) -> Model:
    builder = Builder(kind)
    return builder.model([builder.op(kind, [builder.constant("dims", [2, 3]), builder.input("x", ())], (2, 3))])


_MORE: dict[str, Callable[[str], Model]] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    "L2_POOL_2D": _pool,
    "CUMSUM": _along,
    "REDUCE_ALL": _along,
    "SVDF": _svdf,
    "BROADCAST_ARGS": _shapes,
    "FILL": _filled,
}
"""Operators that the operator table has no row for, or no example in other types."""

KINDS = tuple({**EXAMPLES, **_MORE})


def floats(kind: str) -> list[Model]:
    """Float models of an operator."""
    examples = [make(kind, variant).model for variant in EXAMPLES.get(kind, ())]
    return [*examples, *([_MORE[kind](kind)] if kind in _MORE else [])]


def retyped(model: Model, dtype: DType) -> Model:
    """With another type instead of float32 throughout; integers get a scale that every kernel can work with."""
    graph = model.graph
    fixed = {
        name: OPS[op.kind].fixed[dtype]
        for op in graph.ops
        if op.kind in OPS and dtype in OPS[op.kind].fixed and op.kind != "CAST"  # its kernel looks at no scale
        for name in op.outputs
    }
    tensors = []
    for tensor in graph.tensors.values():
        if tensor.dtype is not DType.FLOAT32:
            continue
        scale, zero_point = fixed.get(tensor.name, (2.0**-7, 0))
        params = QuantParams((scale,), (zero_point,), dtype, PerTensor()) if dtype in _QUANTIZED else None
        tensors.append(_holding_ones(replace(tensor, dtype=dtype, quant=params)))
    return model.with_graph(_with_wide_biases(graph.edit(tensors=tensors), dtype))


def _holding_ones(tensor: Tensor) -> Tensor:
    """If it is a constant: ones of its type."""
    return tensor if tensor.data is None else tensor.with_data(np.ones(tensor.shape, tensor.dtype.numpy))


_BIASES = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3, "SVDF": 3}


def _with_wide_biases(graph: Graph, dtype: DType) -> Graph:
    """Biases have 32 bits beside 8-bit values and 64 beside 16-bit ones, where weights have 8, as SVDF's states 16."""
    tensors = []
    for op in graph.ops:
        if op.kind not in _BIASES or dtype not in (DType.INT8, DType.INT16):
            continue
        wide = {_BIASES[op.kind]: DType.INT32 if dtype is DType.INT8 else DType.INT64}
        wide |= {2: DType.INT16, 4: DType.INT16} if op.kind == "SVDF" else {}
        wide |= {int(op.kind != "SVDF"): DType.INT8} if dtype is DType.INT16 and op.kind != "SVDF" else {}
        for index, kind in wide.items():
            tensor = graph.operand(op, index)
            if tensor is None:
                continue
            scale = 2.0**-14 if index == _BIASES[op.kind] else 2.0**-7
            params = QuantParams((scale,), (0,), kind, PerTensor())
            tensors.append(_holding_ones(replace(tensor, dtype=kind, quant=params)))
    return graph.edit(tensors=list({tensor.name: tensor for tensor in tensors}.values()))


def converted(kind: str, source: DType, result: DType) -> Model:
    """QUANTIZE, DEQUANTIZE or CAST from one type to another."""
    builder = Builder(kind)
    model = builder.model([builder.op(kind, [builder.input("x", _SHAPE, source)], _SHAPE, dtype=result)])
    tensors = []
    for tensor in model.graph.tensors.values():
        if tensor.dtype in (*_QUANTIZED, DType.INT32) and kind != "CAST":
            params = QuantParams((2.0**-7,), (0,), tensor.dtype, PerTensor())
            tensors.append(replace(tensor, quant=params))
    return model.with_graph(model.graph.edit(tensors=tensors))


RECIPES = {
    "int8": load_recipe("int8"),
    "int16x8": replace(load_recipe("int16x8"), interface=DType.INT16, float_fallback=False),
    "int8_w4": replace(load_recipe("int8_w4"), interface=DType.INT8, float_fallback=False),
    "dynamic": replace(load_recipe("dynamic"), minimum_elements=1),
}


@functools.cache
def quantized(kind: str, number: int, flavour: str) -> Model:
    """An example as tersor quantizes it, by ranges that are made up."""
    model, recipe = floats(kind)[number], RECIPES[flavour]
    graph = model.graph
    names = [*graph.inputs, *(name for op in graph.ops for name in op.outputs)]
    values = [name for name in names if graph.tensors[name].dtype is DType.FLOAT32]
    made_up = Statistics({name: Observer(Extremes(0.1, 1.0, samples=1)) for name in values}, 1)
    return quantize(model, plan(model, recipe, made_up if recipe.needs_calibration else None))


class Micro:
    """The real interpreter in a child process, for many models one after the other."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def refusal(self, model: Model, sample: Sequence[Any] | None = None) -> str | None:
        """What it says of a model that it does not take or run; None for one that it runs."""
        if sample is None:
            tensors = [model.graph.tensors[name] for name in model.graph.inputs]
            sample = [np.ones(tensor.shape, tensor.dtype.numpy) for tensor in tensors]
        if self._worker is None:
            self._worker = Worker("micro_ops:serve", 60)
        self._worker.doing = "trying a model in TensorFlow Lite Micro"
        try:
            self._worker.send((tflite.write_bytes(model), list(sample)))
            said: str = self._worker.receive()
        except RuntimeFailure as error:
            self.close()
            return str(error)
        return said or None

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def serve(channel: Channel) -> None:
    """The child's side: models and samples in, what was said of them out."""
    while True:
        content, sample = channel.receive()
        refused = ""
        with printed() as said:
            try:
                run_once(interpreter_of(bytes(content), _ARENA), sample)
            except (RuntimeError, ValueError) as error:
                refused = str(error) or type(error).__name__
        channel.send(("ok", (said().strip() or refused) if refused else ""))
