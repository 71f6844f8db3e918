"""Writes `keras_2.zip`: models as Keras 2 saves them, with the functions of TensorFlow that it records.

Run where tf-keras is installed: python tests/keras_layers/make_keras_2.py. The tests need the archive only.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers as L  # noqa: N812

IMAGE, SEQUENCE = (9, 7, 4), (8, 4)

ON_SEQUENCES: dict[str, Callable[[Any], Any]] = {
    "old_lstm": L.LSTM(3, return_sequences=True),
    "old_gru": L.GRU(3),
    "old_gru_reset_before": L.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid"),
    "old_simple_rnn": L.SimpleRNN(3, return_sequences=True),
    "old_stacked": L.RNN([L.LSTMCell(3), L.GRUCell(2)]),
    "old_bidirectional": lambda x: L.Bidirectional(L.GRU(2))(L.Bidirectional(L.LSTM(3, return_sequences=True))(x)),
    "old_states": lambda x: L.LSTM(3)(x, initial_state=L.LSTM(3, return_state=True)(x)[1:]),
    "old_time_distributed": lambda x: L.TimeDistributed(L.Dense(3, activation="relu"))(x),
    "old_heads": lambda x: L.MultiHeadAttention(2, 3)(x, x),
    "old_attention": lambda x: [L.Attention(use_scale=True)([x, x]), L.AdditiveAttention()([x, x])],
    "old_einsum_dense": L.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d"),
    "old_conv_1d": lambda x: L.SeparableConv1D(4, 3)(L.DepthwiseConv1D(3)(L.Conv1DTranspose(3, 3, strides=2)(x))),
    "old_masked": lambda x: L.LSTM(3)(L.Masking()(x * tf.cast(x[:, :, :1] > 0, tf.float32))),
    "old_slices": lambda x: [x[:, 1:, ::2], x[:, 0], x[..., None], x[:, -1:, ::-1]],
    "old_shapes": lambda x: [
        tf.concat([x, x], axis=-1),
        tf.reshape(x, (-1, 32)),
        tf.transpose(x, [0, 2, 1]),
        *tf.split(x, 2, axis=1),
        *tf.split(x, [1, 3], axis=-1),
        tf.expand_dims(x, 1),
        tf.squeeze(x[:, :1], 1),
        tf.stack([x, x * 2.0], axis=1),
        *tf.unstack(x, axis=2),
        tf.tile(x, [1, 2, 1]),
        tf.gather(x, [0, 2], axis=1),
        tf.reverse(x, [1]),
        tf.roll(x, 1, 2),
        tf.repeat(x, 2, axis=1),
        tf.pad(x, [[0, 0], [1, 1], [0, 0]]),
        tf.pad(x, [[0, 0], [1, 1], [0, 0]], "REFLECT"),
        tf.stop_gradient(tf.identity(x * 3.0)),
        tf.broadcast_to(x[:1, :1], (1, 8, 4)),
    ],
    "old_arithmetic": lambda x: [
        2.0 - x,
        1 / x,
        x + x,
        tf.add(x, 2.0),
        x * 0.5,
        tf.divide(x, 2.0),
        tf.maximum(x, 0.1),
        tf.minimum(x, 0.1),
        x**2,
        -x,
        abs(x),
        tf.square(x),
        tf.sqrt(tf.abs(x)),
        tf.math.rsqrt(tf.abs(x)),
        tf.exp(x),
        tf.math.log(tf.abs(x)),
        tf.math.log1p(tf.abs(x)),
        tf.floor(x),
        tf.math.ceil(x),
        tf.sin(x),
        tf.cos(x),
        tf.sign(x),
        tf.math.reciprocal(x),
        tf.clip_by_value(x, 0.0, 1.0),
        tf.add_n([x, x, x]),
        tf.matmul(x, x, transpose_b=True),
        tf.matmul(x, x, transpose_a=True),
        tf.tensordot(x, tf.ones((4, 3)), 1),
        tf.math.l2_normalize(x, axis=-1),
    ],
    "old_reductions": lambda x: [
        tf.reduce_mean(x, axis=[1], keepdims=True),
        tf.reduce_sum(x, axis=-1),
        tf.reduce_max(x, axis=1),
        tf.reduce_min(x, axis=1),
        tf.reduce_prod(x, axis=-1),
        tf.math.reduce_std(x, axis=-1),
        tf.math.reduce_variance(x, axis=1),
        tf.reduce_logsumexp(x, axis=-1),
        tf.cast(tf.argmax(x, axis=-1), tf.int32),
        tf.cast(tf.argmin(x, axis=-1), tf.int32),
        tf.cumsum(x, axis=1),
        tf.one_hot(tf.cast(tf.abs(x[:, :, 0]), tf.int32), 3),
    ],
    "old_conditions": lambda x: [
        tf.where(x > 0, x, 0.0),
        tf.where(tf.logical_and(x >= -1, x <= 1), x, tf.zeros_like(x)),
        tf.where(tf.logical_or(x < -1, tf.equal(x, x * 2.0)), x, tf.ones_like(x)),
        tf.cast(tf.logical_not(tf.not_equal(x, x)), tf.float32),
    ],
    "old_activations": lambda x: [
        tf.nn.relu(x),
        tf.nn.relu6(x),
        tf.nn.elu(x),
        tf.nn.selu(x),
        tf.nn.gelu(x),
        tf.nn.silu(x),
        tf.nn.softmax(x),
        tf.nn.log_softmax(x),
        tf.nn.softplus(x),
        tf.nn.softsign(x),
        tf.nn.sigmoid(x),
        tf.nn.tanh(x),
        tf.nn.leaky_relu(x, 0.1),
    ],
}
ON_IMAGES: dict[str, Callable[[Any], Any]] = {
    "old_images": lambda x: [
        tf.image.resize(x, (5, 6)),
        tf.image.resize(x, (18, 14), method="nearest"),
        tf.compat.v1.image.resize_bilinear(x, (5, 6)),
        tf.compat.v1.image.resize_bilinear(x, (5, 6), align_corners=True),
        tf.compat.v1.image.resize_nearest_neighbor(x, (18, 14)),
        tf.nn.max_pool2d(x, 2, 2, "VALID"),
        tf.nn.avg_pool2d(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME"),
        tf.nn.depth_to_space(x, 2),
        tf.nn.space_to_depth(x[:, 1:, 1:], 2),
        tf.nn.bias_add(x, tf.constant([1.0, 2.0, 3.0, 4.0])),
    ],
    "old_layers": lambda x: [
        L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1)(x),
        L.Resizing(5, 6)(x),
        L.TimeDistributed(keras.Sequential([L.Conv1D(3, 3), L.BatchNormalization()]))(x),
    ],
}


def main() -> None:
    """Write the archive beside this file."""
    generator = np.random.default_rng(0)
    cases: list[tuple[tuple[int, ...], str, Callable[[Any], Any]]]
    cases = [(SEQUENCE, name, body) for name, body in ON_SEQUENCES.items()]
    cases += [(IMAGE, name, body) for name, body in ON_IMAGES.items()]
    with (
        zipfile.ZipFile(Path(__file__).parent / "keras_2.zip", "w", zipfile.ZIP_LZMA) as archive,
        tempfile.TemporaryDirectory() as folder,
    ):
        for shape, name, body in cases:
            keras.backend.clear_session()
            x = keras.Input(shape, name="x")
            model = keras.Model(x, body(x))
            for variable in model.weights:
                low = 0.5 if variable.name.endswith(("moving_variance:0", "gamma:0")) else -0.5
                variable.assign(generator.uniform(low, low + 1, variable.shape))
            values = generator.normal(0, 2, (1, *shape)).astype(np.float32)
            answers = model.predict(values, verbose=0)
            listed = answers if isinstance(answers, list) else [answers]
            path = Path(folder) / f"{name}.h5"
            model.save(path)
            archive.write(path, path.name)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, input_0=values, **{f"output_{n}": item for n, item in enumerate(listed)})
            archive.writestr(f"{name}.npz", buffer.getvalue())


if __name__ == "__main__":
    main()
