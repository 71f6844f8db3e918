"""Which function computes which operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from tersor.ir.graph import Array
from tersor.runtimes.reference import (
    activations,
    arithmetic,
    conversion,
    movers,
    products,
    reductions,
    resizing,
    softmax,
)
from tersor.runtimes.reference.call import Call

KERNELS = ("builtin", "micro", "xnnpack")

TABLE: Mapping[str, Callable[[Call], list[Array]]] = MappingProxyType(
    {
        "CONV_2D": products.conv_2d,
        "DEPTHWISE_CONV_2D": products.depthwise_conv_2d,
        "FULLY_CONNECTED": products.fully_connected,
        "TRANSPOSE_CONV": products.transpose_conv,
        "ADD": arithmetic.add,
        "SUB": arithmetic.subtract,
        "MUL": arithmetic.multiply,
        "MAXIMUM": arithmetic.maximum,
        "MINIMUM": arithmetic.minimum,
        "RELU": activations.rectify,
        "RELU6": activations.rectify,
        "RELU_N1_TO_1": activations.rectify,
        "LEAKY_RELU": activations.leaky_rectify,
        "PRELU": activations.parametric_rectify,
        "ELU": activations.elu,
        "HARD_SWISH": activations.hard_swish,
        "LOGISTIC": activations.logistic,
        "TANH": activations.tanh,
        "SOFTMAX": softmax.softmax,
        "AVERAGE_POOL_2D": reductions.average_pool,
        "MAX_POOL_2D": reductions.max_pool,
        "MEAN": reductions.mean,
        "SUM": reductions.total,
        "REDUCE_MAX": reductions.extreme,
        "REDUCE_MIN": reductions.extreme,
        "ARG_MAX": reductions.place_of_extreme,
        "ARG_MIN": reductions.place_of_extreme,
        "RESHAPE": movers.reshape,
        "SQUEEZE": movers.reshape,
        "EXPAND_DIMS": movers.reshape,
        "TRANSPOSE": movers.transpose,
        "PAD": movers.pad,
        "PADV2": movers.pad,
        "MIRROR_PAD": movers.mirror_pad,
        "PACK": movers.pack,
        "UNPACK": movers.unpack,
        "SPLIT": movers.split,
        "SLICE": movers.slice_,
        "STRIDED_SLICE": movers.strided_slice,
        "SPLIT_V": movers.split_by_sizes,
        "GATHER": movers.gather,
        "TILE": movers.tile,
        "BROADCAST_TO": movers.broadcast,
        "REVERSE_V2": movers.reverse,
        "SPACE_TO_BATCH_ND": movers.space_to_batch,
        "BATCH_TO_SPACE_ND": movers.batch_to_space,
        "CONCATENATION": movers.concatenate,
        "DEPTH_TO_SPACE": movers.depth_to_space,
        "SPACE_TO_DEPTH": movers.space_to_depth,
        "RESIZE_BILINEAR": resizing.bilinear,
        "RESIZE_NEAREST_NEIGHBOR": resizing.nearest,
        "QUANTIZE": conversion.quantize,
        "DEQUANTIZE": conversion.dequantize,
    }
)
