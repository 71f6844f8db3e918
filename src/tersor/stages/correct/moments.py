"""What reaches a layer in both networks, computed where the activations are kept, and only if asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from tersor.ir.graph import Array
from tersor.numerics.patch_sums import mean_patch
from tersor.numerics.patches import covariance, covariances, rows
from tersor.runtimes.store import Store
from tersor.stages.correct.layers import Correctable
from tersor.stages.correct.walk import Walk

_POSITIONS_PER_INPUT = 32
"""Positions to know a covariance of K inputs from, as a multiple of K."""

_FEWEST_POSITIONS = 4096

_FEWEST_TO_FIT = 4
"""Positions of all samples for each input, below which nothing is said of folds: a fit, and the proof of it on a fold,
would be of chance. Last layers have one position per sample."""

_ROWS = 2048
"""Positions whose inputs are sent to the parent."""

_MOST_VALUES = 16 << 20
"""Values that are sent at most, and the fewest positions that are worth it."""

_FEWEST_ROWS = 512


class InputMoments:
    """See `algorithms._contract.Moments`.

    Args:
        store: where the activations are.
        floats: gives the float network, which is run up to the layer if its activations are asked for.
        integers: the quantized network, run up to the layer.
        layer: the layer.
        samples: how many there are.
        fan_in_limit: the largest K for which a covariance is computed.
        float_means: gives means in the float network by operator, as far as they are known without a walk through it.
    """

    def __init__(
        self,
        store: Store,
        floats: Callable[[], Walk],
        integers: Walk,
        layer: Correctable,
        samples: int,
        fan_in_limit: int,
        float_means: Callable[[], Mapping[str, Array]],
    ) -> None:
        self._store = store
        self._floats = floats
        self._integers = integers
        self._layer = layer
        self._samples = samples
        self._fan_in_limit = fan_in_limit
        self._float_means = float_means

    def mean(self) -> Array:
        return self._mean

    def float_mean(self) -> Array:
        found = self._float_means().get(self._layer.op.name)
        if found is None:
            found = self._store.reduce(mean_patch, self._float_input, self._layer.window)
        return np.asarray(found)

    def covariance(self) -> Array | None:
        if "_folds" in self.__dict__:  # known already, and a third of the cost
            return None if self._folds is None else np.asarray(self._folds[0].mean(0))
        return self._covariance

    def folds(self) -> tuple[Array, Array, Array] | None:
        enough = self._layer.positions * self._samples >= _FEWEST_TO_FIT * self._layer.shape[2]
        return self._folds if enough else None

    @cached_property
    def _mean(self) -> Array:
        name, params = self._input
        found: Array = self._store.reduce(mean_patch, name, self._layer.window, params)
        return found

    @cached_property
    def _covariance(self) -> Array | None:
        if self._positions is None:
            return None
        name, params = self._input
        found: Array = self._store.reduce(covariance, name, self._layer.window, params, self._positions)
        return found

    @cached_property
    def _folds(self) -> tuple[Array, Array, Array] | None:
        if self._positions is None:
            return None
        name, params = self._input
        found: tuple[Array, Array, Array] = self._store.reduce(
            covariances, (name, self._float_input), self._layer.window, params, self._positions
        )
        return found

    @property
    def _positions(self) -> int | None:
        """How many positions to look at for a covariance; None if there shall be none."""
        fan_in = self._layer.shape[2]
        return None if fan_in > self._fan_in_limit else max(_FEWEST_POSITIONS, _POSITIONS_PER_INPUT * fan_in)

    def rows(self) -> tuple[Array, Array] | None:
        groups, _, fan_in = self._layer.shape
        positions = min(_ROWS, _MOST_VALUES // (groups * fan_in))
        if positions < _FEWEST_ROWS:
            return None
        name, params = self._input
        own = self._store.reduce(rows, name, self._layer.window, params, positions)
        return own, self._store.reduce(rows, self._float_input, self._layer.window, None, positions)

    @property
    def _float_input(self) -> str:
        floats = self._floats()
        floats.up_to(self._layer.op.name)
        name = self._layer.op.inputs[self._layer.operands.data]
        assert name is not None
        return floats.key(name)

    @property
    def _input(self) -> tuple[str, object]:
        """Where the quantized input is kept, and its numbers."""
        name = self._integers.op(self._layer.op.name).inputs[self._layer.operands.data]
        assert name is not None
        return self._integers.key(name), self._integers.params(name)
