"""What a layer's weights are multiplied with: windows of its input as rows, and their mean and covariance.

A layer is a matrix product per group: ``y[g] = W[g] x[g] + b[g]`` with W [G, O, K], x [G, K]. A convolution has as many
groups as its input has slices of channels (usually one) and K = height x width x channels of a slice; a depthwise
convolution has a group per channel; a dense layer one group and no window. A transposed convolution is a convolution,
with its kernel turned by half a turn, of its input spread among zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams

_CHUNK = 128
"""Positions whose products are added up in float32, which is exact for integers of 8 bits."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the values of an axis lie among zeros.

    Attributes:
        stride: from one to the next.
        offset: of the first.
        size: of the axis; values beyond it are left out.
    """

    stride: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Window:
    """How a layer moves over its input.

    Attributes:
        kernel: height and width; None for a dense layer, whose input is rows of `inputs` values.
        strides: of both axes.
        dilation: of both axes.
        same: whether the input is padded with zeros as SAME pads it.
        groups: slices of channels that are multiplied with weights of their own.
        inputs: K of a dense layer.
        spread: for both axes, how the input is spread before the window moves over it; None where it is not.
    """

    kernel: tuple[int, int] | None = None
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False
    groups: int = 1
    inputs: int = 0
    spread: tuple[Spread, Spread] | None = None


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """How many zeros SAME adds before and after an axis."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def spread_out(values: Array, window: Window, zero: float = 0) -> Array:
    """The values [batch, height, width, channels] that a window moves over, with `zero` where there are none."""
    if window.spread is None:
        return values
    rows, columns = window.spread
    batch, height, width, channels = values.shape
    found = np.full((batch, rows.size, columns.size, channels), zero, values.dtype)
    own = found[:, rows.offset :: rows.stride, columns.offset :: columns.stride]
    own[:, :height, :width] = values[:, : own.shape[1], : own.shape[2]]
    return found


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
    each = -(-positions // len(samples))
    sums: _Sums | _ChannelSums
    if window.kernel is not None and window.groups == samples[0].shape[-1]:
        sums = _ChannelSums()
        for taps in _taps(samples, window, border, each):
            sums.add(taps)
    else:
        sums = _Sums()
        for own in _patches(samples, window, border, each):
            sums.add(own)
    unit = 1.0 if params is None else params.scale
    return sums.covariances()[0] * unit**2


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
    folds = min(folds, len(samples))
    border = 0 if params is None else params.zero_point
    each = -(-positions // len(samples))
    sums = [_Sums() for _ in range(folds)]
    pairs = zip(_patches(samples, window, border, each), _patches(others, window, 0, each), strict=True)
    for number, (own, other) in enumerate(pairs):
        sums[number % folds].add(own, other)
    unit = 1.0 if params is None else params.scale
    own, crossed, floats = (np.stack(parts) for parts in zip(*(item.covariances() for item in sums), strict=True))
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
        count = values.shape[1]
        self._count += count
        for start in range(0, count, _CHUNK):
            part = values[:, start : start + _CHUNK].astype(np.float32)
            self._means = self._means + part.sum(1).astype(np.float64)
            products = np.zeros((len(part), *part.shape[::2]), np.float32)
            for tap, own in enumerate(part):
                np.einsum("ng,kng->kg", own, part[tap:], out=products[tap, tap:])
            self._products = self._products + products

    def covariances(self) -> tuple[Array]:
        """Of X' with itself, [G, K, K]."""
        means, products = np.asarray(self._means / self._count), np.asarray(self._products / self._count)
        upper = np.triu(np.ones(products.shape[:2]))[..., None]
        both = np.where(upper, products, products.transpose(1, 0, 2)) - means[:, None] * means
        return (both.transpose(2, 0, 1),)


def rows(samples: Sequence[Array], window: Window, params: QuantParams | None = None, positions: int = 4096) -> Array:
    """What the weights are multiplied with at some positions, [G, positions, K] in float32; see `covariances`."""
    border = 0 if params is None else params.zero_point
    found = np.concatenate(list(_patches(samples, window, border, -(-positions // len(samples)))), axis=1)
    return found if params is None else np.asarray((found - border) * np.float32(params.scale))


def _patches(samples: Sequence[Array], window: Window, border: int, positions: int) -> Iterator[Array]:
    """For each sample, windows at some positions: [G, positions, K] in float32, integers as they are stored."""
    if window.kernel is not None:
        for taps in _taps(samples, window, border, positions):
            yield grouped(taps.transpose(1, 0, 2), window.groups).astype(np.float32)
        return
    generator = np.random.default_rng(0)
    for values in samples:
        rows = values.reshape(-1, window.inputs)
        yield rows[_some(generator, len(rows), positions)][None].astype(np.float32)


def _taps(samples: Sequence[Array], window: Window, border: int, positions: int) -> Iterator[Array]:
    """For each sample, windows at some positions, tap by tap: [taps, positions, channels]."""
    assert window.kernel is not None
    generator = np.random.default_rng(0)
    taps = np.indices(window.kernel).reshape(2, -1, 1)
    for given in samples:
        values = spread_out(given, window, border)
        batch, *sizes, channels = values.shape
        pads, counts = zip(*(_steps(size, window, axis) for axis, size in enumerate(sizes)), strict=True)
        image, place = np.divmod(_some(generator, batch * counts[0] * counts[1], positions), counts[0] * counts[1])
        outside, flat = np.array(False), image
        for axis, start in enumerate(np.divmod(place, counts[1])):
            own = start * window.strides[axis] + taps[axis] * window.dilation[axis] - pads[axis]
            inside = np.clip(own, 0, sizes[axis] - 1)
            outside, flat = outside | (inside != own), flat * sizes[axis] + inside
        found = values.reshape(-1, channels).take(flat, axis=0)
        found[outside] = border
        yield found


def _steps(size: int, window: Window, axis: int) -> tuple[int, int]:
    """How many zeros stand before an axis, and how many positions the window takes along it."""
    assert window.kernel is not None
    kernel, stride, dilation = window.kernel[axis], window.strides[axis], window.dilation[axis]
    before, after = same_padding(size, kernel, stride, dilation) if window.same else (0, 0)
    return before, (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def _some(generator: np.random.Generator, total: int, wanted: int) -> Array:
    """At most `wanted` of `total` places, in order."""
    return np.arange(total) if total <= wanted else np.sort(generator.choice(total, wanted, replace=False))


def grouped(patches: Array, groups: int) -> Array:
    """[positions, taps, channels] -> [groups, positions, taps x channels of a group]."""
    positions, taps, channels = patches.shape
    split = patches.reshape(positions, taps, groups, channels // groups)
    return split.transpose(2, 0, 1, 3).reshape(groups, positions, -1)
