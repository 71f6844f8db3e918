"""The float network with one thing rounded, run on the real kernels from there on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tersor.algorithms._contract import Layer
from tersor.formats import tflite
from tersor.ir.graph import Array, Model, Op
from tersor.ir.plan import Plan
from tersor.numerics.affine import dequantize
from tersor.numerics.affine import quantize as to_integers
from tersor.numerics.metrics import signal_and_noise
from tersor.numerics.packing import values_of
from tersor.runtimes.engine import Engine, available_threads
from tersor.stages.correct.layers import Correctable
from tersor.stages.correct.moments import InputMoments
from tersor.stages.correct.walk import Walk
from tersor.stages.mixed_precision.pieces import Piece, with_constants, with_rounded_values
from tersor.stages.mixed_precision.sources import Source, weight_indices

_WANTED, _GIVEN = "wanted/", "given/"
"""Prefixes of the outputs in the store: the float network's, and a trial's."""


class Trials:
    """Measures sources of noise one after the other, in the order of their first operators.

    Args:
        model: the float model; one graph.
        plan: what would be made of it.
        samples: the model's inputs in each sample.
        engine: the process to run in.
        layers: the layers that algorithms can correct, by name.
        steps: the algorithms.
        fan_in_limit: those that need a covariance leave layers with more inputs alone.
    """

    def __init__(
        self,
        model: Model,
        plan: Plan,
        samples: Sequence[Sequence[Array]],
        engine: Engine,
        layers: Mapping[str, Correctable],
        steps: Sequence[Callable[[Layer], Layer]],
        fan_in_limit: int,
    ) -> None:
        self._graph = model.graph
        self._plan = plan
        self._layers = layers
        self._steps = steps
        self._fan_in_limit = fan_in_limit
        self._threads = available_threads()
        self._samples = len(samples)
        self._store = engine.store()
        inputs = {name: [sample[place] for sample in samples] for place, name in enumerate(self._graph.inputs)}
        self._walk = Walk(self._graph, self._store, "float/", inputs, self._threads)
        self._places = {op.name: place for place, op in enumerate(self._graph.ops)}
        self._run(tflite.write_bytes(model), self._graph.inputs, self._graph.outputs, _WANTED)

    def place(self, source: Source) -> int:
        """Of the first operator that a source concerns; `noise` wants sources in this order."""
        return min(self._places[name] for name in source.operators)

    def noise(self, source: Source) -> float:
        """Power of the noise at the outputs over that of the signal, summed over the outputs."""
        start = self.place(source)
        self._walk.up_to(self._graph.ops[start].name)
        piece = self._piece(source, start)
        if not piece.outputs:
            return 0.0
        self._run(tflite.write_bytes(Model((piece.graph,))), piece.graph.inputs, piece.outputs, _GIVEN)
        total = 0.0
        for name in piece.outputs:
            signal, noise = self._store.reduce(signal_and_noise, (_WANTED + name, _GIVEN + name))
            total += noise / signal if signal else 0.0
        return total

    def close(self) -> None:
        """Keep no activations any longer."""
        self._store.close()

    def _run(self, content: bytes, inputs: Sequence[str], outputs: Sequence[str], prefix: str) -> None:
        keys = [self._walk.key(name) for name in inputs]
        self._store.advance(content, keys, [prefix + name for name in outputs], self._threads)

    def _piece(self, source: Source, start: int) -> Piece:
        if source.values:
            return with_rounded_values(self._graph, self._plan, source.values, start)
        op = self._graph.ops[start]
        layer = self._layers.get(op.name)
        return with_constants(self._graph, start, self._nearest(op) if layer is None else self._corrected(layer))

    def _nearest(self, op: Op) -> dict[int, Array]:
        found = {}
        for index in weight_indices(self._graph, op, self._plan):
            tensor, params = self._graph.operand(op, index), self._plan.operands[op.name, index].params
            if tensor is not None and params is not None:
                found[index] = dequantize(to_integers(values_of(tensor), params, narrow=True), params)
        return found

    def _corrected(self, layer: Correctable) -> dict[int, Array]:
        """Weights and bias as the algorithms would round them on exact inputs."""
        limit = 0 if layer.shared else self._fan_in_limit
        found = layer.described(
            InputMoments(self._store, lambda: self._walk, self._walk, layer, self._samples, limit, dict)
        )
        for step in self._steps:
            found = step(found)
        return {layer.operands.weights: layer.restored(found.rounded), layer.operands.bias: found.shifted}
