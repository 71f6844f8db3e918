"""What the reference says of each row of the operator table, in each flavour, on each kernel set.

All that is not said here is exact. `tests/test_reference.py` holds every word against the kernels; the page of kernel
sets is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ops import OPS

INT8, INT16X8, INT8_W4 = "int8", "int16x8", "int8_w4"

FLAVOURS = (INT8, INT16X8, INT8_W4)
"""What an operator is in that computes in integers: 8 bits, 16 bits, or 8 bits with 4-bit weights."""

NO_KERNEL = "no kernel"

_NOT_IN_MICRO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        INT8: (
            *("EXP", "LOG", "SQRT", "GELU", "RELU_N1_TO_1", "RELU_0_TO_1", "REDUCE_PROD", "TOPK_V2", "SELECT"),
            *("MATRIX_SET_DIAG", "ONE_HOT", "SPARSE_TO_DENSE", "TILE", "RANK"),
        ),
        INT16X8: (
            *("EXP", "LOG", "SQRT", "GELU", "DIV", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "TOPK_V2", "SELECT"),
            *("GREATER_EQUAL", "LESS", "LESS_EQUAL", "MATRIX_SET_DIAG", "FILL", "GATHER", "GATHER_ND", "MIRROR_PAD"),
            *("RESIZE_BILINEAR", "REVERSE_SEQUENCE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "TILE", "RANK"),
        ),
    }
)
"""Operators that TensorFlow Lite Micro does not run in a flavour (tflite-micro of October 2026)."""

_UNSAID: Mapping[tuple[str, str], str] = MappingProxyType(
    {("GREATER", INT16X8): "it compares with numbers that it never sets"},
)
"""Operators and flavours in which what TensorFlow Lite Micro answers cannot be told."""

_EXACT = "exact"

_NEARLY: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        (
            "GELU",
            INT16X8,
        ): "within 1 step, and equal in 99.98 % of values: its table is from the C library's erfcf and tanhf"
    },
)
"""Operators that builtin, and so XNNPACK, compute a little otherwise."""

_IN_PART: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("FULLY_CONNECTED", INT8_W4): "exact with one scale of the weights, no kernel for one per channel",
        ("SPACE_TO_BATCH_ND", INT8): "exact; with padding it pads with a number that it never sets",
        ("SVDF", INT8): "exact; without a bias it ends its process",
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", INT8): (
            "exact; no kernel for peepholes, coupled gates, projection and normalization"
        ),
    }
)
"""Operators that TensorFlow Lite Micro runs in part; the reference refuses the rest."""


def flavours(kind: str) -> tuple[str, ...]:
    """The flavours that the operator table has a kernel for."""
    row = OPS[kind]
    versions = (row.int8, row.int16, row.int4)
    return tuple(name for name, version in zip(FLAVOURS, versions, strict=True) if version is not None)


def missing(kind: str, flavour: str, kernels: str) -> str | None:
    """Why the reference does not compute an operator in a flavour on a kernel set; None if it does, and exactly."""
    if kernels != "micro":
        return None
    if kind in _NOT_IN_MICRO.get(flavour, ()):
        return NO_KERNEL
    return _UNSAID.get((kind, flavour))


def said(kind: str, flavour: str, kernels: str) -> str:
    """What the page says of it."""
    why = missing(kind, flavour, kernels)
    if why is not None:
        return why if why == NO_KERNEL else f"refused: {why}"
    return (_IN_PART if kernels == "micro" else _NEARLY).get((kind, flavour), _EXACT)


def flavour_of(graph: Graph, op: Op) -> str:
    """The flavour that an operator of a file is in; for operators without integers, int8."""
    tensors = [graph.tensor(name) for name in (*op.present_inputs, *op.outputs)]
    if any(item.dtype in (DType.INT4, DType.INT2) for item in tensors):
        return INT8_W4
    passing = {item.dtype for item in tensors if not item.is_constant and not item.is_variable}
    return INT16X8 if DType.INT16 in passing and op.kind not in ("QUANTIZE", "DEQUANTIZE") else INT8
