"""Means of what a layer's weights are multiplied with, without looking at every window: sums of rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams
from tersor.numerics.patches import Window, grouped, same_padding, spread_out

_INT16_SAMPLES = 128
"""As many values of 8 bits have a sum of 16."""

_PARTS, _WORTH_PARTS = 2, 4 << 20
"""Parts of the samples that are added up in threads of their own, where there are so many bytes: sums of integers are
exact."""

_ROWS = 128
"""Rows that are added up in float32."""


class PatchSums:
    """Sums over samples and positions of the values that a window holds.

    Args:
        window: how a layer moves over its input.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._sums: Array | float = 0.0
        self._count = 0

    def add(self, values: Array, samples: int = 1, zero_point: int = 0) -> None:
        """A sample, or the sum of several.

        Args:
            values: floating-point, [batch, height, width, channels] or [..., channels].
            samples: how many they are the sum of.
            zero_point: what stands for 0 in one sample.
        """
        if self._window.kernel is None:
            rows = values.reshape(-1, self._window.inputs)
            sums, inside = _middle_sums(rows[None])[0], np.array(len(rows))
            positions = len(rows)
        else:
            whole = spread_out(values, self._window, samples * zero_point)
            sums, inside, positions = _tap_sums(whole, self._window)
        self._sums = self._sums + (sums - samples * zero_point * inside[..., None])
        self._count += samples * positions

    def merge(self, other: PatchSums) -> None:
        """Take over what `other` has added up."""
        self._sums = self._sums + other._sums
        self._count += other._count

    def mean(self) -> Array:
        """The mean, [G, K] in float64."""
        mean = np.asarray(self._sums / self._count)
        return mean[None] if self._window.kernel is None else grouped(mean[None], self._window.groups)[:, 0]


def mean_patch(samples: Sequence[Array], window: Window, params: QuantParams | None = None) -> Array:
    """The mean over samples and positions, [G, K] in float64.

    Args:
        samples: a layer's input in each sample, [batch, height, width, channels] or [..., channels].
        window: how the layer moves over it.
        params: of integer values.
    """
    sums = PatchSums(window)
    if params is None:
        for values in samples:
            sums.add(values)
        return sums.mean()
    small = samples[0].itemsize == 1 and len(samples) <= _INT16_SAMPLES
    parts = _PARTS if sum(values.nbytes for values in samples) >= _WORTH_PARTS else 1

    def total(first: int) -> Array:
        found = np.zeros(samples[0].shape, np.int16 if small else np.int64)
        for values in samples[first::parts]:
            found += values
        return found

    if parts == 1:
        whole = total(0)
    else:
        with ThreadPoolExecutor(parts) as pool:
            whole = reduce(np.add, pool.map(total, range(parts)))
    sums.add(whole.astype(np.float64), len(samples), params.zero_point)
    return sums.mean() * params.scale


def _tap_sums(values: Array, window: Window) -> tuple[Array, Array, int]:
    """Sums over batch and positions, [taps, channels]; how many positions each tap has inside; positions.

    A tap reads a grid of rows and columns, so that rows are added up first, and then columns.
    """
    assert window.kernel is not None
    batch, height, width, channels = values.shape
    rows, columns = (
        _reads(size, window.kernel[axis], window.strides[axis], window.dilation[axis], same=window.same)
        for axis, size in enumerate((height, width))
    )
    added = rows.summed(values.reshape(batch, height, -1)).sum(0)
    sums = columns.summed(added.reshape(rows.taps, width, channels)).reshape(-1, channels)
    inside = batch * rows.inside[:, None] * columns.inside
    return sums, inside.reshape(-1), batch * rows.positions * columns.positions


@dataclass(frozen=True, eq=False)
class _Reads:
    """Which places of an axis each tap of a kernel reads.

    Attributes:
        parts: the places, those that the same taps read together.
        read: whether a tap reads a part, [taps, parts] of 0 and 1.
        inside: how many places each tap reads, [taps].
        positions: how many positions the kernel takes; where it overlaps the border, a tap reads fewer places.
    """

    parts: tuple[slice | Array, ...]
    read: Array
    inside: Array
    positions: int

    @property
    def taps(self) -> int:
        """The size of the kernel."""
        return len(self.read)

    def summed(self, values: Array) -> Array:
        """[before, size, after] -> [before, taps, after] in float64: for each tap, the sum over what it reads."""
        parts = np.stack([_middle_sums(values[:, part]) for part in self.parts], axis=1)
        return np.asarray(np.matmul(self.read, parts))


@lru_cache(maxsize=256)
def _reads(size: int, kernel: int, stride: int, dilation: int, *, same: bool) -> _Reads:
    before, after = same_padding(size, kernel, stride, dilation) if same else (0, 0)
    positions = (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
    places = np.arange(kernel)[:, None] * dilation - before + np.arange(positions) * stride
    reads = np.zeros((kernel, size))
    tap, number = np.nonzero((places >= 0) & (places < size))
    reads[tap, places[tap, number]] = 1
    read, members = np.unique(reads, axis=1, return_inverse=True)
    parts = tuple(_regular(np.flatnonzero(members.reshape(-1) == number)) for number in range(read.shape[1]))
    return _Reads(parts, read, reads.sum(1).astype(int), positions)


def _regular(places: Array) -> slice | Array:
    """Places at equal distances as a slice, which reads without a copy."""
    steps = np.diff(places)
    if len(steps) and (steps != steps[0]).any():
        return places
    return slice(int(places[0]), int(places[-1]) + 1, int(steps[0]) if len(steps) else 1)


def _middle_sums(values: Array) -> Array:
    """[before, size, after] -> [before, after] in float64."""
    parts = [values[:, at : at + _ROWS].sum(1).astype(np.float64) for at in range(0, values.shape[1], _ROWS)]
    return np.asarray(sum(parts[1:], start=parts[0]))
