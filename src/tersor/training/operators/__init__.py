"""LiteRT's float operators in `keras.ops`: differentiable, on any backend, with any number of samples at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from keras import ops

from tersor.training.operators import choices, elementwise, layers, recurrent, shapes, windows
from tersor.training.operators.call import Call
from tersor.training.operators.elementwise import binary, unary
from tersor.training.operators.windows import reduction

__all__ = ["OPERATORS", "REFUSED", "Call"]

OPERATORS: Mapping[str, Callable[[Call], Any]] = MappingProxyType(
    {
        "CONV_2D": layers.conv_2d,
        "CONV_3D": layers.conv_3d,
        "DEPTHWISE_CONV_2D": layers.depthwise_conv_2d,
        "FULLY_CONNECTED": layers.fully_connected,
        "TRANSPOSE_CONV": layers.transpose_conv,
        "BATCH_MATMUL": layers.batch_matmul,
        "ADD": binary(ops.add),
        "SUB": binary(ops.subtract),
        "MUL": binary(ops.multiply),
        "DIV": binary(ops.divide),
        "POW": binary(ops.power),
        "MAXIMUM": binary(ops.maximum),
        "MINIMUM": binary(ops.minimum),
        "SQUARED_DIFFERENCE": binary(elementwise.squared_difference),
        "ABS": unary(ops.absolute),
        "NEG": unary(ops.negative),
        "EXP": unary(ops.exp),
        "LOG": unary(ops.log),
        "SIN": unary(ops.sin),
        "COS": unary(ops.cos),
        "SQRT": unary(ops.sqrt),
        "RSQRT": unary(ops.rsqrt),
        "SQUARE": unary(ops.square),
        "RELU": unary(ops.relu),
        "RELU6": unary(ops.relu6),
        "RELU_N1_TO_1": unary(elementwise.FUSED[2]),
        "RELU_0_TO_1": unary(lambda x: ops.clip(x, 0.0, 1.0)),
        "LEAKY_RELU": elementwise.leaky_relu,
        "PRELU": elementwise.prelu,
        "ELU": unary(ops.elu),
        "GELU": elementwise.gelu,
        "HARD_SWISH": unary(elementwise.hard_swish),
        "LOGISTIC": unary(ops.sigmoid),
        "TANH": unary(ops.tanh),
        "SOFTMAX": elementwise.softmax,
        "LOG_SOFTMAX": unary(ops.log_softmax),
        "L2_NORMALIZATION": elementwise.l2_normalization,
        "EQUAL": binary(ops.equal),
        "NOT_EQUAL": binary(ops.not_equal),
        "GREATER": binary(ops.greater),
        "GREATER_EQUAL": binary(ops.greater_equal),
        "LESS": binary(ops.less),
        "LESS_EQUAL": binary(ops.less_equal),
        "SELECT": elementwise.select,
        "SELECT_V2": elementwise.select,
        "AVERAGE_POOL_2D": windows.average_pool,
        "MAX_POOL_2D": windows.max_pool,
        "MEAN": reduction(ops.mean),
        "SUM": reduction(ops.sum),
        "REDUCE_PROD": reduction(ops.prod),
        "REDUCE_MAX": reduction(ops.max),
        "REDUCE_MIN": reduction(ops.min),
        "RESIZE_BILINEAR": windows.resize_bilinear,
        "RESIZE_NEAREST_NEIGHBOR": windows.resize_nearest,
        "RESHAPE": shapes.reshape,
        "SQUEEZE": shapes.reshape,
        "EXPAND_DIMS": shapes.reshape,
        "TRANSPOSE": shapes.transpose,
        "CONCATENATION": shapes.concatenate,
        "PACK": shapes.pack,
        "UNPACK": shapes.unpack,
        "SPLIT": shapes.split,
        "SPLIT_V": shapes.split_by_sizes,
        "SLICE": shapes.slice_,
        "STRIDED_SLICE": shapes.strided_slice,
        "PAD": shapes.pad,
        "PADV2": shapes.pad,
        "MIRROR_PAD": shapes.mirror_pad,
        "GATHER": shapes.gather,
        "TILE": shapes.tile,
        "BROADCAST_TO": shapes.broadcast,
        "DEPTH_TO_SPACE": shapes.depth_to_space,
        "SPACE_TO_DEPTH": shapes.space_to_depth,
        "REVERSE_V2": shapes.reverse,
        "SPACE_TO_BATCH_ND": shapes.space_to_batch,
        "BATCH_TO_SPACE_ND": shapes.batch_to_space,
        "CUMSUM": elementwise.cumulative_sum,
        "FLOOR": unary(ops.floor),
        "CEIL": unary(ops.ceil),
        "ROUND": unary(ops.round),
        "SIGN": unary(ops.sign),
        "FLOOR_DIV": binary(ops.floor_divide),
        "FLOOR_MOD": binary(ops.mod),
        "LOGICAL_AND": binary(ops.logical_and),
        "LOGICAL_OR": binary(ops.logical_or),
        "LOGICAL_NOT": unary(ops.logical_not),
        "REDUCE_ALL": choices.reduced(ops.all),
        "REDUCE_ANY": choices.reduced(ops.any),
        "ARG_MAX": choices.extreme(ops.argmax),
        "ARG_MIN": choices.extreme(ops.argmin),
        "CAST": choices.cast,
        "ONE_HOT": choices.one_hot,
        "TOPK_V2": choices.top_k,
        "EMBEDDING_LOOKUP": choices.embedding,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": recurrent.lstm,
    }
)
"""A function per operator; what has none cannot be trained."""

_BY_PLACE = "it takes samples by their place in a batch of one"
_OF_SHAPES = "it makes values of shapes: fix these, so that they are constants"
_CONTROL = "it holds operators of its own: in Keras, give recurrent layers as LSTM, GRU or SimpleRNN"

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("GATHER_ND", "SCATTER_ND", "DYNAMIC_UPDATE_SLICE", "SPARSE_TO_DENSE"), _BY_PLACE),
        **dict.fromkeys(("SHAPE", "RANK", "FILL", "RANGE"), _OF_SHAPES),
        **dict.fromkeys(("WHILE", "IF", "CALL"), _CONTROL),
        "SVDF": "it remembers earlier runs, and a batch has none",
        "CUSTOM": "only its own runtime knows what it computes: train the network that ends before it",
    }
)
"""Why not, for those that real networks have."""
