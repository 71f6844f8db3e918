"""The numbers of activations, as the steps of planning hand them on."""

from __future__ import annotations

from dataclasses import dataclass

from tersor.ir.graph import Op
from tersor.ir.plan import TensorPlan
from tersor.ir.quant import QuantParams


@dataclass(frozen=True)
class Activations:
    """Parameters of activations, conversions at operands, what the user should know, and which share a scale."""

    tensors: dict[str, TensorPlan]
    operands: dict[tuple[str, int], TensorPlan]
    warnings: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]

    def read_by(self, op: Op, index: int) -> QuantParams:
        """The parameters in which an operator reads an activation."""
        name = op.inputs[index]
        assert name is not None
        plan = self.operands.get((op.name, index)) or self.tensors[name]
        assert plan.params is not None
        return plan.params
