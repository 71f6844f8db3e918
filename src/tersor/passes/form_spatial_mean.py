"""``mean_hw(x)`` -> ``reshape(mean_hw(x), kept axes)``: a mean over positions in the form that kernels are fast on.

LiteRT's builtin int8 kernel has a fast path for a mean over height and width of [batch, height, width, channels] that
keeps the axes as 1; any other form runs 60 times slower (400 instead of 7 microseconds for 7x7x1280). So the axes are
kept and a RESHAPE, which costs nothing, drops them; a mean over the middle axis of [batch, length, channels] becomes
one of an image of height 1. Refused for other axes, and where they are kept already.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Record, Tensor
from tersor.passes._match import is_float, values


def refusal(graph: Graph, op: Op) -> str | None:
    """Why a mean does not take the fast form; None if it can."""
    if op.kind != "MEAN" or op.inputs[0] is None or op.options is None:
        return "it is no MEAN"
    if not (is_float(graph, op.inputs[0]) and is_float(graph, op.outputs[0])):
        return "its shape is open, or it is quantized"
    axes, rank = values(graph, op, 1), len(graph.tensors[op.inputs[0]].shape)
    if axes is None:
        return "the axes are computed"
    reduced = sorted({int(axis) % rank for axis in axes.reshape(-1)})
    if (rank, reduced) not in ((4, [1, 2]), (3, [1])):
        return f"it runs over the axes {reduced} of {rank}"
    if rank == 4 and op.option("keep_dims", False):
        return "it keeps its axes already"
    return None


def apply(graph: Graph) -> Graph:
    """The graph with such means in the fast form; the same object if there are none."""
    ops: dict[str, tuple[Op, ...]] = {}
    tensors: list[Tensor] = []
    for op in graph.ops:
        if refusal(graph, op) is None:
            ops[op.name] = _formed(graph, op, tensors)
    return graph.edit(replace_ops=ops, tensors=tensors) if ops else graph


def _formed(graph: Graph, op: Op, tensors: list[Tensor]) -> tuple[Op, ...]:
    assert op.inputs[0] is not None
    assert op.options is not None
    source, result = op.inputs[0], op.outputs[0]
    *batch, channels = graph.tensors[source].shape[0], graph.tensors[source].shape[-1]
    formed: list[Op] = []
    if len(graph.tensors[source].shape) == 3:
        image = (*batch, 1, *graph.tensors[source].shape[1:])
        source = _value(graph, f"{result}/image", image, tensors)
        formed.append(_reshape(graph, op.inputs[0], source, image, tensors))
    mean = _value(graph, f"{result}/mean", (*batch, 1, 1, channels), tensors)
    axes = _constant(graph, f"{result}/axes", (1, 2), tensors)
    options = op.options.with_fields(keep_dims=True)
    formed.append(replace(op, name=mean, inputs=(source, axes), outputs=(mean,), options=options))
    formed.append(_reshape(graph, mean, result, graph.tensors[result].shape, tensors))
    return tuple(formed)


def _reshape(graph: Graph, source: str, result: str, shape: tuple[int, ...], tensors: list[Tensor]) -> Op:
    wanted = (-1, *shape[1:])  # any batch: a file can be resized at run time
    target = _constant(graph, f"{result}/shape", wanted, tensors)
    options = Record("ReshapeOptions", (("new_shape", wanted),))
    return Op(result, "RESHAPE", (source, target), (result,), options=options)


def _value(graph: Graph, wish: str, shape: tuple[int, ...], tensors: list[Tensor]) -> str:
    tensors.append(Tensor(graph.fresh_name(wish), shape, DType.FLOAT32))
    return tensors[-1].name


def _constant(graph: Graph, wish: str, numbers: tuple[int, ...], tensors: list[Tensor]) -> str:
    data = np.array(numbers, np.int32)
    tensors.append(Tensor(graph.fresh_name(wish), data.shape, DType.INT32).with_data(data))
    return tensors[-1].name
