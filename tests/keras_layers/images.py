"""Cases of layers on images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers as L  # noqa: N812

IMAGE = (9, 7, 4)

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
ON_IMAGES |= {
    "transposed_output_padding": L.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=0),
    "transposed_output_padding_valid": L.Conv2DTranspose(3, 3, strides=(2, 3), output_padding=(1, 2)),
    "max_pool_adaptive": L.AdaptiveMaxPooling2D((3, 7)),
    "average_pool_adaptive": L.AdaptiveAveragePooling2D((3, 7)),
    "resizing_cropped": L.Resizing(4, 6, crop_to_aspect_ratio=True),
    "resizing_padded": L.Resizing(12, 4, pad_to_aspect_ratio=True),
    "unit_normalization_axis": L.UnitNormalization(axis=1),
    "batch_normalization_axis": L.BatchNormalization(axis=2),
    "softmax_axes": L.Softmax(axis=(1, 2)),
    "relu_threshold": lambda x: [L.ReLU(threshold=0.5)(x), L.ReLU(1.5, 0.25, 0.5)(x)],
    "more_activations": lambda x: [
        L.Activation(name)(x)
        for name in ("celu", "hard_tanh", "log_sigmoid", "soft_shrink", "squareplus", "tanh_shrink")
    ],
    "merge_ranks": lambda x: [
        kind()([x, L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling1D()(L.Reshape((-1, 4))(x))])
        for kind in (L.Add, L.Average, L.Multiply, L.Maximum)
    ],
    "einsum_dense_on_images": L.EinsumDense("abcd,cde->abe", output_shape=(9, 5), bias_axes="e"),
    "time_distributed_conv": L.TimeDistributed(L.Conv1D(3, 3, activation="relu")),
    "attention_on_images": lambda x: L.MultiHeadAttention(2, 3)(x, x),
    "identities": lambda x: L.SpectralNormalization(L.Conv2D(3, 2))(L.Identity()(L.AlphaDropout(0.5)(x))),
}
VOLUME = (4, 6, 5, 3)
ON_VOLUMES: dict[str, Callable[[Any], Any]] = {
    "conv3d": L.Conv3D(4, 3, padding="same", strides=(1, 2, 1), activation="relu"),
    "conv3d_bare": L.Conv3D(4, (2, 3, 1), use_bias=False),
    "conv3d_transposed": L.Conv3DTranspose(2, 3, strides=2, padding="same"),
    "conv3d_transposed_valid": L.Conv3DTranspose(2, (2, 3, 1), strides=(2, 1, 1)),
    "pool_3d": lambda x: [
        L.MaxPooling3D(2)(x),
        L.MaxPooling3D((3, 2, 2), strides=1, padding="same")(x),
        L.AveragePooling3D((2, 3, 1))(x),
        L.AveragePooling3D(3, strides=2, padding="same")(x),
    ],
    "global_pool_3d": lambda x: [L.GlobalAveragePooling3D()(x), L.GlobalMaxPooling3D(keepdims=True)(x)],
    "space_3d": lambda x: [
        L.UpSampling3D((2, 1, 3))(x),
        L.ZeroPadding3D(((1, 0), (0, 2), (1, 1)))(x),
        L.Cropping3D(((1, 0), (0, 2), (1, 1)))(x),
        L.SpatialDropout3D(0.5)(L.ReLU()(x)),
    ],
}
NOT_IN_TENSORFLOW: dict[str, Callable[[Any], Any]] = {
    "transposed_dilated": L.Conv2DTranspose(3, 3, dilation_rate=2, padding="same"),
    "transposed_dilated_valid": L.Conv2DTranspose(3, (2, 3), dilation_rate=(1, 2)),
}
VOLUMES_NOT_IN_TENSORFLOW: dict[str, Callable[[Any], Any]] = {
    "pool_3d_adaptive": lambda x: [L.AdaptiveAveragePooling3D((2, 3, 1))(x), L.AdaptiveMaxPooling3D((1, 2, 5))(x)],
}
CHANNELS_FIRST: dict[str, Callable[[Any], Any]] = {
    "conv": L.Conv2D(5, 3, data_format="channels_first", activation="relu"),
    "conv_normalized": lambda x: L.ReLU(6.0)(
        L.BatchNormalization(axis=1)(L.Conv2D(5, 3, padding="same", data_format="channels_first")(x))
    ),
    "network": lambda x: L.Dense(3)(
        L.GlobalAveragePooling2D(data_format="channels_first")(
            L.Conv2D(6, 3, data_format="channels_first")(
                L.MaxPooling2D(2, data_format="channels_first")(
                    L.DepthwiseConv2D(3, padding="same", data_format="channels_first")(x)
                )
            )
        )
    ),
    "others": lambda x: [
        L.Flatten(data_format="channels_first")(x),
        L.ZeroPadding2D(1, data_format="channels_first")(x),
        L.Cropping2D(1, data_format="channels_first")(x),
        L.UpSampling2D(2, data_format="channels_first")(x),
        L.AveragePooling2D(2, data_format="channels_first")(x),
        L.GlobalMaxPooling2D(keepdims=True, data_format="channels_first")(x),
        L.SeparableConv2D(3, 3, data_format="channels_first")(x),
        L.Conv2DTranspose(3, 2, strides=2, data_format="channels_first")(x),
        L.GroupNormalization(2, axis=1)(x),
        L.LayerNormalization(axis=1)(x),
    ],
}
