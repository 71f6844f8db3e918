"""Softmax over the positions that a mask allows."""

from __future__ import annotations

import numpy as np

from tersor.formats.keras.call import Call
from tersor.ir.dtypes import DType

_FAR_BELOW = -30.0
"""Distance of a masked score to the largest one that is not: exp(-30) is 1e-13, below the resolution of float32."""


def as_condition(call: Call, mask: str) -> str:
    """A mask as bool: what is not zero."""
    if call.builder.dtype_of(mask) is DType.BOOL:
        return mask
    zero = call.constant("no", np.float32(0) if call.builder.dtype_of(mask) is DType.FLOAT32 else np.int32(0))
    return call.op("NOT_EQUAL", [mask, zero], call.shape(mask), None, "is_present", dtype=DType.BOOL)


def joined_masks(call: Call, masks: list[str]) -> str | None:
    """LOGICAL_AND of all; None for none."""
    result = None
    for mask in masks:
        if result is None:
            result = mask
        else:
            shape = np.broadcast_shapes(call.shape(result), call.shape(mask))
            result = call.op("LOGICAL_AND", [result, mask], shape, None, "masks", dtype=DType.BOOL)
    return result


def masked_softmax(call: Call, scores: str, mask: str | None) -> str:
    """Softmax over the last axis of scores; those that the mask forbids get no weight.

    Keras adds -1e9 to them, which would leave the others no resolution in integers. Here they are set a little below
    the largest one that is allowed, which is the same in float32.
    """
    shape = call.shape(scores)
    if mask is not None:
        axis, keep, one = call.integers("last", [len(shape) - 1]), {"keep_dims": True}, (*shape[:-1], 1)
        lowest = call.op("REDUCE_MIN", [scores, axis], one, keep, "lowest")
        allowed = call.op("SELECT_V2", [mask, scores, lowest], shape, None, "allowed", dtype=DType.FLOAT32)
        largest = call.op("REDUCE_MAX", [allowed, axis], one, keep, "largest")
        below = call.op("SUB", [allowed, largest], shape, None, "below")
        far = call.constant("far_below", np.full((1,) * len(shape), _FAR_BELOW, np.float32))
        scores = call.op("SELECT_V2", [mask, below, far], shape, None, "masked", dtype=DType.FLOAT32)
    return call.op("SOFTMAX", [scores], shape, {"beta": 1.0}, "weights")
