"""What a network itself says of what reaches its layers, instead of samples; see `expectations`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersor.ir.graph import Array, Graph
from tersor.numerics.patch_sums import mean_patch
from tersor.stages.correct.equations import Expected
from tersor.stages.correct.layers import Correctable


class StatedMoments:
    """See `algorithms._contract.Moments`: of the float network, taken for those of the quantized one, too.

    Args:
        known: what is known of the layer's input.
        shape: of that, with the channels last.
        layer: the layer.
    """

    def __init__(self, known: Expected, shape: tuple[int, ...], layer: Correctable) -> None:
        self._mean, self._doubt = (
            mean_patch([np.broadcast_to(values, shape)], layer.window) for values in (known.mean, known.doubt)
        )
        self._weights = layer.matrices
        self._taps = 1 if layer.window.kernel is None else int(np.prod(layer.window.kernel))

    def mean(self) -> Array:
        return self._mean

    def float_response(self) -> Array:
        return np.asarray(np.einsum("gok,gk->go", self._weights, self._mean))

    def covariance(self) -> Array | None:
        return None

    def folds(self) -> tuple[Array, Array, Array] | None:
        return None

    def rows(self) -> tuple[Array, Array] | None:
        return None

    def expected(self, weights: Array) -> tuple[Array, Array] | None:
        """What is doubtful of a channel is so at all taps alike; different channels are independent."""
        mean = np.einsum("gok,gk->go", weights, self._mean)
        each = (weights * self._doubt[:, None]).reshape(*weights.shape[:2], self._taps, -1).sum(2)
        return mean, np.sqrt(np.sum(each**2, axis=-1))


def stated_moments(graph: Graph, layer: Correctable, known: Mapping[str, Expected]) -> StatedMoments | None:
    """What is known of a layer's input, given what is of the graph's values; None if nothing is."""
    data = graph.operand(layer.op, layer.operands.data)
    if data is None or data.name not in known:
        return None
    return StatedMoments(known[data.name], data.shape, layer)
