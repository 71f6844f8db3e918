"""Small float models that several test modules share, made by hand, and where the real ones lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.graph import Array, Model
from tersor.observers._extremes import Extremes
from tersor.observers.min_max import Observer
from tersor.stages.statistics import Statistics

DEMO = Path(__file__).parents[1] / "demo" / "fashion_mnist.tflite"
DEMO_DATA = DEMO.with_name("fashion_mnist_calibration.npz")
SHARED = Path(__file__).parents[2] / "shared" / "data"
"""Models and data that lie beside the repository on some machines; tests that need them skip elsewhere."""

RELU = 1
"""Code of the fused activation (`schema.fbs`, `enum ActivationFunctionType`)."""


def shared_file(name: str) -> Path:
    """A file of `SHARED`; skips the test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    return path


def through_file(model: Model) -> Model:
    """The model as read from a file, so that its options are complete."""
    return tflite.read_bytes(tflite.write_bytes(model))


def random(shape: Sequence[int], seed: int = 0, low: float = -1.0, high: float = 1.0) -> Array:
    """Uniform float32 values."""
    return np.random.default_rng(seed).uniform(low, high, tuple(shape)).astype(np.float32)


def conv(builder: Builder, x: str, channels: int, name: str = "conv", **options: int) -> str:
    """A 3x3 convolution with a bias that keeps height and width."""
    _, height, width, depth = builder.shape_of(x)
    weights = builder.constant(f"{name}/weights", random([channels, 3, 3, depth], seed=channels))
    bias = builder.constant(f"{name}/bias", random([channels], seed=channels + 1))
    shape = [1, height, width, channels]
    return builder.op("CONV_2D", [x, weights, bias], shape, {"stride_w": 1, "stride_h": 1, **options}, name=name)


def dense(builder: Builder, x: str, units: int, name: str = "dense") -> str:
    """A fully connected layer with a bias."""
    depth = builder.shape_of(x)[-1]
    weights = builder.constant(f"{name}/weights", random([units, depth], seed=units))
    bias = builder.constant(f"{name}/bias", random([units], seed=units + 1))
    return builder.op("FULLY_CONNECTED", [x, weights, bias], [1, units], name=name)


def classifier() -> Model:
    """x [1,6,6,3] -> CONV_2D with ReLU -> MEAN -> FULLY_CONNECTED -> SOFTMAX, `scores` [1,5]."""
    builder = Builder("classifier")
    x = builder.input("x", [1, 6, 6, 3])
    y = conv(builder, x, 8, fused_activation_function=RELU)
    y = builder.op("MEAN", [y, builder.constant("axes", [1, 2])], [1, 8], name="mean")
    y = dense(builder, y, 5)
    return through_file(builder.model([builder.op("SOFTMAX", [y], [1, 5], {"beta": 1.0}, name="scores")]))


def of_classes(count: int) -> Model:
    """x [1,6,6,3] -> MEAN -> FULLY_CONNECTED, a score [1, count] for each class."""
    builder = Builder("scores")
    y = builder.op("MEAN", [builder.input("x", [1, 6, 6, 3]), builder.constant("axes", [1, 2])], [1, 3])
    return through_file(builder.model([dense(builder, y, count)]))


def images(count: int, seed: int = 0) -> Array:
    """Inputs of `classifier`, [count,6,6,3]."""
    return random([count, 6, 6, 3], seed)


def unknown_operator() -> Model:
    """x [1,4] -> FULLY_CONNECTED -> COS, which has no integer kernel."""
    builder = Builder("cosine")
    y = dense(builder, builder.input("x", [1, 4]), 4)
    return through_file(builder.model([builder.op("COS", [y], [1, 4], name="wave")]))


def statistics(ranges: Mapping[str, tuple[float, float]]) -> Statistics:
    """What a calibration would know that saw these ranges."""
    return Statistics({name: Observer(Extremes(*bounds, samples=1)) for name, bounds in ranges.items()}, 100)
