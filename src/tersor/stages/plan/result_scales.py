"""The finest scale that a kernel can bring its results down to.

A result is a sum or a product of integers times a factor. Kernels take factors up to a limit, keep so many bits of what
they have before they clip it, and clip at numbers that they count in steps: a finer scale than all of these allow
overflows, aborts, or is refused. The facts are in `ops`; `tests/test_limits.py` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ir.outline import is_outline
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import weight_params
from tersor.numerics.packing import values_of
from tersor.ops import ALL, CLAMPS, LAYERS, OPS, WEIGHT, layer_operands
from tersor.recipe import Recipe
from tersor.stages.plan.modes import weight_type
from tersor.stages.statistics import Statistics

_ROOM = 0.98
"""Of the bits that a kernel keeps of a result: the rest is for the zero point."""

_LARGEST_CLAMP = 2.0**30
"""Steps of a result at which a kernel may clip: it counts them, and adds a zero point, in 32 bits."""

Operands = Mapping[int, QuantParams | None]
"""The parameters of an operator's data operands by their index; None for constants."""


@dataclass(frozen=True)
class ResultScales:
    """Of the operators of a graph, by a recipe and what calibration saw."""

    graph: Graph
    recipe: Recipe
    statistics: Statistics

    def least(self, op: Op, dtype: DType, operands: Operands) -> float:
        """The finest scale of an operator's result; 0 where there is no limit.

        Args:
            op: the operator.
            dtype: of its result.
            operands: what it reads.
        """
        return max(
            self._by_factor(op, dtype, operands),
            self._by_width(op, dtype, operands),
            _by_clamp(op),
        )

    def _by_factor(self, op: Op, dtype: DType, operands: Operands) -> float:
        """Of a kernel that takes factors up to a limit."""
        limit = OPS[op.kind].multiplies_up_to(dtype)
        if limit is None:
            return 0.0
        scales = [params.scale for params in operands.values() if params is not None]
        return max(scales, default=0.0) * self._largest_weight_scale(op) / limit

    def _by_width(self, op: Op, dtype: DType, operands: Operands) -> float:
        """Such that what is clipped to the result still fits the bits that the kernel keeps of it."""
        bits = OPS[op.kind].keeps_bits(dtype)
        if bits is None:
            return 0.0
        reach = [self._farthest(op, index, params) for index, params in operands.items()]
        if op.kind in LAYERS:
            farthest = self._farthest_sum(op, reach[0])
        elif OPS[op.kind].signs:
            farthest = sum(reach)
        elif op.kind == "MUL":
            farthest = math.prod(reach)
        elif op.kind == "DIV":
            farthest = reach[0] / self._nearest(op.inputs[1])
        else:  # an activation, which may have a slope
            farthest = reach[0] * max(1.0, abs(op.option("alpha", 0.0)), *reach[1:])
        return float(farthest / (_ROOM * 2.0 ** (bits - 1)))

    def _farthest_sum(self, op: Op, reach: float) -> float:
        """The largest magnitude that a layer's sums of products may have, for data up to `reach`."""
        places = layer_operands(op.kind)
        weights, bias = self.graph.operand(op, places.weights), self.graph.operand(op, places.bias)
        assert weights is not None
        axes = tuple(axis for axis in range(len(weights.shape)) if axis != OPS[op.kind].weight_axis)
        whole = values_of(weights)
        sums = 0.0 if is_outline(whole) else np.abs(whole).sum(axis=axes) * reach
        return float(np.max(sums if bias is None else sums + np.abs(values_of(bias)), initial=0.0))

    def _nearest(self, name: str | None) -> float:
        """The smallest magnitude of a divisor."""
        assert name is not None
        tensor = self.graph.tensors[name]
        if tensor.is_constant:
            return float(np.abs(values_of(tensor)).min(initial=math.inf))
        low, high = self.statistics.seen(name)
        return max(low, -high)

    def _farthest(self, op: Op, index: int, params: QuantParams | None) -> float:
        """The largest magnitude that an operand is read as."""
        if params is not None:
            return max(map(abs, params.real_range))
        constant = self.graph.operand(op, index)
        assert constant is not None
        return float(np.abs(values_of(constant)).max(initial=0.0))

    def _largest_weight_scale(self, op: Op) -> float:
        index = OPS[op.kind].operand_index(WEIGHT)
        if index is None:
            return 1.0
        weights = self.graph.operand(op, index)
        assert weights is not None
        dtype = weight_type(OPS[op.kind], self.recipe.scheme_of(op.kind, op.name))
        return weight_params(values_of(weights), dtype, None).scale


def _by_clamp(op: Op) -> float:
    """Such that 32 bits hold the numbers that an operator clips to."""
    clamp = CLAMPS.get(op.option("fused_activation_function", 0), ALL)
    bounds = [abs(bound) for bound in (*clamp, *OPS[op.kind].saturates) if math.isfinite(bound)]
    return max(bounds, default=0.0) / _LARGEST_CLAMP
