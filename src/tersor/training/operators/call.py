"""What an operator's function is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersor.errors import UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Op

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One operator while the network runs.

    Attributes:
        op: the operator.
        operands: what it reads: Keras tensors, variables, NumPy arrays (integer constants); None for what is left out.
        shapes: of its operands with a batch of one.
        results: shapes of its results with a batch of one.
        dtypes: types of its results.
    """

    op: Op
    operands: Sequence[Any]
    shapes: Sequence[Shape]
    results: Sequence[Shape]
    dtypes: Sequence[DType]

    def operand(self, index: int) -> Any:
        """An operand, None if there is none."""
        return self.operands[index] if index < len(self.operands) else None

    def integers(self, index: int) -> tuple[int, ...]:
        """An operand of shapes, axes or the like. Raises UnsupportedError if it is computed."""
        found = self.operand(index)
        if not isinstance(found, np.ndarray):
            raise UnsupportedError(f"operator {self.op.name!r} ({self.op.label}): its operand {index} is computed")
        return tuple(int(value) for value in found.reshape(-1))

    def option(self, name: str, default: Any = 0) -> Any:
        """An option of the operator."""
        return self.op.option(name, default)
