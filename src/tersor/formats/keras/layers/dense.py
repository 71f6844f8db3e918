"""Products with weights that are no convolutions, and tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tersor.formats.keras.call import Call
from tersor.formats.keras.layers.activation import activated, is_linear
from tersor.formats.keras.layers.einsum import einsum_with, spread
from tersor.ir.dtypes import DType
from tersor.ir.outline import in_order


def dense(call: Call) -> str:
    """`Dense` along the last axis; Keras kernels are [in, units], LiteRT's [units, in]."""
    tensor = call.real_input(2, 3, 4, 5)
    shape, units = call.shape(tensor), call.size("units")
    if call.option("lora_rank", None):
        raise call.refused("LoRA weights are not read: merge them and save the model again")
    shapes: dict[str, tuple[int, ...]] = {"kernel": (shape[-1], units)}
    if call.option("use_bias", True):
        shapes["bias"] = (units,)
    arrays = call.take(shapes)
    kernel = call.constant("kernel", in_order(arrays["kernel"].T))
    bias = call.constant("bias", arrays.get("bias", np.zeros(units, np.float32)))
    return activated(call, product(call, tensor, kernel, bias, "" if is_linear(call) else "linear"))


def product(call: Call, tensor: str, kernel: str, bias: str, part: str = "") -> str:
    """A FULLY_CONNECTED along the last axis; kernel [units, in]."""
    shape = call.shape(tensor)
    options = {"keep_num_dims": True} if len(shape) > 2 else {}
    result = (*shape[:-1], call.shape(kernel)[0])
    return call.op("FULLY_CONNECTED", [tensor, kernel, bias], result, options, part, 5 if options else 1)


def embedding(call: Call) -> str:
    """`Embedding`: a GATHER from the table; with mask_zero, positions of 0 are masked."""
    tensor = call.any_input()
    rows, width = call.size("input_dim"), call.size("output_dim")
    table = call.constant("embeddings", call.take({"embeddings": (rows, width)})["embeddings"])
    shape = call.shape(tensor)
    if call.builder.dtype_of(tensor) is not DType.INT32:
        raise call.refused("its input is not an integer: give the model an input of type int32")
    result = call.op("GATHER", [table, tensor], (*shape, width), {"axis": 0})
    if call.option("mask_zero", False):
        call.masks[result] = lambda: call.op(
            "NOT_EQUAL", [tensor, call.constant("mask_value", np.int32(0))], shape, None, "mask", dtype=DType.BOOL
        )
    return result


def einsum_dense(call: Call) -> str:
    """`EinsumDense`: a product of the input with a kernel by an equation."""
    tensor = call.real_input()
    equation = str(call.option("equation")).replace(" ", "")
    terms, _, result = equation.partition("->")
    left, _, right = terms.partition(",")
    shape = call.shape(tensor)
    elided = len(shape) - len(left.replace("...", "")) if "..." in left else 0
    stated = call.option("output_shape")
    sizes = [shape[0], *([stated] if isinstance(stated, int) else stated)]
    if left.startswith("..."):
        sizes[1:1] = shape[1:elided]
    elif elided:
        sizes += shape[len(shape) - elided :]
    left, result = (spread(call, term, elided) for term in (left, result))
    if len(left) != len(shape) or len(result) != len(sizes):
        raise call.refused(f"the equation {equation} does not fit its input and output_shape {stated}")
    known = {letter: size for letter, size in zip(result, sizes, strict=True) if size is not None}
    known |= dict(zip(left, shape, strict=True))
    if not set(right) <= set(known):
        raise call.refused(f"the equation {equation} leaves sizes of the kernel open")
    shapes = {"kernel": tuple(known[letter] for letter in right)}
    axes = str(call.option("bias_axes", None) or "")
    if axes:
        behind = result[min(result.find(letter) for letter in axes) :]
        shapes["bias"] = tuple(known[letter] if letter in axes else 1 for letter in behind)
    arrays = call.take(shapes)
    bias = arrays.get("bias")
    return activated(call, einsum_with(call, (left, right, result), tensor, arrays["kernel"], bias, is_linear(call)))


LAYERS: dict[str, Callable[[Call], str]] = {"Dense": dense, "EinsumDense": einsum_dense, "Embedding": embedding}
