"""Model + plan + samples -> weights that are rounded better than to nearest, and biases without shift.

Both networks, the float one and the quantized one, are run over some samples layer by layer, side by side. At each
layer with weights the recipe's algorithms see what reaches it in both, and the quantized network goes on with what they
made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from tersor import registry
from tersor.algorithms._contract import Layer
from tersor.data.feed import fit
from tersor.ir.graph import Array, Graph, Model, Tensor
from tersor.ir.plan import INTEGER, Plan
from tersor.numerics.affine import quantize as to_integers
from tersor.numerics.covariances import covariance
from tersor.numerics.patches import Window
from tersor.runtimes.engine import Engine, available_threads
from tersor.runtimes.litert import Port
from tersor.runtimes.memory import return_freed_memory
from tersor.stages.correct.equations import Expected
from tersor.stages.correct.expectations import expected_values
from tersor.stages.correct.float_means import averaged, float_means
from tersor.stages.correct.layers import Correctable, correctable, with_biases
from tersor.stages.correct.moments import InputMoments, positions_wanted
from tersor.stages.correct.rewriting import rewrite, split_kinds
from tersor.stages.correct.stated import stated_moments
from tersor.stages.correct.walk import Walk, bytes_per_sample
from tersor.stages.correct.without_samples import corrected_without_samples
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.quantize import quantize, stored

__all__ = ["SAMPLES", "Corrected", "averaged", "correct", "float_means", "most_samples", "rewrite", "split_kinds"]

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
    samples: Iterable[object] | None,
    algorithms: Sequence[str],
    *,
    fan_in_limit: int = 64,
    engine: Engine | None = None,
    means: Callable[[Sequence[Sequence[Array]]], Mapping[str, Array]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Corrected:
    """Apply algorithms to every layer with integer weights, in the order in which the network computes them.

    Where activations stay in float, only weights are rounded, and biases are not. Models with control flow, and those
    without such layers, are returned as they are.

    Args:
        model: the float model that was planned.
        plan: its plan.
        samples: of the calibration data; at most `SAMPLES` are used, fewer for a small `fan_in_limit` and where
            activations are large. None for those algorithms that go by what the model itself says; activations stay in
            float then.
        algorithms: names from `algorithms`, applied to each layer in this order; those that `rewrite` are passed over.
        fan_in_limit: algorithms that need the covariance of a layer's inputs leave layers with more inputs alone.
        engine: the process to run in; by default one of its own.
        means: gives the `float_means` of the model over so many samples as its inputs, where somebody may know them.
        progress: called with the number of layers done.

    Raises:
        RecipeError: an unknown algorithm.
        DataError: a sample does not fit.
        RuntimeFailure: the runtime refuses a piece of the network.
    """
    steps = [registry.plugin("algorithms", name).apply for name in split_kinds(algorithms)[1]]
    if samples is None:
        return (
            Corrected(*corrected_without_samples(model, plan, steps))
            if steps and len(model.graphs) == 1
            else Corrected(model, plan)
        )
    prepared, completed = with_biases(model, plan)
    layers = correctable(prepared.graph, completed)
    worth = bool(steps and layers) and len(model.graphs) == 1
    drawn = drawn_inputs(prepared.graph, samples, most_samples(fan_in_limit)) if worth else []
    if not drawn:
        return Corrected(model, plan)
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        known = means or (lambda inputs: float_means(model, inputs, runner))
        walker = _Walker(prepared, completed, layers, drawn, runner, fan_in_limit, known)
        stack.callback(walker.close)
        for number, (layer, following) in enumerate(zip(layers, [*layers[1:], None], strict=True), start=1):
            walker.correct(layer, steps, following)
            if progress is not None:
                progress(number)
        found = Corrected(*walker.result(), len(layers), len(drawn))
        del walker
    return_freed_memory()
    return found


def most_samples(fan_in_limit: int) -> int:
    """How many samples layers are corrected on, at most."""
    return _FEW if fan_in_limit <= _SMALL else SAMPLES


def drawn_inputs(graph: Graph, samples: Iterable[object], most: int) -> list[list[Array]]:
    """The samples, as inputs of the float model, as many as are wanted and memory allows."""
    allowed = max(_FEWEST, _MEMORY // max(bytes_per_sample(graph), 1))
    return fitted_inputs(graph, islice(samples, min(most, allowed)))


def fitted_inputs(graph: Graph, samples: Iterable[object]) -> list[list[Array]]:
    """Samples as inputs of a float graph. Raises DataError for one that does not fit."""
    tensors = [graph.tensors[name] for name in graph.inputs]
    ports = [
        Port(item.name, item.open_shape or item.shape, np.dtype(item.dtype.numpy).name, 0.0, 0) for item in tensors
    ]
    return [fit(sample, ports, number) for number, sample in enumerate(samples)]


class _Walker:
    """Both networks side by side, and what has been decided so far."""

    def __init__(
        self,
        model: Model,
        plan: Plan,
        layers: Sequence[Correctable],
        samples: Sequence[Sequence[Array]],
        engine: Engine,
        fan_in_limit: int,
        means: Callable[[Sequence[Sequence[Array]]], Mapping[str, Array]],
    ) -> None:
        self._model = model
        self._plan = plan
        self._samples = samples
        self._fan_in_limit = fan_in_limit
        self._means = means
        self._store = engine.store()
        self._in_float = not any(op.compute == INTEGER for op in plan.ops.values())
        integers = _with_rounded_weights(model.graph, layers) if self._in_float else quantize(model, plan).graph
        self._integer = Walk(integers, self._store, "integer/", _inputs(integers, samples), available_threads())
        self._tensors: list[Tensor] = []
        self._operands = dict(plan.operands)
        self._asked: set[str] = set()  # of the layer before: so it will be of the next

    def correct(
        self, layer: Correctable, steps: Sequence[Callable[[Layer], Layer]], following: Correctable | None
    ) -> None:
        """Run the quantized network up to a layer, improve it, and go on with the result.

        While the child computes, what leads from there to the layer that follows is written.
        """
        limit = 0 if layer.shared else self._fan_in_limit
        spread = self._spread(layer) if layer.shape[2] <= limit else None
        self._integer.up_to(layer.op.name)
        moments = InputMoments(
            self._store,
            lambda: self._floats,
            self._integer,
            layer,
            len(self._samples),
            limit,
            lambda: self._float_means,
            spread,
            lambda: stated_moments(self._model.graph, layer, self._stated),
        )
        moments.begin(self._asked)
        given = layer.described(moments)
        if following is not None:
            self._integer.prepare(following.op.name)
        found = given
        for step in steps:
            found = step(found)
        self._asked = moments.asked
        if found.scales is not given.scales:
            self._operands |= layer.scaled(found.scales, self._operands)
        if found.rounded is not given.rounded:
            self._replace(layer, layer.operands.weights, layer.weights, layer.restored(found.rounded))
        if found.shifted is not given.shifted or found.scales is not given.scales:
            self._replace(layer, layer.operands.bias, layer.bias, found.shifted.reshape(layer.bias.shape))
        if found.notes:
            key = layer.op.name, layer.operands.weights if self._in_float else layer.operands.bias
            own = self._operands[key]
            self._operands[key] = replace(own, why="; ".join((own.why, *found.notes)))

    def result(self) -> tuple[Model, Plan]:
        """The model with all decisions, and the plan with their reasons."""
        model = self._model.with_graph(self._model.graph.edit(tensors=self._tensors))
        return model, replace(self._plan, operands=self._operands)

    def close(self) -> None:
        """Keep no activations any longer."""
        self._store.close()

    @cached_property
    def _floats(self) -> Walk:
        """The float network beside the quantized one; its activations take four times the memory of the other's."""
        graph = self._model.graph
        return Walk(graph, self._store, "float/", _inputs(graph, self._samples), available_threads())

    @cached_property
    def _float_means(self) -> Mapping[str, Array]:
        return self._means(self._samples)

    @cached_property
    def _stated(self) -> dict[str, Expected]:
        return expected_values(self._model.graph)

    def _spread(self, layer: Correctable) -> Array | None:
        """See `InputMoments`; to be asked for before the network is run up to the layer."""
        wanted = positions_wanted(layer)
        if layer.averaging is None or layer.positions * len(self._samples) >= wanted:
            return None
        self._integer.up_to(layer.averaging.name)
        name = self._integer.op(layer.averaging.name).inputs[0]
        assert name is not None
        window = Window(inputs=layer.shape[2])
        found: Array = self._store.reduce(
            covariance, self._integer.key(name), window, self._integer.params(name), wanted
        )
        return found

    def _replace(self, layer: Correctable, index: int, tensor: Tensor, values: Array) -> None:
        name = self._integer.op(layer.op.name).inputs[index]
        assert name is not None
        self._tensors.append(tensor.with_data(values.astype(np.float32)))
        if self._in_float:
            self._integer.set_constant(self._tensors[-1])
            return
        planned = self._operands[layer.op.name, index]
        self._integer.set_constant(stored(self._tensors[-1], name, planned, narrow=index == layer.operands.weights))


def _with_rounded_weights(graph: Graph, layers: Sequence[Correctable]) -> Graph:
    """The float graph with weights that are multiples of their scales: what stands for it where activations are float.

    What hybrid kernels lose by rounding activations, sample by sample, is left out.
    """
    return graph.edit(tensors=[layer.weights.with_data(layer.nearest()) for layer in layers])


def _inputs(graph: Graph, samples: Sequence[Sequence[Array]]) -> dict[str, list[Array]]:
    """The samples by input name, in the numbers of a graph's inputs."""
    found: dict[str, list[Array]] = {}
    for place, name in enumerate(graph.inputs):
        params = graph.tensors[name].quant
        own = [sample[place] for sample in samples]
        found[name] = own if params is None else [to_integers(values, params) for values in own]
    return found
