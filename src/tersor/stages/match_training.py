"""Whether samples are normalized as those were that a model was trained on, by its first batch normalization.

That layer remembers mean and variance of what it was given. Where only a convolution lies between it and the input,
both can be computed for samples, and for the same samples normalized in another usual way. If another way fits far
better, that is how they were to be normalized. What fits is measured by the Kullback-Leibler divergence of the two
normal distributions of a channel, in the median over channels: MobileNetV1 has 0.02 to 0.05 on photos as it wants them,
0.9 on the same in 0..1, 25,000 in 0..255, and 1.8 on dark photos, which no other way makes better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tersor.ir.graph import Array, Graph, Op, Tensor
from tersor.ir.normal import Normal

_POSITIONS = 24
"""Of each axis of a sample, at most so many positions of the window."""

_BAD, _GOOD = 0.3, 0.15
"""Divergences from which samples do not fit, and up to which they do."""

_BETTER = 5.0
"""How many times better another way has to fit."""

_SLACK = 1e-3
"""By which values may leave the range that is told, as a share of it: resizing overshoots."""


@dataclass(frozen=True)
class _Way:
    """Another normalization: of which values, what it does to them, and how that is said."""

    low: float
    high: float
    factor: Array
    offset: Array
    is_reversed: bool
    said: str

    def of(self, values: Array) -> Array:
        """Values normalized in this way, channels last."""
        return np.asarray((values[..., ::-1] if self.is_reversed else values) * self.factor + self.offset)

    def fits(self, low: float, high: float) -> bool:
        """Whether values of this range can be what it is meant for: as wide, or more than half."""
        width = self.high - self.low
        return self.low - _SLACK * width <= low and self.high - width / 2 < high <= self.high + _SLACK * width


def _way(low: float, high: float, factor: object, offset: object, said: str, *, is_reversed: bool = False) -> _Way:
    return _Way(low, high, np.asarray(factor, np.float32), np.asarray(offset, np.float32), is_reversed, said)


_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet in 0..1, by which most image networks of PyTorch are normalized."""

_CAFFE = np.array([-103.939, -116.779, -123.68])
"""Means of ImageNet's blue, green and red, which networks that were trained in Caffe subtract from 0..255."""

_SYMMETRIC = "to -1..1 (of bytes: --mean 127.5 --std 127.5)"
_UNIT = "to 0..1 (of bytes: --rescale 1/255)"
_BYTES = "to 0..255 (of bytes: neither --rescale nor --mean)"
_IMAGENET = "by mean and deviation (of bytes: --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375)"

_WAYS = (
    _way(0, 1, 2, -1, _SYMMETRIC),
    _way(0, 1, 255, 0, _BYTES),
    _way(0, 1, 1 / _STD, -_MEAN / _STD, _IMAGENET),
    _way(0, 255, 1 / 127.5, -1, _SYMMETRIC),
    _way(0, 255, 1 / 255, 0, _UNIT),
    _way(0, 255, 1 / (255 * _STD), -_MEAN / _STD, _IMAGENET),
    _way(0, 255, 1, _CAFFE, "as x - 103.939,116.779,123.68, x with its channels in reverse", is_reversed=True),
    _way(-1, 1, 0.5, 0.5, _UNIT),
    _way(-1, 1, 127.5, 127.5, _BYTES),
    _way(-0.5, 0.5, 2, 0, _SYMMETRIC),
)


