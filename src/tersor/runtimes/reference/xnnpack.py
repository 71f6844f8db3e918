"""Which operators XNNPACK takes from LiteRT; builtin kernels compute the others.

Source: `tflite/delegates/xnnpack/xnnpack_delegate.cc`; `tests/test_reference.py` runs what stands on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from tersor.ir.dtypes import DType
from tersor.runtimes.reference.call import Call

_VALID = 1


def takes(call: Call) -> bool:
    """Whether XNNPACK computes an operator whose arithmetic differs from builtin's."""
    rule = _RULES.get(call.op.kind)
    if rule is None or not rule(call):
        return False
    types = {item.dtype for item in (*call.tensors, *call.results) if item is not None}
    packed = set() if call.op.kind == "FULLY_CONNECTED" else {DType.INT4}
    return types.isdisjoint({DType.INT16, DType.INT64} | packed)


def _sum(call: Call) -> bool:
    return all(1 / 1024 <= call.scale(index) / call.result_scale() < 256 for index in (0, 1))


def _product(call: Call) -> bool:
    return bool(1 / 65536 <= call.scale(0) * call.scale(1) / call.result_scale() < 256)


def _leaky(call: Call) -> bool:
    alpha, same = np.float32(call.op.option("alpha", 0.0)), call.scale(0) / call.result_scale()
    damped = same * alpha
    return bool(1 / 256 <= same <= 128 and -127.99609375 <= damped <= 128 and abs(damped) >= 1 / 256)


def _conversion(call: Call) -> bool:
    if call.tensor(0).dtype.is_float:
        return True
    same_type = call.tensor(0).dtype is call.results[0].dtype
    return same_type and bool(1 / 256 <= call.scale(0) / call.result_scale() <= 128)


def _transposed(call: Call) -> bool:
    if call.op.option("padding", 0) == _VALID:
        return True
    _, height, width, _ = call.tensor(1).shape
    return bool(height >= call.op.option("stride_h", 1) and width >= call.op.option("stride_w", 1))


def _dense(call: Call) -> bool:
    """Rows of 4-bit weights must fill their bytes."""
    return call.tensor(1).dtype is not DType.INT4 or call.tensor(1).shape[-1] % 2 == 0


def _matrices(call: Call) -> bool:
    return not call.quant(1).zero_point


def _always(_: Call) -> bool:
    return True


_RULES: Mapping[str, Callable[[Call], bool]] = MappingProxyType(
    {
        "ADD": _sum,
        "SUB": _sum,
        "MUL": _product,
        "LEAKY_RELU": _leaky,
        "QUANTIZE": _conversion,
        "DEQUANTIZE": _always,
        "TRANSPOSE_CONV": _transposed,
        "CONV_2D": _always,
        "DEPTHWISE_CONV_2D": _always,
        "FULLY_CONNECTED": _dense,
        "BATCH_MATMUL": _matrices,
        "MEAN": _always,
        "SUM": _always,
        "RESIZE_BILINEAR": _always,
    }
)
