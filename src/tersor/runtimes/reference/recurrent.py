"""Layers that keep state: SVDF. State starts at its zero point in every run, as the program runs samples."""

from __future__ import annotations

import numpy as np

from tersor.ir.graph import Array
from tersor.numerics.fixed_point import quantize_multiplier, rescale_twice
from tersor.runtimes.reference.call import Call, stored


def svdf(call: Call) -> list[Array]:
    """SVDF of 8 bits with a 16-bit memory (`EvalIntegerSVDF`, `reference/svdf.h`).

    Operands: [batch, inputs], features [filters, inputs], times [filters, steps], bias [filters / rank], memory.
    """
    if call.kernels == "micro" and not call.has(3):
        raise call.refusal("TensorFlow Lite Micro ends its process where there is no bias")
    features, times, state = call.value(1).astype(np.int64), call.value(2).astype(np.int64), call.tensor(4)
    filters, steps = times.shape
    sums = call.centered(0) @ features.T
    into = quantize_multiplier(call.scale(0) * call.scale(1) / call.scale(4))
    newest = np.clip(rescale_twice(sums, into), *state.dtype.integer_range)
    flat = np.append(call.value(4).astype(np.int64).ravel()[1:], 0)
    memory = flat.reshape(-1, filters, steps)
    memory[:, :, -1] = newest
    found = (memory * times).sum(-1).reshape(len(newest), -1, int(call.op.option("rank", 1))).sum(-1)
    if call.has(3):
        found = found + call.value(3).astype(np.int64)
    out = quantize_multiplier(call.scale(4) * call.scale(2) / call.result_scale())
    return [stored(rescale_twice(found, out) + call.result_quant().zero_point, call.results[0].dtype)]
