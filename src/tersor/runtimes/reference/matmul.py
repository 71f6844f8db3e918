"""BATCH_MATMUL: two activations, or an activation and a constant.

builtin and micro have one kernel (`reference/batch_matmul.h`), XNNPACK its own, where the second factor's zero point
is 0.
"""

from __future__ import annotations

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.numerics.fixed_point import quantize_multiplier, rescale_twice, rescale_wide
from tersor.runtimes.reference.call import Call, stored
from tersor.runtimes.reference.products import product, to_nearest


def batch_matmul(call: Call) -> list[Array]:
    """BATCH_MATMUL."""
    left, right = call.centered(0), call.centered(1)
    if call.op.option("adj_x", False):
        left = left.swapaxes(-1, -2)
    if call.op.option("adj_y", False):
        right = right.swapaxes(-1, -2)
    zero, dtype = call.result_quant().zero_point, call.results[0].dtype
    sums = product(left, right, call.tensor(0).dtype, call.tensor(1).dtype)
    scale = call.scale(0) * call.scale(1)  # in float32 (`GetQuantizedConvolutionMultipler`, `kernel_util.cc`)
    if call.kernels == "xnnpack":
        return [stored(to_nearest(sums, scale / call.result_scale(), dtype.integer_range, zero), dtype)]
    by = quantize_multiplier(np.float64(scale) / np.float64(call.result_scale()))
    rescale = rescale_wide if call.tensor(0).dtype is DType.INT16 else rescale_twice
    return [stored(rescale(sums, by) + zero, dtype)]
