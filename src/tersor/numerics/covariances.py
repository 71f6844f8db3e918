"""Covariances of what a layer's weights are multiplied with, over samples and positions.

Parts of the samples are added up in threads of their own, and then in one order: the number of processors changes
nothing in the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import numpy as np

from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams
from tersor.numerics.patches import Window, drawn, patches, taps

_CHUNK = 128
"""Positions whose products are added up in float32, which is exact for integers of 8 bits."""

_EXACT = 1024
"""Positions whose products of int8 add up exactly in float32: 2**14 each."""

_CACHED = 1 << 18
"""Values that are looked at together: in float32, read by one tap after the other, they are to stay in the cache."""

_PARTS = 2
"""Parts of the samples, a multiple of the folds: with more, threads of one processor empty each other's caches."""


def covariance(
    samples: Sequence[Array], window: Window, params: QuantParams | None = None, positions: int = 4096
) -> Array:
    """The covariance of the K values of a window, [G, K, K] in float64.

    Args:
        samples: see `patch_sums.mean_patch`.
        window: see `patch_sums.mean_patch`.
        params: see `patch_sums.mean_patch`.
        positions: of all positions in all samples, at most about so many are looked at, spread evenly.
    """
    border = 0 if params is None else params.zero_point
    places = drawn(samples, window, -(-positions // len(samples)))
    found: _Sums | _ChannelSums
    if window.kernel is not None and window.groups == samples[0].shape[-1]:
        if samples[0].dtype == np.int8:
            found = _sums_of_bytes(samples, window, border, places)
        else:
            found = _in_parts(_ChannelSums, lambda n: (taps(samples[n], window, border, places[n]),), len(samples), 1)[
                0
            ]
    else:
        found = _in_parts(_Sums, lambda n: (patches(samples[n], window, border, places[n]),), len(samples), 1)[0]
    unit = 1.0 if params is None else params.scale
    return found.covariances()[0] * unit**2


def covariances(
    samples: Sequence[Array],
    others: Sequence[Array],
    window: Window,
    params: QuantParams | None = None,
    positions: int = 4096,
    folds: int = 2,
) -> tuple[Array, Array, Array]:
    """Covariances of the K values of a window in both networks, of each fold of the samples.

    Args:
        samples: see `patch_sums.mean_patch`.
        others: the same values of the float network, sample by sample.
        window: see `patch_sums.mean_patch`.
        params: of `samples`.
        positions: see `covariance`.
        folds: parts of the samples, taken in turns; fewer where there are fewer samples.

    Returns:
        Of `samples` with themselves, of `others` with `samples`, and of `others` with themselves, each
        [folds, G, K, K] in float64.
    """
    border = 0 if params is None else params.zero_point
    places = drawn(samples, window, -(-positions // len(samples)))

    def both(number: int) -> tuple[Array, Array]:
        own = patches(samples[number], window, border, places[number])
        return own, patches(others[number], window, 0, places[number])

    found = _in_parts(_Sums, both, len(samples), folds)
    unit = 1.0 if params is None else params.scale
    own, crossed, floats = (np.stack(found) for found in zip(*(item.covariances() for item in found), strict=True))
    return own * unit**2, crossed * unit, floats


class _Sums:
    """Sums over positions of values x' [G, positions, K] and, if they are given, x, and of their products."""

    _PAIRS = ((0, 0), (1, 0), (1, 1))

    def __init__(self) -> None:
        self._count = 0
        self._means: dict[int, Array] = {}
        self._products: dict[tuple[int, int], Array] = {}

    def add(self, *values: Array) -> None:
        """x', or x' and x at the same positions."""
        self._count += values[0].shape[1]
        for place, own in enumerate(values):
            self._means[place] = self._means.get(place, 0.0) + own.sum(1, dtype=np.float64)
        for a, b in self._PAIRS[: 1 if len(values) == 1 else 3]:
            product = (values[a].transpose(0, 2, 1) @ values[b]).astype(np.float64)
            self._products[a, b] = self._products.get((a, b), 0.0) + product

    def merge(self, other: Self) -> None:
        """Take over what `other` has added up."""
        self._count += other._count
        self._means = {place: mean + other._means[place] for place, mean in self._means.items()}
        self._products = {pair: product + other._products[pair] for pair, product in self._products.items()}

    def covariances(self) -> tuple[Array, ...]:
        """X' with itself; and if there are both, x with x' and x with itself."""
        means = {place: mean / self._count for place, mean in self._means.items()}
        return tuple(
            product / self._count - means[a][:, :, None] * means[b][:, None, :]
            for (a, b), product in self._products.items()
        )


class _ChannelSums:
    """Sums of values [K, positions, G] and of their products: `_Sums` where a group is a channel.

    Products of rows that lie together take half the time of G products of small matrices.
    """

    def __init__(self) -> None:
        self._count = 0
        self._means: Array | float = 0.0
        self._products: Array | float = 0.0

    def add(self, values: Array) -> None:
        """X' of one sample."""
        for start in range(0, values.shape[1], _CHUNK):
            self._take(values[:, start : start + _CHUNK], _CHUNK)

    def add_bytes(self, values: Array) -> None:
        """X' of several samples in int8, at `_EXACT` positions at most."""
        self._take(values, max(_CACHED // values[:, 0].size, 1))

    def _take(self, values: Array, step: int) -> None:
        """Values whose sums float32 can hold, so many positions at a time."""
        taps, count, groups = values.shape
        means, products = np.zeros((taps, groups), np.float32), np.zeros((taps, taps, groups), np.float32)
        for start in range(0, count, step):
            part = values[:, start : start + step].astype(np.float32)
            means += part.sum(1)
            for tap, own in enumerate(part):
                products[tap, tap:] += np.einsum("ng,kng->kg", own, part[tap:])
        self._count += count
        self._means = self._means + means.astype(np.float64)
        self._products = self._products + products.astype(np.float64)

    def merge(self, other: Self) -> None:
        """Take over what `other` has added up."""
        self._count += other._count
        self._means = self._means + other._means
        self._products = self._products + other._products

    def covariances(self) -> tuple[Array]:
        """Of X' with itself, [G, K, K]."""
        means, products = np.asarray(self._means / self._count), np.asarray(self._products / self._count)
        upper = np.triu(np.ones(products.shape[:2]))[..., None]
        both = np.where(upper, products, products.transpose(1, 0, 2)) - means[:, None] * means
        return (both.transpose(2, 0, 1),)


def _sums_of_bytes(samples: Sequence[Array], window: Window, border: int, places: Sequence[Array]) -> _ChannelSums:
    """The sums of samples in int8: where sums are exact, samples can be looked at together, in any order."""
    ends = np.cumsum([len(own) for own in places])
    total = int(ends[-1])
    assert window.kernel is not None
    values = np.empty((window.kernel[0] * window.kernel[1], total, window.groups), np.int8)

    def gather(number: int) -> None:
        own = places[number]
        values[:, ends[number] - len(own) : ends[number]] = taps(samples[number], window, border, own)

    def add(start: int) -> _ChannelSums:
        sums = _ChannelSums()
        sums.add_bytes(values[:, start : start + step])
        return sums

    step = min(-(-total // _PARTS), _EXACT)
    with ThreadPoolExecutor(_PARTS) as pool:
        list(pool.map(gather, range(len(samples))))
        whole, *others = pool.map(add, range(0, total, step))
    for other in others:
        whole.merge(other)
    return whole


_Part = TypeVar("_Part", _Sums, _ChannelSums)


def _in_parts(
    new: type[_Part],
    values_of: Callable[[int], tuple[Array, ...]],
    samples: int,
    folds: int,
) -> list[_Part]:
    """What is added up of each fold of the samples, parts of it in threads of their own."""

    def part(numbers: Sequence[int]) -> _Part:
        sums = new()
        for number in numbers:
            sums.add(*values_of(number))
        return sums

    count = min(max(_PARTS, folds), samples)
    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(part, [range(first, samples, count) for first in range(count)]))
    for number, other in enumerate(found[folds:]):
        found[number % folds].merge(other)
    return found[:folds]
