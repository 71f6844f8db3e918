"""Products with weights that are no convolutions, and tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated, is_linear
from tersor.ir.dtypes import DType


def dense(call: Call) -> str:
    """`Dense` along the last axis; Keras kernels are [in, units], LiteRT's [units, in]."""
    tensor = call.input(2, 3, 4, 5)
    shape, units = call.shape(tensor), call.size("units")
    if call.option("lora_rank", None):
        raise call.refused("LoRA weights are not read: merge them and save the model again")
    shapes: dict[str, tuple[int, ...]] = {"kernel": (shape[-1], units)}
    if call.option("use_bias", True):
        shapes["bias"] = (units,)
    arrays = call.take(shapes)
    kernel = call.constant("kernel", np.ascontiguousarray(arrays["kernel"].T))
    bias = call.constant("bias", arrays.get("bias", np.zeros(units, np.float32)))
    options = {"keep_num_dims": True} if len(shape) > 2 else {}
    part = "" if is_linear(call) else "linear"
    version = 5 if options else 1
    result = call.op("FULLY_CONNECTED", [tensor, kernel, bias], (*shape[:-1], units), options, part, version)
    return activated(call, result)


def embedding(call: Call) -> str:
    """`Embedding`: a GATHER from the table."""
    tensor = call.input()
    if call.option("mask_zero", False):
        raise call.refused("mask_zero is not read: masks have no counterpart in LiteRT")
    rows, width = call.size("input_dim"), call.size("output_dim")
    table = call.constant("embeddings", call.take({"embeddings": (rows, width)})["embeddings"])
    if call.builder.dtype_of(tensor) is not DType.INT32:
        raise call.refused("its input is not an integer: give the model an input of type int32")
    return call.op("GATHER", [table, tensor], (*call.shape(tensor), width), {"axis": 0})


LAYERS: dict[str, Callable[[Call], str]] = {"Dense": dense, "Embedding": embedding}
