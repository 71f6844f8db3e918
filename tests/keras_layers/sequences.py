"""Cases of layers on sequences and on rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as L  # noqa: N812
from keras import ops

ROW, SEQUENCE = (6,), (8, 4)

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
ON_ROWS |= {
    "rescaled_to_images": lambda x: L.Conv2D(2, 2)(L.Reshape((2, 3, 1))(x)),
}
ON_SEQUENCES |= {
    "lstm_backwards": L.LSTM(3, go_backwards=True, return_sequences=True),
    "lstm_other_functions": L.LSTM(3, activation="relu", recurrent_activation="hard_sigmoid", return_sequences=True),
    "lstm_states": lambda x: L.LSTM(3, return_sequences=True, return_state=True)(x),
    "gru": L.GRU(5),
    "gru_sequence": L.GRU(3, return_sequences=True, use_bias=False, go_backwards=True),
    "gru_reset_before": L.GRU(4, reset_after=False, return_sequences=True),
    "gru_states": lambda x: L.GRU(3, return_state=True, activation="softsign")(x),
    "simple_rnn": L.SimpleRNN(5, return_sequences=True),
    "simple_rnn_backwards": L.SimpleRNN(3, go_backwards=True, activation="relu"),
    "rnn_of_cell": L.RNN(L.GRUCell(3), return_sequences=True),
    "rnn_of_lstm_cell": L.RNN(L.LSTMCell(3)),
    "rnn_stacked": L.RNN([L.LSTMCell(3), L.GRUCell(2), L.LSTMCell(4), L.SimpleRNNCell(2)], return_sequences=True),
    "rnn_stacked_states": lambda x: L.RNN([L.GRUCell(3), L.LSTMCell(2)], return_state=True)(x),
    "encoder_decoder": lambda x: L.LSTM(3)(x[:, 2:], initial_state=L.LSTM(3, return_state=True)(x)[1:]),
    "bidirectional_lstm": L.Bidirectional(L.LSTM(3, return_sequences=True)),
    "bidirectional_gru": L.Bidirectional(L.GRU(3), merge_mode="sum"),
    "bidirectional_average": L.Bidirectional(L.SimpleRNN(3, return_sequences=True), merge_mode="ave"),
    "bidirectional_product": L.Bidirectional(L.LSTM(3, name="mine"), merge_mode="mul"),
    "bidirectional_apart": L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode=None),
    "bidirectional_states": lambda x: L.Bidirectional(L.LSTM(3, return_sequences=True, return_state=True))(x),
    "bidirectional_two": L.Bidirectional(L.LSTM(3), backward_layer=L.GRU(2, go_backwards=True)),
    "bidirectional_of_cells": L.Bidirectional(L.RNN(L.LSTMCell(3), return_sequences=True)),
    "time_distributed": lambda x: L.TimeDistributed(L.Dense(3, activation="relu"))(x),
    "time_distributed_lstm": lambda x: L.TimeDistributed(L.LSTM(3))(L.Reshape((4, 2, 4))(x)),
    "time_distributed_model": lambda x: L.TimeDistributed(
        keras.Sequential([keras.Input((4,)), L.Dense(3, name="inner"), L.BatchNormalization(), L.Dense(2)])
    )(x),
    "attention_heads": lambda x: L.MultiHeadAttention(2, 3, value_dim=4, output_shape=5)(x, x[:, :5] * 0.5, x[:, 3:]),
    "attention_heads_bare": lambda x: L.MultiHeadAttention(3, 2, use_bias=False)(x, x, use_causal_mask=True),
    "attention_heads_scores": lambda x: L.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True),
    "attention_heads_masked": lambda x: L.MultiHeadAttention(2, 3)(x, x, attention_mask=x[:, :, :1] < x[:, None, :, 0]),
    "attention_grouped": lambda x: L.GroupQueryAttention(3, 4, 2)(x, x, use_causal_mask=True),
    "attention": lambda x: L.Attention(use_scale=True)([x, x[:, :5]]),
    "attention_causal": lambda x: L.Attention()([x, x], use_causal_mask=True),
    "attention_concat": lambda x: L.Attention(use_scale=True, score_mode="concat")([x, x[:, 1:]]),
    "attention_additive": lambda x: L.AdditiveAttention()([x, x[:, :5], x[:, :5] * 2.0]),
    "einsum_dense": lambda x: [
        L.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d", activation="relu")(x),
        L.EinsumDense("...x,xyz->...yz", output_shape=(2, 3), bias_axes="yz")(x),
        L.EinsumDense("abc,bd->adc", output_shape=(3, 4))(x),
        L.EinsumDense("abc,bcd->abd", output_shape=(8, 3), bias_axes="b")(x),
        L.EinsumDense("abc,bcd->ad", output_shape=3, bias_axes="d")(x),
    ],
    "dot": lambda x: [
        L.Dot(axes=2)([x, x[:, :5]]),
        L.Dot(axes=(2, 1), normalize=True)([x, L.Permute((2, 1))(x[:, :5])]),
        L.Dot(axes=1, normalize=True)([L.Flatten()(x), L.ReLU()(L.Flatten()(x))]),
        L.Dot(axes=(1, 2))([x[:, :4, 0], x]),
    ],
    "transformer": lambda x: transformer(x),
    "conv1d_grouped": L.Conv1D(6, 3, groups=2, padding="same"),
    "depthwise_1d": L.DepthwiseConv1D(3, depth_multiplier=2, padding="same", activation="relu"),
    "depthwise_1d_strided": L.DepthwiseConv1D(3, strides=2, use_bias=False),
    "separable_1d": L.SeparableConv1D(5, 3, depth_multiplier=2, padding="same", activation="tanh"),
    "separable_1d_dilated": L.SeparableConv1D(5, 3, dilation_rate=2),
    "transposed_1d": L.Conv1DTranspose(3, 3, strides=2, padding="same", activation="relu"),
    "transposed_1d_valid": L.Conv1DTranspose(3, 4, strides=3),
    "pool_1d": lambda x: [
        L.UpSampling1D(3)(x),
        L.GlobalAveragePooling1D(keepdims=True)(x),
        L.GlobalMaxPooling1D(keepdims=True)(x),
        L.AdaptiveAveragePooling1D(4)(x),
        L.AdaptiveMaxPooling1D(2)(x),
        L.MaxPooling1D(3, strides=2, padding="same")(x),
    ],
    "masked_lstm": lambda x: L.LSTM(3)(L.Masking()(keep_some(x))),
    "masked_gru": lambda x: L.GRU(3, return_sequences=True)(L.Masking(1.0)(keep_some(x) + 1.0)),
    "masked_bidirectional": lambda x: L.Bidirectional(L.GRU(3, return_sequences=True))(L.Masking()(keep_some(x))),
    "masked_average": lambda x: L.GlobalAveragePooling1D()(L.Dense(3)(L.Masking()(keep_some(x)))),
    "masked_attention": lambda x: masked_attention(keep_some(x)),
    "masked_away": lambda x: L.Conv1D(3, 2)(L.BatchNormalization()(L.Masking()(keep_some(x)))),
}


def keep_some(x: Any) -> Any:
    """The sequence with zeros for steps whose first feature is negative, and at its end."""
    return x * ops.cast(x[:, :, :1] > 0, "float32") * np.array([[[1.0]] * 6 + [[0.0]] * 2], "float32")


def masked_attention(x: Any) -> Any:
    """Queries and values of a masked sequence."""
    y = L.Masking()(x)
    return L.MultiHeadAttention(2, 3)(y, y)


def transformer(x: Any) -> Any:
    """An encoder block as tutorials write it."""
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 2)(x, x))
    return L.LayerNormalization(epsilon=1e-6)(x + L.Dense(4)(L.Dense(8, activation="gelu")(x)))
