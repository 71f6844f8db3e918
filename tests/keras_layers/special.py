"""Cases that are more than a layer on one input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as L  # noqa: N812
from keras import ops
from sequences import ROW, SEQUENCE

from images import IMAGE


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


def masked_embedding() -> Any:
    """Words of which zeros are none, as a Sequential model, where Keras hands the mask on by itself."""
    return keras.Sequential(
        [keras.Input((6,), dtype="int32"), L.Embedding(11, 4, mask_zero=True), L.Dropout(0.5), L.LSTM(3), L.Dense(2)]
    )


def masked_embedding_twice() -> Any:
    """Likewise through two recurrent layers and an average."""
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            L.Embedding(11, 4, mask_zero=True),
            L.Bidirectional(L.LSTM(3, return_sequences=True)),
            L.GRU(3, return_sequences=True),
            L.GlobalAveragePooling1D(),
        ]
    )


def integers() -> Any:
    """Whole numbers into layers that compute with real ones."""
    x = keras.Input((6,), dtype="int32")
    words = L.RepeatVector(2)(L.Reshape((3,))(x[:, :3]))
    tail = L.Flatten()(L.Concatenate()([words, L.Permute((2, 1))(L.Reshape((3, 2))(x))[:, :2]]))
    return keras.Model(x, [L.Rescaling(0.5)(x), L.Dense(3)(x), L.Normalization(mean=1.0, variance=2.0)(x), tail])


def gathered() -> Any:
    """Rows of a table of numbers, and one-hot vectors."""
    x = keras.Input((6,), dtype="int32")
    return keras.Model(x, [ops.one_hot(x, 5), ops.take(ops.one_hot(x, 12), [1, 3, 0], axis=-1)])


def recurrent_with_states() -> Any:
    """A decoder whose states are inputs."""
    x, h, c = keras.Input(SEQUENCE), keras.Input((3,)), keras.Input((3,))
    return keras.Model([x, h, c], list(L.LSTM(3, return_state=True)(x, initial_state=[h, c])))


def nested_heads() -> Any:
    """Layers with layers inside, in a model that is a layer."""
    x, y = keras.Input(SEQUENCE), keras.Input(SEQUENCE)
    inner = keras.Model(x, L.Bidirectional(L.GRU(2, return_sequences=True))(x + L.MultiHeadAttention(2, 2)(x, x)))
    return keras.Model(y, L.TimeDistributed(L.Dense(3))(inner(y)))


SPECIAL = {
    "adapted": adapted,
    "embedding": embedding,
    "gathered": gathered,
    "integers": integers,
    "masked_embedding": masked_embedding,
    "masked_embedding_twice": masked_embedding_twice,
    "nested": nested,
    "nested_heads": nested_heads,
    "recurrent_with_states": recurrent_with_states,
    "several": several,
    "shared": shared,
    "unbuilt_sequential": unbuilt_sequential,
}
