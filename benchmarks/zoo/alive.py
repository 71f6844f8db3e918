"""Random weights that behave like trained ones: in range, different for different images, not chaotic, and confident.

No trained weights are at hand without a download, and Keras's initial ones are dead or wild in ways that tell nothing:
batch normalizations with statistics 0 and 1 let activations grow or vanish with depth, ConvNeXt's branches are scaled
by 1e-6, and the classifier's answer is 1/1000 for every class.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

BRANCH = 0.2
"""Factor on the last normalization (or convolution) of a residual branch. Trained networks have small ones there;
training often starts at 0 (Goyal et al. 2017). With 1, rounding errors grow from block to block."""

CONFIDENCE = 0.7
"""Median over the images of the most probable class's probability."""

SMOOTHNESS = 0.5
"""Share of a spatial kernel's variance that all its taps have in common. With independent taps every image looks
like noise after a few layers, the average over the picture is the same for all, and the classifier has to magnify what
is left, with the rounding errors in it."""

BETA = (0.6, 0.3)
"""Mean and standard deviation of the offsets of normalizations: more than half of the units are active, as far as ReLU
goes, so that differences are passed on rather than magnified."""

SCALED_ON = 8
"""Images that the layers of a network without normalizations are scaled on."""

DIRECTIONS = 4
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_VARIANCE = (0.229**2, 0.224**2, 0.225**2)

Array = np.ndarray[Any, np.dtype[np.float32]]


def enliven(model: keras.Model, images: Array, seed: int, *, norms: bool) -> None:
    """Set the weights of an application that was made with `weights=None`.

    Args:
        model: changed in place.
        images: ``[count, height, width, 3]``, preprocessed: statistics are taken from them.
        seed: of the random weights.
        norms: whether the network has normalizations; without them it is a chain, whose kernels are drawn anew (He et
            al. 2015) and scaled one after the other (Mishkin and Matas 2016).
    """
    draw = np.random.default_rng(seed)
    for layer in model.layers:
        _set_layer(layer, draw, norms=norms)
    for addition in (layer for layer in model.layers if isinstance(layer, keras.layers.Add)):
        _quieten_branch(addition)
    if not norms:
        _set_scales(model, images[:SCALED_ON])
    features = _set_statistics(model, images)
    _set_classifier(model, features.reshape(len(images), -1))


def _set_layer(layer: Any, draw: np.random.Generator, *, norms: bool) -> None:
    if isinstance(layer, keras.layers.BatchNormalization | keras.layers.LayerNormalization):
        if layer.gamma is not None:  # Inception's have none
            layer.gamma.assign(draw.uniform(0.7, 1.3, layer.gamma.shape))
        layer.beta.assign(draw.normal(*BETA, layer.beta.shape))
    elif isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
        layer.adapt_mean.assign(IMAGENET_MEAN)
        layer.adapt_variance.assign(IMAGENET_VARIANCE)
        layer.finalize_state()
    elif type(layer).__name__ == "LayerScale":  # ConvNeXt's, of a private module
        layer.gamma.assign(BRANCH * draw.uniform(0.7, 1.3, layer.gamma.shape))
    elif not norms and hasattr(layer, "kernel"):
        fan_in = np.prod(layer.kernel.shape[:-1])
        layer.kernel.assign(draw.normal(0, np.sqrt(2 / fan_in), layer.kernel.shape))
        layer.bias.assign(draw.normal(0, 0.1, layer.bias.shape))
    for name in ("kernel", "depthwise_kernel"):
        if hasattr(layer, name) and len(getattr(layer, name).shape) == 4:
            _smooth(getattr(layer, name), draw)


def _smooth(kernel: Any, draw: np.random.Generator) -> None:
    """Give the taps of a kernel ``[height, width, in, out]`` something in common, its variance unchanged."""
    height, width, *channels = kernel.shape
    if height * width > 1:
        values = keras.ops.convert_to_numpy(kernel)
        common = draw.normal(0, values.std(), (1, 1, *channels))
        kernel.assign(np.sqrt(SMOOTHNESS) * common + np.sqrt(1 - SMOOTHNESS) * values)


