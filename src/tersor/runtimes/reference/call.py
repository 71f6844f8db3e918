"""What a kernel is given: an operator, its operands as integers, and whose rounding is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersor.errors import UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Op, Tensor
from tersor.ir.quant import QuantParams
from tersor.numerics.fixed_point import round_away

RELU, RELU_N1_TO_1, RELU6 = 1, 2, 3
"""Codes of fused activations (`schema.fbs`, `enum ActivationFunctionType`)."""

RELU_0_TO_1 = -1
"""An operator only, no fused activation."""

_BOUNDS = {RELU: (0.0, None), RELU_N1_TO_1: (-1.0, 1.0), RELU6: (0.0, 6.0), RELU_0_TO_1: (0.0, 1.0)}


@dataclass(frozen=True)
class Call:
    """One operator to compute.

    Attributes:
        op: the operator.
        kernels: "builtin", "micro" or "xnnpack": whose arithmetic it is.
        tensors: its operands; None for one that is left out.
        values: their values.
        results: the tensors that it writes.
        inner: tensors with the parameters of what is inside of it (LSTM).
    """

    op: Op
    kernels: str
    tensors: tuple[Tensor | None, ...]
    values: tuple[Array | None, ...]
    results: tuple[Tensor, ...]
    inner: tuple[Tensor | None, ...] = ()

    def tensor(self, index: int) -> Tensor:
        """Operand `index`, which must be there."""
        found = self.tensors[index]
        if found is None:
            raise self.refusal(f"operand {index} is left out")
        return found

    def value(self, index: int) -> Array:
        """The value of operand `index`, which must be there."""
        found = self.values[index]
        if found is None:
            raise self.refusal(f"operand {index} is left out")
        return found

    def has(self, index: int) -> bool:
        """Whether operand `index` is given."""
        return index < len(self.values) and self.values[index] is not None

    def quant(self, index: int) -> QuantParams:
        """The quantization of operand `index`. Raises UnsupportedError for real numbers."""
        return self._quant(self.tensor(index))

    def result_quant(self, index: int = 0) -> QuantParams:
        """The quantization of result `index`. Raises UnsupportedError for real numbers."""
        return self._quant(self.results[index])

    def scale(self, index: int) -> np.float32:
        """The only scale of operand `index`."""
        return np.float32(self.quant(index).scale)

    def result_scale(self, index: int = 0) -> np.float32:
        """The only scale of result `index`."""
        return np.float32(self.result_quant(index).scale)

    def inner_quant(self, index: int) -> QuantParams:
        """The quantization of inner value `index`, which must be there."""
        found = self.inner[index] if index < len(self.inner) else None
        if found is None:
            raise self.refusal(f"inner value {index} is left out")
        return self._quant(found)

    def centered(self, index: int) -> Array:
        """Operand `index` less its zero point, int64."""
        return self.value(index).astype(np.int64) - self.quant(index).zero_point

    def refusal(self, why: str) -> UnsupportedError:
        """An error that names the operator."""
        return UnsupportedError(f"the integer reference does not compute {self.op.label} {self.op.name!r}: {why}")

    def _quant(self, tensor: Tensor) -> QuantParams:
        if tensor.quant is None or not tensor.quant.scales:
            raise self.refusal(
                f"{tensor.name!r} is {tensor.dtype} without a scale; it computes quantized operators only"
            )
        return tensor.quant


def activation_range(call: Call, code: int | None = None) -> tuple[int, int]:
    """The smallest and largest integer that the fused activation lets pass.

    Source: `CalculateActivationRangeQuantized` (`kernel_util.cc`); float32 throughout.
    """
    quant, dtype = call.result_quant(), call.results[0].dtype
    low, high = dtype.integer_range
    chosen = call.op.option("fused_activation_function", 0) if code is None else code
    if not chosen:
        return low, high
    if chosen not in _BOUNDS:
        raise call.refusal(f"it has fused activation {chosen}, which integer kernels do not have")
    least, most = _BOUNDS[chosen]
    low = max(low, quant.zero_point + _steps(least, quant.scale))
    return low, high if most is None else min(high, quant.zero_point + _steps(most, quant.scale))


def _steps(real: float, scale: float) -> int:
    return int(round_away(np.float32(real) / np.float32(scale)))


def stored(values: Array, dtype: DType, limits: tuple[int, int] | None = None) -> Array:
    """Integers clipped to `limits` (by default the type's) in their own type."""
    return np.clip(values, *(limits or dtype.integer_range)).astype(dtype.numpy)
