"""What the batch normalizations of a network say about the means of its values, without any data.

A batch normalization gives each channel a mean and a deviation, which its value keeps (`ir/normal`), through folding
too. From there the means of other values follow: through functions as moments of a normal variable, through what is
linear as they are, through sums and products as if what is joined were independent. What layers behind a value state
(`equations`) is taken in before going on from it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tersor.algorithms._match import ACTIVATIONS, Weighted, weighted
from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.numerics.normal import FUNCTIONS, moments, nodes
from tersor.stages.correct.equations import DOUBT_OF_STATISTICS, Expected, improved, on_means

_DOUBT = 0.1
"""Of a mean behind an activation function, in deviations, as distributions are not quite normal. In MobileNetV1 0.25
the root mean square over the channels of a layer is 0.04 to 0.15."""


class _Spread(NamedTuple):
    """Channels as functions of one normal variable each: the variables' name, and values at their `nodes`."""

    base: str
    values: Array


def expected_values(graph: Graph) -> dict[str, Expected]:
    """What is known of a graph's values, by name; empty where no batch normalization says anything."""
    if all(item.normal is None for item in graph.tensors.values()):
        return {}
    return _Expectations(graph).found


class _Expectations:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._spreads: dict[str, _Spread] = {}
        self.found: dict[str, Expected] = {}
        last = {name: place for place, op in enumerate(graph.ops) for name in op.present_inputs}
        for name in graph.inputs:
            self._note(graph.tensors[name], None)
        for place, op in enumerate(graph.ops):
            if len(op.outputs) == 1:
                self._note(graph.tensors[op.outputs[0]], op)
            for name in op.present_inputs:
                if last[name] == place:
                    self._spreads.pop(name, None)

    def _note(self, tensor: Tensor, op: Op | None) -> None:
        """Find out about a value; that of an operator, or an input."""
        if not tensor.dtype.is_float or not tensor.shape:
            return
        known = self._stated(tensor) or (None if op is None else self._computed(op))
        if known is not None and len(known.mean) != tensor.shape[-1]:
            known = None
        known = improved(self._graph, tensor, known)
        if known is not None:
            self.found[tensor.name] = known

    def _stated(self, tensor: Tensor) -> Expected | None:
        """What a batch normalization says of a value."""
        if tensor.normal is None:
            return None
        own = tensor.normal
        values = nodes(np.array(own.mean), np.array(own.deviation)).clip(own.low, own.high)
        clamped = np.isfinite((own.low, own.high)).any()
        return self._of_spread(tensor.name, _Spread(tensor.name, values), 0.0 if clamped else None)

    def _of_spread(self, name: str, spread: _Spread, doubt: Array | float | None) -> Expected:
        """A value that is a function of normal variables; `doubt` is that of these, None for statistics."""
        self._spreads[name] = spread
        mean, deviation = moments(spread.values)
        if doubt is None:
            return Expected(mean, DOUBT_OF_STATISTICS * deviation, deviation)
        return Expected(mean, np.hypot(_DOUBT * deviation, doubt), deviation)

    def _computed(self, op: Op) -> Expected | None:
        """What follows from an operator's operands; None where nothing does."""
        name, result = op.inputs[0] if op.inputs else None, op.outputs[0]
        if op.kind in ("ADD", "SUB", "MUL"):
            return self._joined(op)
        if (layer := weighted(self._graph, op)) is not None:
            known = self.found.get(layer.data or "")
            return None if known is None else self._layered(layer, known)
        if op.option("fused_activation_function", 0):
            return None
        if op.kind == "CONCATENATION":
            return self._concatenated(op)
        known = self.found.get(name or "")
        if known is None or name is None:
            return None
        if op.kind in FUNCTIONS:
            spread = self._spread(name)
            if spread is None:
                return None
            function = FUNCTIONS[op.kind](op.option("alpha", 0.0) or 0.0)
            return self._of_spread(result, _Spread(spread.base, function(spread.values)), known.doubt)
        return self._carried(op, known, self._graph.tensors[result])

    def _carried(self, op: Op, known: Expected, result: Tensor) -> Expected | None:
        """Through operators that move values or average them."""
        given = self._graph.tensors[op.inputs[0] or ""]
        whole = result.elements == result.shape[-1] and op.kind in ("MEAN", "AVERAGE_POOL_2D")
        if op.kind == "MEAN" and not whole:
            return None
        if op.kind in ("MEAN", "AVERAGE_POOL_2D"):  # averages of whole samples hardly vary
            return known._replace(deviation=np.zeros_like(known.mean) if whole else None)
        if op.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS") and result.shape[-1] % len(known.mean) == 0:
            times = result.shape[-1] // len(known.mean)
            deviation = None if known.deviation is None else np.tile(known.deviation, times)
            return Expected(np.tile(known.mean, times), np.tile(known.doubt, times), deviation)
        if op.kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            return known
        if op.kind == "PAD" and given.shape[-1] == result.shape[-1]:
            share = given.elements / result.elements
            return Expected(known.mean * share, known.doubt * share)
        if op.kind == "MAX_POOL_2D" and known.deviation is not None:
            return Expected(known.mean + known.deviation / 2, np.hypot(known.doubt, known.deviation / 2))
        return None

    def _layered(self, layer: Weighted, known: Expected) -> Expected | None:
        """Through a layer without statistics of its own."""
        matrix = on_means(self._graph, layer)
        mean, variance = (
            part * values if layer.depthwise else part @ values
            for part, values in ((matrix, known.mean), (matrix**2, known.doubt**2))
        )
        mean, doubt = mean + layer.bias, np.sqrt(variance)
        constant = known.deviation is not None and not known.deviation.any()
        if not constant and np.isfinite(layer.clamp).any():
            return None
        return Expected(mean.clip(*layer.clamp), doubt, np.zeros_like(mean) if constant else None)

    def _concatenated(self, op: Op) -> Expected | None:
        tensors = [self._graph.tensors[name] for name in op.present_inputs]
        parts = [self.found.get(tensor.name) for tensor in tensors]
        known = [part for part in parts if part is not None]
        if op.option("axis", 0) not in (-1, len(tensors[0].shape) - 1) or len(known) < len(parts):
            return None
        deviations = [part.deviation for part in known if part.deviation is not None]
        deviation = np.concatenate(deviations) if len(deviations) == len(known) else None
        means, doubts = [part.mean for part in known], [part.doubt for part in known]
        return Expected(np.concatenate(means), np.concatenate(doubts), deviation)

    def _joined(self, op: Op) -> Expected | None:
        """Sums and products: of functions of the same variables exactly, of others as if they were independent."""
        sides = [self._operand(name) for name in op.present_inputs]
        clamp = ACTIVATIONS.get(op.option("fused_activation_function", 0) or 0)
        if len(sides) != 2 or None in sides or clamp is None:
            return None
        a, b = (side for side in sides if side is not None)
        join = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}[op.kind]
        slopes = (b[0].mean, a[0].mean) if op.kind == "MUL" else (np.ones(1), np.ones(1))
        doubt = np.hypot(slopes[0] * a[0].doubt, slopes[1] * b[0].doubt)
        bases = {side[1].base for side in (a, b) if side[1] is not None and side[1].base}
        if len(bases) == 1 and a[1] is not None and b[1] is not None:
            values = join(a[1].values, b[1].values).clip(*clamp)
            return self._of_spread(op.outputs[0], _Spread(bases.pop(), values), doubt)
        mean = join(a[0].mean, b[0].mean)
        deviation = None
        if a[0].deviation is not None and b[0].deviation is not None:
            both = a[0].deviation * b[0].deviation if op.kind == "MUL" else 0.0
            deviation = np.sqrt((slopes[0] * a[0].deviation) ** 2 + (slopes[1] * b[0].deviation) ** 2 + both**2)
        if not np.isfinite(clamp).any():
            return Expected(mean, doubt, deviation)
        if deviation is None:
            return None
        return self._of_spread(op.outputs[0], _Spread(op.outputs[0], nodes(mean, deviation).clip(*clamp)), doubt)

    def _operand(self, name: str) -> tuple[Expected, _Spread | None] | None:
        """One side of a sum or product."""
        tensor = self._graph.tensors[name]
        if tensor.data is None:
            known = self.found.get(name)
            return None if known is None else (known, self._spread(name))
        if tensor.dtype.numpy != np.float32 or tensor.elements != (tensor.shape or (1,))[-1]:
            return None
        values = tensor.data.astype(np.float64).reshape(-1)
        return Expected(values, np.zeros_like(values), np.zeros_like(values)), _Spread("", values[None])

    def _spread(self, name: str) -> _Spread | None:
        """A value as a function of normal variables; taken as such a variable itself where it is none."""
        known = self.found[name]
        if name not in self._spreads and known.deviation is not None:
            self._spreads[name] = _Spread(name, nodes(known.mean, known.deviation))
        return self._spreads.get(name)
