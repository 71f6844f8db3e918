"""What a layer's weights are multiplied with: windows of its input as rows.

A layer is a matrix product per group: ``y[g] = W[g] x[g] + b[g]`` with W [G, O, K], x [G, K]. A convolution has as many
groups as its input has slices of channels (usually one) and K = height x width x channels of a slice; a depthwise
convolution has a group per channel; a dense layer one group and no window. A transposed convolution is a convolution,
with its kernel turned by half a turn, of its input spread among zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tersor.ir.graph import Array


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


def rows(samples: Sequence[Array], window: Window, border: int = 0, positions: int = 4096) -> Array:
    """What the weights are multiplied with at some positions, [G, positions, K], integers as they are stored.

    For the arguments see `covariances.covariance` and `patches`.
    """
    places = drawn(samples, window, -(-positions // len(samples)))
    return np.concatenate(
        [_windows(values, window, border, own) for values, own in zip(samples, places, strict=True)], axis=1
    )


def drawn(samples: Sequence[Array], window: Window, positions: int) -> list[Array]:
    """For each sample, some of the positions that a window takes on it, at most so many, in order."""
    generator = np.random.default_rng(0)
    return [_some(generator, _positions(values, window), positions) for values in samples]


def patches(values: Array, window: Window, border: int, places: Array) -> Array:
    """Windows of a sample at some positions: [G, positions, K] in float32, integers as they are stored.

    Args:
        values: a layer's input, see `patch_sums.mean_patch`.
        window: how the layer moves over it.
        border: what stands for 0.
        places: the positions.
    """
    return _windows(values, window, border, places).astype(np.float32)


def _windows(values: Array, window: Window, border: int, places: Array) -> Array:
    if window.kernel is None:
        return np.asarray(values.reshape(-1, window.inputs)[places][None])
    return grouped(taps(values, window, border, places).transpose(1, 0, 2), window.groups)


def taps(values: Array, window: Window, border: int, places: Array) -> Array:
    """Windows of a sample at some positions, tap by tap: [taps, positions, channels]; see `patches`."""
    assert window.kernel is not None
    spread = spread_out(values, window, border)
    _, *sizes, channels = spread.shape
    own_taps = np.indices(window.kernel).reshape(2, -1, 1)
    pads, counts = zip(*(_steps(size, window, axis) for axis, size in enumerate(sizes)), strict=True)
    image, place = np.divmod(places, counts[0] * counts[1])
    outside, flat = np.array(False), image
    for axis, start in enumerate(np.divmod(place, counts[1])):
        own = start * window.strides[axis] + own_taps[axis] * window.dilation[axis] - pads[axis]
        inside = np.clip(own, 0, sizes[axis] - 1)
        outside, flat = outside | (inside != own), flat * sizes[axis] + inside
    found = spread.reshape(-1, channels).take(flat, axis=0)
    found[outside] = border
    return found


def _positions(values: Array, window: Window) -> int:
    """How many positions a window takes on a sample."""
    if window.kernel is None:
        return values.size // window.inputs
    sizes = values.shape[1:3] if window.spread is None else tuple(axis.size for axis in window.spread)
    counts = (_steps(size, window, axis)[1] for axis, size in enumerate(sizes))
    return int(np.prod([values.shape[0], *counts]))


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
