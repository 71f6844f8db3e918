"""What reaches a layer in both networks, computed where the activations are kept, and only if asked for."""

from __future__ import annotations

from functools import cached_property

from tersor.ir.graph import Array
from tersor.numerics.patches import covariance, mean_patch
from tersor.runtimes.store import Store
from tersor.stages.correct.layers import DATA, Correctable
from tersor.stages.correct.walk import Walk

_POSITIONS_PER_INPUT = 32
"""Positions to know a covariance of K inputs from, as a multiple of K."""

_FEWEST_POSITIONS = 4096


class InputMoments:
    """See `algorithms._contract.Moments`.

    Args:
        store: where the activations are.
        floats: the float network, run up to the layer.
        integers: the quantized network, likewise.
        layer: the layer.
        fan_in_limit: the largest K for which a covariance is computed.
    """

    def __init__(self, store: Store, floats: Walk, integers: Walk, layer: Correctable, fan_in_limit: int) -> None:
        self._store = store
        self._floats = floats
        self._integers = integers
        self._layer = layer
        self._fan_in_limit = fan_in_limit

    def mean(self) -> Array:
        return self._mean

    def float_mean(self) -> Array:
        name = self._floats.op(self._layer.op.name).inputs[DATA]
        assert name is not None
        found: Array = self._store.reduce(mean_patch, self._floats.key(name), self._layer.window)
        return found

    def covariance(self) -> Array | None:
        return self._covariance

    @cached_property
    def _mean(self) -> Array:
        name, params = self._input
        found: Array = self._store.reduce(mean_patch, name, self._layer.window, params)
        return found

    @cached_property
    def _covariance(self) -> Array | None:
        fan_in = self._layer.weights.shape[2]
        if fan_in > self._fan_in_limit:
            return None
        name, params = self._input
        positions = max(_FEWEST_POSITIONS, _POSITIONS_PER_INPUT * fan_in)
        found: Array = self._store.reduce(covariance, name, self._layer.window, params, positions)
        return found

    @property
    def _input(self) -> tuple[str, object]:
        """Where the quantized input is kept, and its numbers."""
        name = self._integers.op(self._layer.op.name).inputs[DATA]
        assert name is not None
        return self._integers.key(name), self._integers.params(name)
