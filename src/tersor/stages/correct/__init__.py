"""Model + plan + samples -> weights that are rounded better than to nearest, and biases without shift.

Both networks, the float one and the quantized one, are run over some samples layer by layer, side by side. At each
layer with weights the recipe's algorithms see what reaches it in both, and the quantized network goes on with what they
made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from tersor import registry
from tersor.algorithms._contract import Layer
from tersor.data.feed import fit
from tersor.ir.graph import Array, Graph, Model, Tensor
from tersor.ir.plan import Plan
from tersor.numerics.affine import quantize as to_integers
from tersor.ops import LAYER_BIAS, LAYER_WEIGHTS
from tersor.runtimes.engine import Engine, available_threads
from tersor.runtimes.litert import Port
from tersor.stages.correct.layers import Correctable, correctable, with_biases
from tersor.stages.correct.moments import InputMoments
from tersor.stages.correct.rewriting import rewrite, split_kinds
from tersor.stages.correct.walk import Walk, bytes_per_sample
from tersor.stages.quantize import quantize, stored

__all__ = ["SAMPLES", "Corrected", "correct", "rewrite", "split_kinds"]

SAMPLES = 100
"""Samples to correct on, at most: covariances of many inputs need many positions."""

_FEW = 32
"""Samples where no covariance is larger than `_SMALL`: over all their positions, means are known well enough."""

_SMALL = 256

_FEWEST = 4

_MEMORY = 256 << 20
"""Bytes of activations that may be kept at a time; where they are large, fewer samples have as many positions."""


@dataclass(frozen=True)
class Corrected:
    """A model whose weights and biases round as the algorithms want, with the plan that says what was done.

    Attributes:
        model: float, with names and shapes as before; `quantize` it by `plan`.
        plan: the plan it was made for, with the algorithms' notes in its reasons.
        layers: how many layers were looked at.
        samples: how many samples were used.
    """

    model: Model
    plan: Plan
    layers: int = 0
    samples: int = 0


def correct(
    model: Model,
    plan: Plan,
    samples: Iterable[object],
    algorithms: Sequence[str],
    *,
    fan_in_limit: int = 64,
    engine: Engine | None = None,
    progress: Callable[[int], None] | None = None,
) -> Corrected:
    """Apply algorithms to every layer with integer weights, in the order in which the network computes them.

    Models with control flow, and those without such layers, are returned as they are.

    Args:
        model: the float model that was planned.
        plan: its plan.
        samples: of the calibration data; at most `SAMPLES` are used, fewer for a small `fan_in_limit` and where
            activations are large.
        algorithms: names from `algorithms`, applied to each layer in this order; those that `rewrite` are passed over.
        fan_in_limit: algorithms that need the covariance of a layer's inputs leave layers with more inputs alone.
        engine: the process to run in; by default one of its own.
        progress: called with the number of layers done.

    Raises:
        RecipeError: an unknown algorithm.
        DataError: a sample does not fit.
        RuntimeFailure: the runtime refuses a piece of the network.
    """
    steps = [registry.plugin("algorithms", name).apply for name in split_kinds(algorithms)[1]]
    prepared, completed = with_biases(model, plan)
    layers = correctable(prepared.graph, completed)
    most = _FEW if fan_in_limit <= _SMALL else SAMPLES
    drawn = _drawn(prepared.graph, samples, most) if steps and layers and len(model.graphs) == 1 else []
    if not drawn:
        return Corrected(model, plan)
    with ExitStack() as stack:
        walker = _Walker(prepared, completed, drawn, engine or stack.enter_context(Engine()), fan_in_limit)
        stack.callback(walker.close)
        for number, layer in enumerate(layers, start=1):
            walker.correct(layer, steps)
            if progress is not None:
                progress(number)
    return Corrected(*walker.result(), len(layers), len(drawn))


def _drawn(graph: Graph, samples: Iterable[object], most: int) -> list[list[Array]]:
    """The samples, as inputs of the float model, as many as are wanted and memory allows."""
    allowed = max(_FEWEST, _MEMORY // max(bytes_per_sample(graph), 1))
    tensors = [graph.tensors[name] for name in graph.inputs]
    ports = [
        Port(item.name, item.open_shape or item.shape, np.dtype(item.dtype.numpy).name, 0.0, 0) for item in tensors
    ]
    return [fit(sample, ports, number) for number, sample in enumerate(islice(samples, min(most, allowed)))]


class _Walker:
    """Both networks side by side, and what has been decided so far."""

    def __init__(
        self, model: Model, plan: Plan, samples: Sequence[Sequence[Array]], engine: Engine, fan_in_limit: int
    ) -> None:
        self._model = model
        self._plan = plan
        self._samples = len(samples)
        self._fan_in_limit = fan_in_limit
        self._store = engine.store()
        integers = quantize(model, plan).graph
        threads = available_threads()
        self._float = Walk(model.graph, self._store, "float/", _inputs(model.graph, samples), threads)
        self._integer = Walk(integers, self._store, "integer/", _inputs(integers, samples), threads)
        self._tensors: list[Tensor] = []
        self._operands = dict(plan.operands)

    def correct(self, layer: Correctable, steps: Sequence[Callable[[Layer], Layer]]) -> None:
        """Run both networks up to a layer, improve it, and let the quantized network go on with the result."""
        self._float.up_to(layer.op.name)
        self._integer.up_to(layer.op.name)
        limit = 0 if layer.shared else self._fan_in_limit
        given = layer.described(InputMoments(self._store, self._float, self._integer, layer, self._samples, limit))
        found = given
        for step in steps:
            found = step(found)
        if found.scales is not given.scales:
            self._operands |= layer.scaled(found.scales, self._operands)
        if found.rounded is not given.rounded:
            self._replace(layer, LAYER_WEIGHTS, layer.restored(found.rounded, self._shape(layer, LAYER_WEIGHTS)))
        if found.shifted is not given.shifted or found.scales is not given.scales:
            self._replace(layer, LAYER_BIAS, found.shifted.reshape(self._shape(layer, LAYER_BIAS)))
        if found.notes:
            own = self._operands[layer.op.name, LAYER_BIAS]
            self._operands[layer.op.name, LAYER_BIAS] = replace(own, why="; ".join((own.why, *found.notes)))

    def result(self) -> tuple[Model, Plan]:
        """The model with all decisions, and the plan with their reasons."""
        model = self._model.with_graph(self._model.graph.edit(tensors=self._tensors))
        return model, replace(self._plan, operands=self._operands)

    def close(self) -> None:
        """Keep no activations any longer."""
        self._store.close()

    def _shape(self, layer: Correctable, index: int) -> tuple[int, ...]:
        tensor = self._model.graph.operand(layer.op, index)
        assert tensor is not None
        return tensor.shape

    def _replace(self, layer: Correctable, index: int, values: Array) -> None:
        tensor = self._model.graph.operand(layer.op, index)
        name = self._integer.op(layer.op.name).inputs[index]
        assert tensor is not None
        assert name is not None
        self._tensors.append(tensor.with_data(values.astype(np.float32)))
        planned = self._operands[layer.op.name, index]
        self._integer.set_constant(stored(self._tensors[-1], name, planned, narrow=index == LAYER_WEIGHTS))


def _inputs(graph: Graph, samples: Sequence[Sequence[Array]]) -> dict[str, list[Array]]:
    """The samples by input name, in the numbers of a graph's inputs."""
    found: dict[str, list[Array]] = {}
    for place, name in enumerate(graph.inputs):
        params = graph.tensors[name].quant
        own = [sample[place] for sample in samples]
        found[name] = own if params is None else [to_integers(values, params) for values in own]
    return found
