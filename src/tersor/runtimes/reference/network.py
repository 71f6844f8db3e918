"""A quantized network computed by integer arithmetic in NumPy, bit for bit as a kernel set computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tersor.errors import RecipeError, UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model, Op, Tensor
from tersor.numerics.packing import values_of
from tersor.runtimes.reference.call import Call
from tersor.runtimes.reference.coverage import INT16X8, NO_KERNEL, flavour_of, missing
from tersor.runtimes.reference.table import KERNELS, TABLE
from tersor.runtimes.reference.xnnpack import takes


class Reference:
    """A network and whose rounding it is computed with.

    Args:
        model: its main graph is computed; state starts at its zero point in every run.
        kernels: "builtin", "micro" or "xnnpack".

    Raises UnsupportedError, which names the operator, for one that is not there; RecipeError for unknown kernels.
    """

    def __init__(self, model: Model, kernels: str = "builtin") -> None:
        if kernels not in KERNELS:
            raise RecipeError(f"unknown kernels {kernels!r}: there are {', '.join(KERNELS)}")
        self._graph, self._kernels = model.graph, kernels
        self._constants = {
            name: _plain(item) for name, item in model.graph.tensors.items() if item.is_constant and item.dtype.bits
        }
        missing = sorted({op.label for op in model.graph.ops if op.kind not in TABLE})
        if missing:
            raise UnsupportedError(f"the integer reference has no {', '.join(missing)}")
        for op in model.graph.ops:
            self._refuse(op)

    def _refuse(self, op: Op) -> None:
        """Raise UnsupportedError for an operator that the kernel set does not have, or answers anything for."""
        dtypes = {self._graph.tensor(name).dtype for name in (*op.present_inputs, *op.outputs)}
        if self._kernels == "micro" and DType.UINT8 in dtypes and op.kind not in ("QUANTIZE", "DEQUANTIZE"):
            raise UnsupportedError(f"TensorFlow Lite Micro has no {op.label} for uint8 ({op.name!r})")
        flavour = flavour_of(self._graph, op)
        why = missing(op.kind, flavour, self._kernels)
        if why == NO_KERNEL:
            kind = "16-bit activations" if flavour == INT16X8 else "integers"
            raise UnsupportedError(f"TensorFlow Lite Micro has no {op.label} for {kind} ({op.name!r})")
        if why is not None:
            raise UnsupportedError(f"what TensorFlow Lite Micro's {op.label} answers ({op.name!r}) is not told: {why}")

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for the values of the inputs, in order, of the model's own types."""
        values = self.values(inputs)
        return [values[name] for name in self._graph.outputs]

    def values(self, inputs: Sequence[Array]) -> dict[str, Array]:
        """Every activation by name."""
        values = dict(zip(self._graph.inputs, inputs, strict=True))
        for op in self._graph.ops:
            tensors = tuple(None if name is None else self._graph.tensor(name) for name in op.inputs)
            given = tuple(None if item is None else self._value(item, values) for item in tensors)
            results = tuple(self._graph.tensor(name) for name in op.outputs)
            inner = tuple(None if name is None else self._graph.tensor(name) for name in op.intermediates)
            call = Call(op, self._kernels, tensors, given, results, inner)
            if self._kernels == "xnnpack" and not takes(call):
                call = replace(call, kernels="builtin")
            values.update(zip(op.outputs, TABLE[op.kind](call), strict=True))
        return values

    def _value(self, tensor: Tensor, values: dict[str, Array]) -> Array:
        if tensor.is_constant:
            return self._constants[tensor.name]
        if tensor.is_variable:
            return np.full(tensor.shape, tensor.quant.zero_point if tensor.quant else 0, tensor.dtype.numpy)
        return values[tensor.name]


def _plain(tensor: Tensor) -> Array:
    """A constant's values, unpacked. Raises UnsupportedError for a sparse one, which has kernels of its own."""
    if tensor.sparsity is not None:
        raise UnsupportedError(f"the integer reference does not read {tensor.name!r}: its values are sparse")
    return values_of(tensor)
