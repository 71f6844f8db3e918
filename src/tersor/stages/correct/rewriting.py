"""Model + samples -> the same float network, with constants that quantize better."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from tersor import registry
from tersor.algorithms._contract import ChannelRanges
from tersor.data.batch import batch_of, stacked
from tersor.data.feed import fit
from tersor.formats import tflite
from tersor.ir.check import check_graph
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op, Record, Tensor
from tersor.ops import LAYERS
from tersor.recipe import Scheme
from tersor.runtimes.engine import Engine, available_threads
from tersor.stages.calibrate import calibrate
from tersor.stages.statistics import Statistics


def split_kinds(algorithms: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of algorithms that rewrite the float network, and of those that see layers. Raises RecipeError."""
    rewriting = [name for name in algorithms if hasattr(registry.plugin("algorithms", name), "rewrite")]
    return rewriting, [name for name in algorithms if name not in rewriting]


_INT8 = Scheme(DType.INT8, DType.INT8, compute="integer")


def rewrite(
    model: Model,
    samples: Iterable[object],
    algorithms: Sequence[str],
    *,
    scheme: Scheme = _INT8,
    observer: str = "percentile",
    engine: Engine | None = None,
) -> Model:
    """Apply algorithms that rewrite the float network; a pass or two over the samples for each.

    Models with control flow are returned as they are, and names of other algorithms are passed over.

    Args:
        model: a float model.
        samples: the calibration data; iterable as often as there are algorithms, twice each.
        algorithms: names from `algorithms`.
        scheme: the numbers that most operators will compute with.
        observer: what the ranges will be chosen by.
        engine: the process to run in; by default one of its own.

    Returns:
        The model, with other constants; the same object where there was nothing to do. What was calibrated before does
        not fit it.

    Raises:
        RecipeError: an unknown algorithm.
        DataError: a sample does not fit.
        RuntimeFailure: the runtime refuses the network.
    """
    names, _ = split_kinds(algorithms)
    if not names or len(model.graphs) > 1:
        return model
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        for name in names:
            algorithm = registry.plugin("algorithms", name)
            watched = algorithm.watched(model.graph) if hasattr(algorithm, "watched") else None
            if watched == []:
                continue
            ranges = channel_ranges(model, samples, runner, watched)
            if getattr(algorithm, "AS_PLANNED", False):
                ranges = _clipped(ranges, calibrate(model, samples, observer, engine=runner), scheme)
            model = _rewritten(model, algorithm.rewrite(model.graph, ranges, scheme))
    return model


def _clipped(ranges: ChannelRanges, statistics: Statistics, scheme: Scheme) -> ChannelRanges:
    """Ranges within what integers will represent."""
    dtype = scheme.activations if scheme.compute == "integer" else DType.INT8
    bounds = {name: statistics.range(name, dtype) for name in ranges}
    return {name: (low.clip(*bounds[name]), high.clip(*bounds[name])) for name, (low, high) in ranges.items()}


def _rewritten(model: Model, graph: Graph) -> Model:
    if graph is model.graph:
        return model
    check_graph(graph)
    stated = [replace(tensor, normal=None) for tensor in graph.tensors.values() if tensor.normal is not None]
    return model.with_graph(graph.edit(tensors=stated))  # channels are no longer what they were in training


def channel_ranges(
    model: Model, samples: Iterable[object], engine: Engine, names: Sequence[str] | None = None
) -> ChannelRanges:
    """The extremes of each channel of some activations over all samples; none without samples.

    Args:
        model: a float model.
        samples: the calibration data.
        engine: the process to run in.
        names: of the activations; by default what layers with weights compute.
    """
    graph = model.graph
    if names is None:
        names = [op.outputs[0] for op in graph.ops if op.kind in LAYERS]
    names = [name for name in names if len(graph.tensors[name].shape) > 1]
    shown = _with_extremes(graph, names)
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        path = Path(folder) / "model.tflite"
        tflite.write(model.with_graph(shown), path)
        handle = engine.open(str(path), copies=available_threads())
        size = batch_of(graph.tensors[name].shape for name in (*graph.inputs, *graph.outputs))
        fitted = (fit(sample, handle.inputs, number) for number, sample in enumerate(samples))
        first, lows, highs = len(graph.outputs), list[Array](), list[Array]()
        for outputs in handle.run_all(arrays for arrays, _ in stacked(fitted, size)):
            own_lows, own_highs = outputs[first::2], outputs[first + 1 :: 2]
            lows = [np.minimum(a, b) for a, b in zip(lows, own_lows, strict=True)] if lows else own_lows
            highs = [np.maximum(a, b) for a, b in zip(highs, own_highs, strict=True)] if highs else own_highs
        handle.close()
    return {name: (low, high) for name, low, high in zip(names, lows, highs, strict=True)} if lows else {}


def _with_extremes(graph: Graph, names: Sequence[str]) -> Graph:
    """The graph with the extremes of each channel of some activations as further outputs."""
    after: dict[str, list[Op]] = {}
    tensors: dict[str, Tensor] = {}
    outputs = list(graph.outputs)
    for name in names:
        shape = graph.tensors[name].shape
        axes = Tensor(graph.fresh_name(f"axes_before_last_of_{len(shape)}"), (len(shape) - 1,), DType.INT32)
        tensors[axes.name] = axes.with_data(np.arange(len(shape) - 1, dtype=np.int32))
        for kind in ("REDUCE_MIN", "REDUCE_MAX"):
            result = graph.fresh_name(f"{name}/channel_{kind.lower()}", tensors)
            tensors[result] = Tensor(result, shape[-1:], DType.FLOAT32)
            producer = graph.producers[name]
            options = Record("ReducerOptions", (("keep_dims", False),))
            op = Op(f"{result}/op", kind, (name, axes.name), (result,), options)
            after.setdefault(producer.name, [producer]).append(op)
            outputs.append(result)
    return graph.edit(replace_ops=after, tensors=tensors.values(), outputs=outputs)
