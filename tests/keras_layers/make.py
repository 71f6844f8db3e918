"""Writes `cases.zip`: small models of every layer that is read, as Keras itself saves them, with what it answers.

Run where Keras 3 is installed: python tests/keras_layers/make.py. The tests need the archive only.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers as L  # noqa: N812
from keras import ops

IMAGE, ROW, SEQUENCE = (9, 7, 4), (6,), (8, 4)

ACTIVATIONS = [
    "elu",
    "exponential",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]

ON_IMAGES: dict[str, Callable[[Any], Any]] = {
    "conv2d": L.Conv2D(5, 3, activation="relu"),
    "conv2d_same_strided": L.Conv2D(5, (3, 2), strides=2, padding="same", use_bias=False),
    "conv2d_dilated": L.Conv2D(3, 3, dilation_rate=2, padding="same", activation="swish"),
    "conv2d_grouped": L.Conv2D(6, 3, groups=2, padding="same"),
    "depthwise": L.DepthwiseConv2D(3, padding="same", activation="relu6"),
    "depthwise_multiplied": L.DepthwiseConv2D(3, depth_multiplier=3, strides=2),
    "separable": L.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, activation="tanh"),
    "transposed_same": L.Conv2DTranspose(3, 3, strides=2, padding="same"),
    "transposed_valid": L.Conv2DTranspose(3, (3, 2), strides=2, activation="relu"),
    "transposed_sparse": L.Conv2DTranspose(3, 2, strides=3),
    "max_pool": L.MaxPooling2D(2),
    "max_pool_same": L.MaxPooling2D(3, strides=2, padding="same"),
    "average_pool": L.AveragePooling2D((3, 2), strides=1),
    "average_pool_same": L.AveragePooling2D(3, strides=2, padding="same"),
    "global_average": L.GlobalAveragePooling2D(),
    "global_average_kept": L.GlobalAveragePooling2D(keepdims=True),
    "global_max": L.GlobalMaxPooling2D(),
    "batch_normalization": L.BatchNormalization(),
    "batch_normalization_bare": L.BatchNormalization(scale=False, center=False, epsilon=1e-5),
    "layer_normalization": L.LayerNormalization(),
    "layer_normalization_axes": L.LayerNormalization(axis=(1, 2, 3), scale=False),
    "rms_normalization": L.RMSNormalization(),
    "group_normalization": L.GroupNormalization(groups=2),
    "instance_normalization": L.GroupNormalization(groups=-1),
    "unit_normalization": L.UnitNormalization(),
    "normalization": L.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 0.5, 0.0]),
    "normalization_inverse": L.Normalization(mean=0.5, variance=4.0, invert=True),
    "rescaling": L.Rescaling(0.5, offset=[0.0, 1.0, 2.0, 3.0]),
    "zero_padding": L.ZeroPadding2D(((1, 2), (0, 3))),
    "cropping": L.Cropping2D(((1, 2), (0, 3))),
    "up_sampling": L.UpSampling2D((2, 3)),
    "up_sampling_bilinear": L.UpSampling2D(2, interpolation="bilinear"),
    "resizing": L.Resizing(5, 11),
    "resizing_nearest": L.Resizing(13, 5, interpolation="nearest"),
    "flatten": L.Flatten(),
    "reshape": L.Reshape((-1, 4)),
    "permute": L.Permute((3, 1, 2)),
    "dense_on_images": L.Dense(3, activation="sigmoid"),
    "prelu": L.PReLU(shared_axes=[1, 2]),
    "prelu_everywhere": L.PReLU(),
    "softmax_axis": L.Softmax(axis=1),
    "relu": L.ReLU(),
    "relu_six": L.ReLU(6.0),
    "relu_limited": L.ReLU(1.5),
    "relu_leaking": L.ReLU(negative_slope=0.25),
    "relu_leaking_limited": L.ReLU(max_value=1.0, negative_slope=0.25),
    "leaky_relu": L.LeakyReLU(0.15),
    "elu": L.ELU(),
    "elu_scaled": L.ELU(0.5),
    "dropout": L.Dropout(0.5),
    "spatial_dropout": L.SpatialDropout2D(0.5),
    "gaussian_noise": L.GaussianNoise(1.0),
    "random_flip": L.RandomFlip(),
}
ON_IMAGES |= {f"activation_{name}": L.Activation(name) for name in ACTIVATIONS}
ON_IMAGES |= {
    "ops_arithmetic": lambda x: (x + 3.0) * 2.0 - x / 4.0,
    "ops_reversed": lambda x: 1.0 / (ops.exp(x) + 1.0) - (2.0 - x),
    "ops_extremes": lambda x: ops.maximum(ops.minimum(x, 0.5), -0.5),
    "ops_relu6": lambda x: x * ops.relu6(x + 3.0) * (1 / 6),
    "ops_hard_swish": lambda x: x * (ops.relu6(x + 3.0) * (1 / 6)),
    "ops_mean": lambda x: ops.mean(x, axis=(1, 2), keepdims=True),
    "ops_max": lambda x: ops.max(x, axis=-1),
    "ops_reshape": lambda x: ops.reshape(x, (-1, 63, 4)),
    "ops_transpose": lambda x: ops.transpose(x, (0, 3, 1, 2)),
    "ops_concatenate": lambda x: ops.concatenate([x, ops.abs(x)], axis=-1),
    "ops_softmax": lambda x: ops.softmax(x, axis=-1),
    "ops_functions": lambda x: ops.sigmoid(x) + ops.tanh(x) + ops.silu(x) + ops.gelu(x) + ops.leaky_relu(x, 0.3),
    "ops_roots": lambda x: ops.sqrt(ops.abs(x)) + ops.log(ops.abs(x) + 1.0) + ops.rsqrt(ops.exp(x)),
    "pad_then_convolve": lambda x: L.Conv2D(3, 3)(L.ZeroPadding2D(1)(x)),
    "pad_then_convolve_strided": lambda x: L.Conv2D(3, 3, strides=2)(L.ZeroPadding2D(1)(x)),
    "convolve_normalize_activate": lambda x: L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(5, 3, padding="same")(x))),
    "normalize_then_convolve": lambda x: L.Conv2D(5, 3)(L.BatchNormalization()(x)),
    "normalize_then_convolve_same": lambda x: L.Conv2D(5, 3, padding="same")(L.BatchNormalization()(x)),
    "normalize_then_depthwise": lambda x: L.DepthwiseConv2D(3, depth_multiplier=2)(L.BatchNormalization()(x)),
    "normalize_then_grouped": lambda x: L.Conv2D(4, 3, groups=2)(L.BatchNormalization()(x)),
    "transpose_normalize": lambda x: L.BatchNormalization()(L.Conv2DTranspose(3, 3, strides=2)(x)),
    "squeeze_and_excite": lambda x: x * L.Dense(4, "sigmoid")(L.Reshape((1, 1, 4))(L.GlobalAveragePooling2D()(x))),
    "add": lambda x: L.Add()([x, L.ReLU()(x), L.Activation("tanh")(x)]),
    "average": lambda x: L.Average()([x, L.ReLU()(x), L.Activation("tanh")(x)]),
    "subtract": lambda x: L.Subtract()([x, L.ReLU()(x)]),
    "multiply": lambda x: L.Multiply()([x, L.ReLU()(x)]),
    "maximum": lambda x: L.Maximum()([x, L.Activation("tanh")(x)]),
    "minimum": lambda x: L.Minimum()([x, L.Activation("tanh")(x)]),
    "concatenate": lambda x: L.Concatenate(axis=2)([x, L.ReLU()(x)]),
}
ON_ROWS: dict[str, Callable[[Any], Any]] = {
    "dense": L.Dense(5, activation="softmax"),
    "dense_bare": L.Dense(5, use_bias=False),
    "dense_normalized": lambda x: L.ReLU()(L.BatchNormalization()(L.Dense(5)(x))),
    "normalized_dense": lambda x: L.Dense(5)(L.BatchNormalization()(x)),
    "repeat_vector": L.RepeatVector(3),
}
ON_SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "lstm": L.LSTM(5),
    "lstm_sequence": L.LSTM(3, return_sequences=True, use_bias=False),
    "lstm_stacked": lambda x: L.LSTM(4)(L.LSTM(3, return_sequences=True)(x)),
    "conv1d": L.Conv1D(5, 3, activation="relu"),
    "conv1d_causal": L.Conv1D(5, 3, padding="causal", dilation_rate=2),
    "conv1d_same": L.Conv1D(5, 3, padding="same", strides=2),
    "max_pool_1d": L.MaxPooling1D(2),
    "average_pool_1d": L.AveragePooling1D(3, strides=1, padding="same"),
    "global_average_1d": L.GlobalAveragePooling1D(),
    "global_max_1d": L.GlobalMaxPooling1D(),
    "zero_padding_1d": L.ZeroPadding1D((2, 1)),
    "cropping_1d": L.Cropping1D((2, 1)),
}


def functional(shape: tuple[int, ...], body: Callable[[Any], Any]) -> Any:
    """A model of one input."""
    x = keras.Input(shape, name="x")
    return keras.Model(x, body(x))


def nested() -> Any:
    """Models in models, one of them used twice, and layers of the same class on both levels."""
    inner = functional(IMAGE, lambda x: L.Conv2D(4, 3, padding="same", name="conv")(x))
    stack = keras.Sequential([keras.Input(IMAGE), L.Conv2D(4, 1), L.BatchNormalization(), L.ReLU()], name="stack")
    outer = keras.Input(IMAGE)
    x = L.Conv2D(4, 1, name="conv")(outer)
    return keras.Model(outer, L.Conv2D(2, 1)(stack(inner(inner(x)))))


def shared() -> Any:
    """A layer that is called twice."""
    x, layer = keras.Input(IMAGE), L.Conv2D(4, 3, padding="same")
    return keras.Model(x, layer(L.ReLU()(layer(x))))


def several() -> Any:
    """Two inputs, two outputs."""
    a, b = keras.Input(IMAGE, name="a"), keras.Input(ROW, name="b")
    flat = L.Concatenate()([L.Flatten()(a), L.Dense(3)(b)])
    return keras.Model([a, b], [L.Dense(2, name="first")(flat), L.Dense(4, name="second", activation="tanh")(flat)])


def unbuilt_sequential() -> Any:
    """A Sequential model without an input layer, built by being called."""
    model = keras.Sequential([L.Conv2D(3, 3), L.Flatten(), L.Dense(2)])
    model.build((None, *IMAGE))
    return model


def embedding() -> Any:
    """A table of rows."""
    x = keras.Input((5,), dtype="int32", name="x")
    return keras.Model(x, L.GlobalAveragePooling1D()(L.Embedding(11, 4)(x)))


def adapted() -> Any:
    """A Normalization whose statistics are weights."""
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(1).normal(2, 3, (50, *IMAGE)))
    return functional(IMAGE, layer)


SPECIAL = {
    "adapted": adapted,
    "embedding": embedding,
    "nested": nested,
    "several": several,
    "shared": shared,
    "unbuilt_sequential": unbuilt_sequential,
}


def enliven(model: Any, generator: np.random.Generator) -> None:
    """Random values for everything that layers begin with as zeros or ones."""
    for layer in model._flatten_layers(include_self=False):  # the public list leaves nested layers out
        if isinstance(layer, L.Normalization):
            continue
        for variable in layer._trainable_variables + layer._non_trainable_variables:
            if variable.dtype == "float32":
                low = 0.5 if variable.name in ("moving_variance", "gamma", "scale") else -0.5
                variable.assign(generator.uniform(low, low + 1, variable.shape))


def main() -> None:
    """Write the archive beside this file."""
    models: dict[str, Callable[[], Any]] = dict(SPECIAL)
    for shape, cases in ((IMAGE, ON_IMAGES), (ROW, ON_ROWS), (SEQUENCE, ON_SEQUENCES)):
        models |= {name: partial(functional, shape, body) for name, body in cases.items()}
    generator = np.random.default_rng(0)
    with (
        zipfile.ZipFile(Path(__file__).parent / "cases.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        tempfile.TemporaryDirectory() as folder,
    ):
        for name, make in models.items():
            keras.backend.clear_session()
            model = make()
            enliven(model, generator)
            inputs = [
                generator.integers(0, 11, (1, *item.shape[1:])).astype(np.int32)
                if item.dtype == "int32"
                else generator.normal(0, 2, (1, *item.shape[1:])).astype(np.float32)
                for item in model.inputs
            ]
            answers = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
            arrays = {f"input_{number}": item for number, item in enumerate(inputs)}
            listed = answers if isinstance(answers, list) else [answers]
            arrays |= {f"output_{number}": item for number, item in enumerate(listed)}
            for suffix in (".keras", ".h5"):
                path = Path(folder) / f"{name}{suffix}"
                model.save(path)
                archive.write(path, path.name)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
            archive.writestr(f"{name}.npz", buffer.getvalue())


if __name__ == "__main__":
    main()
