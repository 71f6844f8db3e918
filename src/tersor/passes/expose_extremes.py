"""``x`` -> ``x, REDUCE_MIN(x), REDUCE_MAX(x)``: the extremes of activations become outputs of the model.

For observers that need no more than a sample's smallest and largest value. The runtime then reduces each activation
while it lies in the cache, and may reuse its memory at once, where otherwise all activations would be kept and looked
at afterwards. Outputs that were there before stay first and unchanged. A single number is its own extremes, and becomes
an output itself.

The kernels of both reductions pass over NaN, that of the sum does not. So where NaN may come from finite numbers, and
at the model's own outputs, the smallest value has ``SUM(x) - SUM(x)`` added to it: 0, or NaN if there is one (or if the
sum overflows, where infinity is near).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op, Record, Tensor

_MAKES_NAN = frozenset({"CUSTOM", "DIV", "FLOOR_DIV", "FLOOR_MOD", "LOG", "POW", "RSQRT", "SQRT"})
"""Operators whose result may be NaN for finite operands."""


def apply(graph: Graph, names: Iterable[str]) -> tuple[Graph, dict[str, tuple[int, int]]]:
    """Expose the extremes of some activations.

    Args:
        graph: a float graph.
        names: float32 activations that the graph computes or takes as inputs.

    Returns:
        The graph with further scalar outputs, and for each name the places of its smallest and largest value among all
        outputs.
    """
    tensors: dict[str, Tensor] = {}
    outputs = list(graph.outputs)
    places: dict[str, tuple[int, int]] = {}
    after: dict[str, list[Op]] = {}
    first: list[Op] = []
    suspects = _suspects(graph)
    for name in names:
        if not graph.tensors[name].shape:
            places[name] = len(outputs), len(outputs)
            outputs.append(name)
            continue
        axes = _axes(graph, len(graph.tensors[name].shape))
        tensors[axes.name] = axes
        reductions = [_reduction(graph, kind, name, axes.name) for kind in ("REDUCE_MIN", "REDUCE_MAX")]
        shown = [op.outputs[0] for op in reductions]
        if name in suspects:
            reductions += _poison(graph, name, axes.name, shown[0])
            shown[0] = reductions[-1].outputs[0]
        tensors |= {op.outputs[0]: Tensor(op.outputs[0], (), DType.FLOAT32) for op in reductions}
        places[name] = len(outputs), len(outputs) + 1
        outputs += shown
        producer = graph.producers.get(name)
        if producer is None:
            first += reductions
        else:
            after.setdefault(producer.name, [producer]).extend(reductions)
    return graph.edit(replace_ops=after, prepend=first, tensors=tensors.values(), outputs=outputs), places


def _suspects(graph: Graph) -> frozenset[str]:
    """The values that may hold NaN although no value before them is infinite."""
    found = set(graph.outputs)
    for op in graph.ops:
        constants = (graph.tensors[name].data for name in op.present_inputs if graph.tensors[name].dtype.is_float)
        if op.kind in _MAKES_NAN or any(data is not None and not np.isfinite(data).all() for data in constants):
            found.update(op.outputs)
    return frozenset(found)


def _poison(graph: Graph, name: str, axes: str, low: str) -> list[Op]:
    total = _reduction(graph, "SUM", name, axes)
    nothing, result = (graph.fresh_name(f"{name}/{part}") for part in ("sum_minus_sum", "checked_min"))
    return [
        total,
        Op(f"{nothing}/op", "SUB", total.outputs * 2, (nothing,), Record("SubOptions")),
        Op(f"{result}/op", "ADD", (low, nothing), (result,), Record("AddOptions")),
    ]


def _axes(graph: Graph, rank: int) -> Tensor:
    """The constant that lists all axes; one for each rank."""
    name = graph.fresh_name(f"all_axes_of_rank_{rank}")
    return Tensor(name, (rank,), DType.INT32).with_data(np.arange(rank, dtype=np.int32))


def _reduction(graph: Graph, kind: str, name: str, axes: str) -> Op:
    result = graph.fresh_name(f"{name}/{kind.lower()}")
    return Op(f"{result}/op", kind, (name, axes), (result,), Record("ReducerOptions", (("keep_dims", False),)))