def match_training(samples: Sequence[Array], graph: Graph) -> str | None:
    """The sentence that says that samples were to be normalized otherwise; None where nothing speaks for it.

    Args:
        samples: as the model gets them, with or without a batch of one.
        graph: as it was read.
    """
    found = _first_layer(graph)
    if found is None or not samples:
        return None
    conv, factor, offset, trained = found
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    fitting = [np.asarray(item, np.float32) for item in samples if item.size == np.prod(shape)]
    if not fitting:
        return None
    values = np.stack([item.reshape(shape) for item in fitting])
    if not np.isfinite(values).all():
        return None
    low, high = float(values.min()), float(values.max())
    windows = _windows(values, graph, conv)

    def divergence(given: Array) -> float:
        return _divergence(_products(given * factor + offset, graph, conv), trained)

    as_is = divergence(windows)
    if as_is < _BAD:
        return None
    others = [way for way in _WAYS if way.fits(low, high) and way.offset.size in (1, values.shape[-1])]
    fits = [(divergence(way.of(windows)), way) for way in others]
    best, way = min(fits, key=lambda item: item[0], default=(np.inf, None))
    if way is None or best > _GOOD or best * _BETTER > as_is:
        return None
    return (
        f"samples lie in {low:.4g}..{high:.4g}, and the model's first batch normalization was trained on others: they "
        f"would fit if normalized {way.said}"
    )


def _first_layer(graph: Graph) -> tuple[Op, Array, Array, Normal] | None:
    """The convolution between the input and a batch normalization, and what a graph does to its input before it."""
    if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 4:
        return None
    name, factor, offset = graph.inputs[0], np.ones(1, np.float32), np.zeros(1, np.float32)
    while (op := graph.sole_reader(name)) is not None:
        others = [graph.tensors[item] for item in op.present_inputs if item != name]
        data = [tensor.data for tensor in others if tensor.data is not None]
        if op.kind in ("MUL", "ADD") and len(data) == 1 and data[0].size in (1, graph.tensors[name].shape[-1]):
            values = np.asarray(data[0], np.float32).reshape(-1)
            factor = factor * values if op.kind == "MUL" else factor
            offset = offset * values if op.kind == "MUL" else offset + values
        elif op.kind == "CONV_2D":
            weights, result = graph.operand(op, 1), op.outputs[0]
            trained = graph.tensors[result].normal
            if trained is None or weights is None or not _is_read(op, weights, graph.tensors[graph.inputs[0]]):
                return None
            return op, factor, offset, trained
        elif op.kind != "PAD":
            return None
        name = op.outputs[0]
    return None


def _is_read(conv: Op, weights: Tensor, values: Tensor) -> bool:
    """Whether a convolution is one of whole windows without gaps."""
    dilations = {conv.option(key, 1) for key in ("dilation_h_factor", "dilation_w_factor")}
    fits = weights.shape[1] <= values.shape[1] and weights.shape[2] <= values.shape[2]
    return weights.data is not None and dilations <= {0, 1} and fits and weights.shape[3] == values.shape[3]


def _windows(values: Array, graph: Graph, conv: Op) -> Array:
    """What the convolution sees inside of samples, not at their borders: [positions, height, width, channels]."""
    weights = graph.operand(conv, 1)
    assert weights is not None
    _, height, width, _ = weights.shape
    seen = sliding_window_view(values, (height, width), axis=(1, 2))
    steps = [max(1, size // _POSITIONS) for size in seen.shape[1:3]]
    chosen = seen[:, :: steps[0], :: steps[1]]
    return np.moveaxis(chosen, 3, -1).reshape(-1, *chosen.shape[4:], values.shape[-1])


def _products(windows: Array, graph: Graph, conv: Op) -> Array:
    """What the convolution makes of them: [positions, channels]."""
    weights, bias = graph.operand(conv, 1), graph.operand(conv, 2)
    assert weights is not None
    assert weights.data is not None
    found = windows.reshape(len(windows), -1) @ weights.data.reshape(weights.shape[0], -1).T
    return np.asarray(found if bias is None or bias.data is None else found + bias.data)


def _divergence(values: Array, trained: Normal) -> float:
    """Of the channels' normal distributions from those that were trained on, in the median."""
    mean, variance = values.mean(0, dtype=np.float64), values.var(0, dtype=np.float64)
    wanted, spread = np.array(trained.mean), np.square(trained.deviation)
    alive = spread > 1e-6 * spread.max(initial=0)
    ratio = np.maximum(variance[alive] / spread[alive], 1e-12)
    shift = (mean - wanted)[alive] ** 2 / spread[alive]
    return float(np.median((ratio + shift - 1 - np.log(ratio)) / 2)) if alive.any() else 0.0
