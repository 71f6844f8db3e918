"""How many weights of a model are zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tersor.ir.graph import Model
from tersor.numerics.packing import values_of
from tersor.ops import LAYERS, layer_operands
from tersor.targets.cpu.sparse_inference import unpacked
from tersor.training.masking import Masking


@dataclass(frozen=True)
class LayerSparsity:
    """The zeros of one layer.

    Attributes:
        name: of the operator.
        kind: of the operator.
        weights: how many it has.
        zeros: how many of these are zeros.
        wanted: the share of zeros that is wanted; None for a layer that is not pruned.
        reason: why it is not pruned; empty where it is, or nothing was wanted.
    """

    name: str
    kind: str
    weights: int
    zeros: int
    wanted: float | None = None
    reason: str = ""

    @property
    def reached(self) -> float:
        """The share of zeros."""
        return self.zeros / self.weights if self.weights else 0.0


@dataclass(frozen=True)
class Sparsity:
    """The zeros of a model, layer by layer; as text a table."""

    layers: tuple[LayerSparsity, ...]

    @property
    def pruned(self) -> tuple[LayerSparsity, ...]:
        """The layers in which zeros are wanted."""
        return tuple(layer for layer in self.layers if layer.wanted is not None)

    @property
    def reached(self) -> float:
        """The share of zeros among all weights of layers, pruned or not."""
        return _share(sum(layer.zeros for layer in self.layers), sum(layer.weights for layer in self.layers))

    @property
    def reached_where_pruned(self) -> float:
        """The share of zeros among the weights of pruned layers."""
        return _share(sum(layer.zeros for layer in self.pruned), sum(layer.weights for layer in self.pruned))

    def __str__(self) -> str:
        width = max([len(layer.name) for layer in self.layers] + [9])
        lines = [f"{'layer':{width}}  {'weights':>9}  {'wanted':>6}  {'zeros':>6}"]
        for layer in self.layers:
            wanted = "-" if layer.wanted is None else f"{layer.wanted:.1%}"
            why = f"  {layer.reason}" if layer.reason else ""
            lines.append(f"{layer.name:{width}}  {layer.weights:9,}  {wanted:>6}  {layer.reached:6.1%}{why}")
        total = sum(layer.weights for layer in self.layers)
        return "\n".join([*lines, f"{'all layers':{width}}  {total:9,}  {'':6}  {self.reached:6.1%}"])


def sparsity_of(
    model: Model, wanted: Mapping[str, float] | None = None, reasons: Mapping[str, str] | None = None
) -> Sparsity:
    """The zeros among the weights of layers, in float and in integers.

    Args:
        model: a model; weights stored sparsely count too.
        wanted: the shares that are wanted, by operator.
        reasons: why other layers are not pruned.
    """
    found = []
    graph = model.graph
    for op in graph.ops:
        weights = graph.operand(op, layer_operands(op.kind).weights) if op.kind in LAYERS else None
        weights = None if weights is None else unpacked(graph, weights)
        if weights is None or not weights.is_constant:
            continue
        zeros = weights.elements - int(np.count_nonzero(values_of(weights)))
        share, why = (wanted or {}).get(op.name), (reasons or {}).get(op.name, "")
        found.append(LayerSparsity(op.name, op.kind, weights.elements, zeros, share, why))
    return Sparsity(tuple(found))


def zeros_of(model: Model) -> dict[str, Masking]:
    """What keeps the zeros that the weights of a float model have, by operator; layers without any are left out."""
    return {layer.name: Masking(layer.reached) for layer in sparsity_of(model).layers if layer.zeros}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
