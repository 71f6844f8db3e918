"""What TensorFlow Lite Micro's reference kernels take, by operator: types of values, and what must be a constant.

Source: `tensorflow/lite/micro/kernels` of tflite-micro (August 2026). `tests/test_micro.py` runs an example of each
operator in each type in the real interpreter: it runs those that stand here, and refuses the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tersor.ir.dtypes import DType

_ROWS = (
    ("float32", "CEIL COS EXP FLOOR FLOOR_DIV FLOOR_MOD L2_POOL_2D LOG NEG ROUND SIN SQRT SQUARE"),
    (
        "float32 int8",
        (
            "ADD_N ARG_MAX ARG_MIN BATCH_TO_SPACE_ND CUMSUM DEPTH_TO_SPACE ELU EMBEDDING_LOOKUP GATHER GATHER_ND "
            "HARD_SWISH L2_NORMALIZATION LOG_SOFTMAX MIRROR_PAD REDUCE_MAX REDUCE_MIN RESIZE_BILINEAR "
            "SPACE_TO_BATCH_ND SPACE_TO_DEPTH SVDF"
        ),
    ),
    (
        "float32 int8 int16",
        (
            "ABS AVERAGE_POOL_2D BATCH_MATMUL CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED LEAKY_RELU "
            "LOGISTIC MAX_POOL_2D MEAN PRELU RELU RELU6 RESIZE_NEAREST_NEIGHBOR RSQRT SELECT_V2 SOFTMAX SUM TANH "
            "TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM"
        ),
    ),
    ("float32 int8 int16 int32", "ADD DYNAMIC_UPDATE_SLICE MUL PAD PADV2 SPLIT SPLIT_V SQUARED_DIFFERENCE SUB UNPACK"),
    ("float32 int8 int16 int32 bool", "SLICE STRIDED_SLICE"),
    ("float32 int8 int16 int32 int64", "GREATER MAXIMUM MINIMUM PACK"),
    ("float32 int8 int16 int32 int64 bool", "CONCATENATION"),
    ("float32 int8 int16 int32 int64 uint8 bool", "REVERSE_V2"),
    ("float32 int8 int32", "DIV FILL"),
    ("float32 int8 int32 int64", "GREATER_EQUAL LESS LESS_EQUAL ZEROS_LIKE"),
    ("float32 int8 int32 int64 bool", "EQUAL NOT_EQUAL"),
    ("int8 int16 uint8", "DEQUANTIZE"),
    ("int32 int64", "BROADCAST_ARGS"),
    ("bool", "LOGICAL_NOT REDUCE_ALL"),
)

TYPES: Mapping[str, frozenset[DType]] = MappingProxyType(
    {kind: frozenset(map(DType, types.split())) for types, kinds in _ROWS for kind in kinds.split()}
)
"""For each operator whose kernel looks at the type of what it computes with, the types that it takes."""

_CAST = "bool float32 int8 int16 int32 uint32"

_PAIRS = {
    "QUANTIZE": {
        "float32": "int8 int16",
        "int8": "int8 int16 int32 uint8",
        "int16": "int8 int16 int32",
        "int32": "int8 int16",
        "uint8": "int8",
    },
    "CAST": dict.fromkeys(_CAST.split(), _CAST),
}

CONVERSIONS: Mapping[str, frozenset[tuple[DType, DType]]] = MappingProxyType(
    {
        kind: frozenset((DType(source), DType(result)) for source, to in pairs.items() for result in to.split())
        for kind, pairs in _PAIRS.items()
    }
)
"""For operators that convert types, from which to which."""

ANY_TYPE = frozenset({"BROADCAST_TO", "LOGICAL_AND", "LOGICAL_OR", "RESHAPE", "SHAPE", "SQUEEZE"})
"""Operators whose kernel does not look at the type: it moves bytes, or asks for a shape."""

STATEFUL = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE", "IF", "READ_VARIABLE", "VAR_HANDLE", "WHILE"})
"""Operators that run other graphs or keep values between runs; their kernels do not look at types either."""

COMPUTED: Mapping[str, int] = MappingProxyType(
    {"EMBEDDING_LOOKUP": 1, "FILL": 1, "SELECT_V2": 1, "SPLIT": 1, "TRANSPOSE_CONV": 2}
)
"""The operand that is computed with, where it is not the first."""

CONSTANT: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "BROADCAST_TO": (1,),
        "EXPAND_DIMS": (1,),
        "FILL": (0,),
        "PAD": (1,),
        "PADV2": (1,),
        "RESIZE_BILINEAR": (1,),
        "RESIZE_NEAREST_NEIGHBOR": (1,),
        "SPLIT": (0,),
        "SPLIT_V": (2,),
        "STRIDED_SLICE": (1, 2, 3),
        "TRANSPOSE": (1,),
    }
)
"""Operands whose values the kernel needs before the first run."""

DIMENSIONS: Mapping[str, int] = MappingProxyType({"PAD": 5, "PADV2": 5, "STRIDED_SLICE": 4, "TRANSPOSE": 5})
"""The most dimensions of the value that an operator reads, where its kernel says how many."""

MOST_JOINED = 10
"""Values that one CONCATENATION may join."""