def _set_scales(model: keras.Model, images: Array) -> None:
    """Let the result of each layer of a chain have a root mean square of 1.

    Smooth kernels answer smooth images with more than their variance says; after 16 such layers activations would be
    too large, and the classifier's weights too small, for float16.
    """
    values: Any = keras.ops.convert_to_tensor(images)
    for layer in model.layers[1:-1]:
        results = layer(values, training=False)
        if hasattr(layer, "kernel"):
            size = float(np.sqrt(np.mean(np.square(keras.ops.convert_to_numpy(results)))))
            layer.kernel.assign(layer.kernel / size)
            results = layer(values, training=False)
        values = results


def _quieten_branch(addition: Any) -> None:
    """Scale what a residual branch ends in, if the other input of the addition is a shortcut without weights."""
    ends = [_end(tensor) for tensor in addition.input]
    branches = [layer for layer in ends if layer is not None]
    if len(branches) == 1 and len(ends) == 2:
        layer = branches[0]
        for weight in (layer.gamma, layer.beta) if hasattr(layer, "gamma") else (layer.kernel,):
            weight.assign(weight * BRANCH)


def _end(tensor: Any) -> Any:
    """The batch normalization or convolution that a tensor comes from, dropout passed by; else None."""
    layer = tensor._keras_history.operation
    if isinstance(layer, keras.layers.Dropout):
        return _end(layer.input)
    return layer if isinstance(layer, keras.layers.BatchNormalization | keras.layers.Conv2D) else None


def _set_statistics(model: keras.Model, images: Array) -> Array:
    """Give each batch normalization the mean and variance that it sees, in order of computation; return the features.

    One pass in training mode without memory (momentum 0) and without dropout: each normalization sees what those before
    it have normalized already.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    usual = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    rates = {layer: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    drop_paths = {layer: layer.drop_path_rate for layer in model.layers if type(layer).__name__ == "StochasticDepth"}
    for layer in rates:
        layer.rate = 0.0
    for layer in drop_paths:
        layer.drop_path_rate = 0.0
    body = keras.Model(model.input, classifier(model).input)

    features = _trained_once(body, images)
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
    for layer, rate in rates.items():
        layer.rate = rate
    for layer, rate in drop_paths.items():
        layer.drop_path_rate = rate
    return features


def _trained_once(body: keras.Model, images: Array) -> Array:
    """What the network answers in training mode, in one batch."""
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():
            return np.asarray(keras.ops.convert_to_numpy(body(images, training=True)))
    import tensorflow as tf

    @tf.function  # frees each activation after its last use, which eager execution does not
    def run(batch: Any) -> Any:
        return body(batch, training=True)

    return np.asarray(run(tf.constant(images)))


def classifier(model: keras.Model) -> Any:
    """The last layer with a kernel: dense, or a 1x1 convolution (MobileNet)."""
    return next(layer for layer in reversed(model.layers) if hasattr(layer, "kernel"))


def _set_classifier(model: keras.Model, features: Array) -> None:
    """A classifier that looks at the directions in which features differ most, as one learns to, with usual confidence.

    A random one follows directions in which nothing but rounding noise differs, and the mean, so that it answers the
    same class for nearly every image.

    Args:
        model: changed in place.
        features: ``[images, channels]``.
    """
    layer = classifier(model)
    mean = features.mean(0)
    count = min(DIRECTIONS, len(features) - 1)
    directions = np.linalg.svd(features - mean, full_matrices=False)[2][:count]
    kernel = directions.T @ (directions @ keras.ops.convert_to_numpy(layer.kernel).reshape(features.shape[1], -1))
    logits = (features - mean) @ kernel
    kernel = kernel * _sharpness(logits)
    layer.kernel.assign(kernel.reshape(layer.kernel.shape))
    layer.bias.assign(-mean @ kernel)


def _sharpness(logits: Array) -> np.float32:
    """The factor on logits ``[images, classes]`` that makes the median confidence `CONFIDENCE`."""
    low, high = 1e-6, 1e6
    for _ in range(60):
        middle = np.sqrt(low * high)
        scaled = middle * (logits - logits.max(-1, keepdims=True)).astype(np.float64)
        confident = np.median(1 / np.exp(scaled).sum(-1)) > CONFIDENCE
        low, high = (low, middle) if confident else (middle, high)
    return np.float32(low)
