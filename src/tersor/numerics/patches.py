"""What a layer's weights are multiplied with: windows of its input as rows, and their mean and covariance.

A layer is a matrix product per group: ``y[g] = W[g] x[g] + b[g]`` with W [G, O, K], x [G, K]. A convolution has as many
groups as its input has slices of channels (usually one) and K = height x width x channels of a slice; a depthwise
convolution has a group per channel; a dense layer one group and no window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams


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
    """

    kernel: tuple[int, int] | None = None
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    same: bool = False
    groups: int = 1
    inputs: int = 0


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """How many zeros SAME adds before and after an axis."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def mean_patch(samples: Sequence[Array], window: Window, params: QuantParams | None = None) -> Array:
    """The mean over samples and positions, [G, K] in float64.

    Args:
        samples: a layer's input in each sample, [batch, height, width, channels] or [..., channels].
        window: how the layer moves over it.
        params: of integer values.
    """
    total = np.zeros(samples[0].shape, np.float64 if samples[0].dtype.kind == "f" else np.int64)
    for values in samples:
        total += values
    mean = total / len(samples)
    if params is not None:
        mean = (mean - params.zero_point) * params.scale
    if window.kernel is None:
        return np.asarray(mean.reshape(-1, window.inputs).mean(0)[None])
    padded, (rows, columns) = _padded(mean, window)
    (kernel_h, kernel_w), (stride_h, stride_w), (step_h, step_w) = window.kernel, window.strides, window.dilation
    taps = [
        padded[:, i : i + (rows - 1) * stride_h + 1 : stride_h, j : j + (columns - 1) * stride_w + 1 : stride_w].mean(
            (0, 1, 2)
        )
        for i in range(0, kernel_h * step_h, step_h)
        for j in range(0, kernel_w * step_w, step_w)
    ]
    return _grouped(np.stack(taps)[None], window.groups)[:, 0]


def covariance(
    samples: Sequence[Array], window: Window, params: QuantParams | None = None, positions: int = 4096
) -> Array:
    """The covariance of the K values of a window, [G, K, K] in float64.

    Args:
        samples: see `mean_patch`.
        window: see `mean_patch`.
        params: see `mean_patch`.
        positions: of all positions in all samples, at most about so many are looked at, spread evenly.
    """
    border = 0 if params is None else params.zero_point
    sums = _Sums()
    for own in _patches(samples, window, border, -(-positions // len(samples))):
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
        samples: see `mean_patch`.
        others: the same values of the float network, sample by sample.
        window: see `mean_patch`.
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


def rows(samples: Sequence[Array], window: Window, params: QuantParams | None = None, positions: int = 4096) -> Array:
    """What the weights are multiplied with at some positions, [G, positions, K] in float32; see `covariances`."""
    border = 0 if params is None else params.zero_point
    found = np.concatenate(list(_patches(samples, window, border, -(-positions // len(samples)))), axis=1)
    return found if params is None else np.asarray((found - border) * np.float32(params.scale))


def _patches(samples: Sequence[Array], window: Window, border: int, positions: int) -> Iterator[Array]:
    """For each sample, windows at some positions: [G, positions, K] in float32, integers as they are stored."""
    generator = np.random.default_rng(0)
    for values in samples:
        if window.kernel is None:
            rows = values.reshape(-1, window.inputs)
            yield rows[_some(generator, len(rows), positions)][None].astype(np.float32)
            continue
        padded, (height, width) = _padded(values, window, border)
        chosen = _some(generator, padded.shape[0] * height * width, positions)
        batch, place = np.divmod(chosen, height * width)
        top, left = np.divmod(place, width)
        taps = np.indices(window.kernel).reshape(2, -1)
        rows = (top * window.strides[0])[:, None] + taps[0] * window.dilation[0]
        columns = (left * window.strides[1])[:, None] + taps[1] * window.dilation[1]
        yield _grouped(padded[batch[:, None], rows, columns], window.groups).astype(np.float32)


def _some(generator: np.random.Generator, total: int, wanted: int) -> Array:
    """At most `wanted` of `total` places, in order."""
    return np.arange(total) if total <= wanted else np.sort(generator.choice(total, wanted, replace=False))


def _padded(values: Array, window: Window, border: int = 0) -> tuple[Array, tuple[int, int]]:
    """The input with its border of that value, and how many positions the window takes along each axis."""
    assert window.kernel is not None
    pads, counts = [(0, 0)], []
    for axis, size in enumerate(values.shape[1:3]):
        kernel, stride, dilation = window.kernel[axis], window.strides[axis], window.dilation[axis]
        pads.append(same_padding(size, kernel, stride, dilation) if window.same else (0, 0))
        counts.append((size + sum(pads[-1]) - (kernel - 1) * dilation - 1) // stride + 1)
    return np.pad(values, (*pads, (0, 0)), constant_values=border), (counts[0], counts[1])


def _grouped(patches: Array, groups: int) -> Array:
    """[positions, taps, channels] -> [groups, positions, taps x channels of a group]."""
    positions, taps, channels = patches.shape
    split = patches.reshape(positions, taps, groups, channels // groups)
    return split.transpose(2, 0, 1, 3).reshape(groups, positions, -1)
