"""The plan: for every tensor the numbers it is stored in, and the sentence that says why.

It is the only thing `quantize` obeys. It can be printed, compared and edited by hand before it is carried out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tersor.ir.dtypes import DType
from tersor.ir.graph import Op
from tersor.ir.quant import QuantParams
from tersor.ir.text import short

INTEGER, DYNAMIC, FLOAT, UNTOUCHED = "integer", "dynamic", "float", "untouched"
"""How an operator computes; `UNTOUCHED` ones have no real numbers to quantize (shapes, indices)."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """The numbers of one tensor: its type, its parameters if that is an integer type, and why."""

    dtype: DType
    params: QuantParams | None
    why: str

    def __str__(self) -> str:
        return f"{self.params or self.dtype}  <- {self.why}"


@dataclass(frozen=True, slots=True)
class OpPlan:
    """How one operator computes.

    Attributes:
        kind: the operator's kind, as a person reads it.
        compute: INTEGER, DYNAMIC, FLOAT or UNTOUCHED.
        version: the operator version to write, None to leave it.
        why: the reason.
        wanted: whether it does what the recipe asked for; False marks an operator left behind in float.
    """

    kind: str
    compute: str
    version: int | None
    why: str
    wanted: bool = True


@dataclass(frozen=True)
class Plan:
    """Decisions for the main graph.

    Attributes:
        recipe: the name of the recipe that asked for it.
        tensors: by tensor name, the numbers in which an activation is computed; those not named stay as they are.
        operands: by (operator name, operand index), the numbers in which this operator reads that operand, where they
            differ from the tensor's own: constants, state, and activations that must be converted.
        intermediates: by operator name, the numbers of the values inside a fused operator.
        ops: by operator name.
        interface: by name of a graph input or output, the numbers that it has at the model's door.
        warnings: what the user should know.
        groups: names of activations that share a scale, where there are several.
    """

    recipe: str
    tensors: Mapping[str, TensorPlan] = field(default_factory=dict)
    operands: Mapping[tuple[str, int], TensorPlan] = field(default_factory=dict)
    ops: Mapping[str, OpPlan] = field(default_factory=dict)
    interface: Mapping[str, TensorPlan] = field(default_factory=dict)
    intermediates: Mapping[str, tuple[TensorPlan, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()

    def left_in_float(self) -> dict[str, OpPlan]:
        """The operators that the recipe wanted in integers and that stay in float, by name."""
        return {name: op for name, op in self.ops.items() if op.compute == FLOAT and not op.wanted}

    def computes(self, op: Op) -> DType:
        """The type of what an operator computes."""
        own, result = self.ops.get(op.name), self.tensors.get(op.outputs[0])
        return result.dtype if own is not None and own.compute == INTEGER and result is not None else DType.FLOAT32

    def reach(self, name: str) -> tuple[float, float]:
        """The smallest and the largest number that an activation can be stored as; infinite if it stays in float."""
        own = self.tensors.get(name)
        return (-math.inf, math.inf) if own is None or own.params is None else own.params.real_range

    def explain(self) -> str:
        """The whole plan as text: operators in order with their operands and results, and every reason."""
        lines = [f"plan {self.recipe}"]
        for name, at_door in self.interface.items():
            lines.append(f"  door {short(name)}: {at_door}")
        for name, op in self.ops.items():
            lines.append(f"  {op.kind} {short(name)}: {op.compute}  <- {op.why}")
            for (owner, index), operand in self.operands.items():
                if owner == name:
                    lines.append(f"    operand {index}: {operand}")
            for index, inside in enumerate(self.intermediates.get(name, ())):
                lines.append(f"    inside {index}: {inside}")
            if name in self.tensors:
                lines.append(f"    result: {self.tensors[name]}")
        lines.extend(f"  warning: {warning}" for warning in self.warnings)
        return "\n".join(lines)
