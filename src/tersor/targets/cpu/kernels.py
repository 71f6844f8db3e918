"""The operators that XNNPACK has under LiteRT 2.3; `tests/test_cpu.py` loads an example of each."""

from __future__ import annotations

INTEGER = frozenset(
    [
        "ADD",
        "BATCH_MATMUL",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEPTH_TO_SPACE",
        "DEQUANTIZE",
        "ELU",
        "FULLY_CONNECTED",
        "LEAKY_RELU",
        "LOGISTIC",
        "MAX_POOL_2D",
        "MEAN",
        "MUL",
        "PAD",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    ]
)
"""Operators that XNNPACK has in float32 and in int8."""

FLOAT = frozenset(
    [
        "ABS",
        "AVERAGE_POOL_2D",
        "CEIL",
        "COS",
        "DIV",
        "EXP",
        "FLOOR",
        "GELU",
        "HARD_SWISH",
        "LOG",
        "MAXIMUM",
        "MINIMUM",
        "NEG",
        "PRELU",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "ROUND",
        "RSQRT",
        "SIN",
        "SOFTMAX",
        "SQRT",
        "SQUARE",
        "SQUARED_DIFFERENCE",
    ]
)
"""Operators that it has in float32 alone."""
