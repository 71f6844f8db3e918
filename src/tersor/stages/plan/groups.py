"""Which values share a scale, and the parameters of every activation.

Operators that move or compare integers need the same scale on all sides. Values tied by them form a group, whose
range is the union of what its members were seen to take. Where a tie would cost more accuracy than a conversion (an
operand with a much narrower range that others read as well, or one whose scale the kernel fixes), the operand is
requantized instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ir.plan import INTEGER, OpPlan, TensorPlan
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import asymmetric_params, symmetric_params
from tersor.numerics.packing import values_of
from tersor.ops import ALL, DATA, FIXED, OPS, SAME, SAME_INPUTS, Range, step_limit
from tersor.recipe import Recipe
from tersor.stages.plan.activations import Activations
from tersor.stages.plan.cuts import as_seen, cut, narrowed_to
from tersor.stages.plan.disjoint_sets import DisjointSets
from tersor.stages.plan.margins import with_margin
from tersor.stages.plan.result_scales import ResultScales
from tersor.stages.statistics import Statistics
from tersor.stages.visible import Visibility

_NARROWER = 2.0
"""An operand that others read too is requantized if the shared range is more than this many times its own: above, the
others lose a whole bit by the tie."""

_FEWEST_STEPS = 16
"""Fewer steps in a range are too few for values that others than the kernel of a fixed scale compute: truth values."""

_LOOKUPS = frozenset({"EMBEDDING_LOOKUP", "GATHER", "GATHER_ND"})
"""Operators that take values out of an operand by index: of a table, samples show only the part that they look up."""


def plan_activations(graph: Graph, recipe: Recipe, modes: dict[str, OpPlan], statistics: Statistics) -> Activations:
    """Parameters for every value that an integer operator computes, and for what it reads from elsewhere."""
    return _Planner(graph, recipe, modes, statistics).run()


class _Planner:
    def __init__(self, graph: Graph, recipe: Recipe, modes: dict[str, OpPlan], statistics: Statistics) -> None:
        self._graph = graph
        self._recipe = recipe
        self._statistics = statistics
        self._ops = [op for op in graph.ops if modes[op.name].compute == INTEGER]
        self._dtype = self._stored_types()
        self._fixed: dict[str, tuple[float, int]] = {}
        self._sets = DisjointSets(self._dtype)
        self._rectified = {op.outputs[0] for op in self._ops if OPS[op.kind].rectified}
        self._warnings: list[str] = []
        self._integer = {op.name for op in self._ops}
        self._visible = Visibility(graph, self._computes, self._reach)
        self._whole: dict[str, tuple[Range, str]] = {}
        self._result_scales = ResultScales(graph, recipe, statistics)

    def run(self) -> Activations:
        for op in self._ops:
            self._note_fixed(op)
        for op in self._ops:
            if OPS[op.kind].scale in (SAME, SAME_INPUTS):
                self._tie(op)
        self._whole = {root: self._whole_range(members) for root, members in self._sets.members().items()}
        params = {root: self._group_params(members) for root, members in self._sets.members().items()}
        for op in self._ops:
            self._widen_result(op, params)
        tensors = {
            name: TensorPlan(self._dtype[name], *params[self._sets.find(name)])
            for name in self._dtype
            if name not in self._read_only
        }
        operands: dict[tuple[str, int], TensorPlan] = {}
        for op in self._ops:
            operands |= self._conversions(op, params)
        groups = tuple(tuple(names) for names in self._sets.members().values() if len(names) > 1)
        return Activations(tensors, operands, tuple(self._warnings), groups)

    def _stored_types(self) -> dict[str, DType]:
        """Integer type by name: results of integer operators, and float values that integer operators read."""
        stored: dict[str, DType] = {}
        for op in self._ops:
            activations = self._recipe.scheme_of(op.kind, op.name).activations
            for index, name in enumerate(op.outputs):
                if OPS[op.kind].result_role(index) == DATA:
                    stored[name] = activations
        computed = set(stored)
        for op in self._ops:
            activations = self._recipe.scheme_of(op.kind, op.name).activations
            for name in self._data_operands(op).values():
                if not self._graph.tensors[name].is_constant:
                    stored.setdefault(name, activations)
        self._read_only = {name for name in stored if name not in computed and name not in self._graph.inputs}
        return stored

    def _data_operands(self, op: Op) -> dict[int, str]:
        spec = OPS[op.kind]
        return {i: name for i, name in enumerate(op.inputs) if name is not None and spec.operand_role(i) == DATA}

    def _note_fixed(self, op: Op) -> None:
        spec = OPS[op.kind]
        if spec.scale == FIXED:
            self._fixed[op.outputs[0]] = spec.fixed[self._dtype[op.outputs[0]]]

    def _tie(self, op: Op) -> None:
        """Unite an operator's values, save for operands that are better requantized."""
        spec = OPS[op.kind]
        results = [n for i, n in enumerate(op.outputs) if spec.scale == SAME and spec.result_role(i) == DATA]
        operands = [n for n in self._data_operands(op).values() if not self._graph.tensors[n].is_constant]
        dtype = self._recipe.scheme_of(op.kind, op.name).activations
        operands = [n for n in dict.fromkeys(operands) if self._dtype[n] is dtype]
        fixed = {self._fixed.get(self._sets.find(n)) for n in operands}
        if len(fixed) > 1:
            operands = [n for n in operands if self._sets.find(n) not in self._fixed]
        if len(operands) > 1 and None in fixed:
            operands = [n for n in operands if not self._loses_by_tie(op, n, [*operands, *results])]
        operands = self._without_lifted(operands, results)
        operands = [n for n in operands if self._holds(op, self._fixed.get(self._sets.find(n)), operands, results)]
        tied = [*operands, *results]
        value = self._fixed.get(self._sets.find(operands[0])) if operands else None
        if tied:
            self._sets.unite(tied)
            if value is not None:
                self._fixed[self._sets.find(tied[0])] = value

    def _holds(self, op: Op, fixed: tuple[float, int] | None, operands: list[str], results: list[str]) -> bool:
        """Whether a kernel's fixed scale has room for an operator's results and constants, and steps fine enough."""
        if fixed is None or not results:
            return True
        tensors = [self._graph.tensors[name] for name in self._data_operands(op).values()]
        constants = [values_of(tensor) for tensor in tensors if tensor.is_constant]
        bounds = [(float(values.min()), float(values.max())) for values in constants]
        seen = self._seen(results)
        bounds += [seen] if seen is not None else []
        others = constants or any(self._fixed.get(self._sets.find(name)) != fixed for name in operands)
        if (others or OPS[op.kind].averages) and any(fixed[0] > _width(own) / _FEWEST_STEPS for own in bounds):
            return False
        low, high = QuantParams((fixed[0],), (fixed[1],), self._dtype[results[0]]).real_range
        return all(low - fixed[0] <= least and most <= high + fixed[0] for least, most in bounds)

    def _without_lifted(self, operands: list[str], results: list[str]) -> list[str]:
        """Leave out rectified operands where the shared range would lift their lowest integer off 0."""
        if not self._rectified:
            return operands
        sets = self._sets.members()
        groups = {name: sets[self._sets.find(name)] for name in (*operands, *results)}
        rectified = [name for name in operands if not self._rectified.isdisjoint(groups[name])]
        shared = self._seen([member for name in (*operands, *results) for member in groups[name]])
        fixed = [self._fixed[root] for root in map(self._sets.find, operands) if root in self._fixed]
        lifted = any(zero_point != DType.INT8.integer_range[0] for _, zero_point in fixed)
        if not lifted and (shared is None or shared[0] >= 0):
            return operands
        return [name for name in operands if name not in rectified]

    def _loses_by_tie(self, op: Op, name: str, others: list[str]) -> bool:
        readers = [reader for reader in self._graph.consumers.get(name, ()) if reader.name != op.name]
        if not readers and name not in self._graph.outputs:
            return False
        own, shared = self._seen([name]), self._seen(others)
        return own is not None and shared is not None and _width(shared) > _NARROWER * _width(own)

    def _seen(self, names: list[str]) -> Range | None:
        known = [name for name in names if name in self._statistics.observers]
        return self._statistics.range_of(known, self._dtype.get(known[0], DType.INT8)) if known else None

    def _group_params(self, members: list[str]) -> tuple[QuantParams, str]:
        dtype = self._dtype[members[0]]
        fixed = self._fixed.get(self._sets.find(members[0]))
        if fixed is not None:
            return QuantParams((fixed[0],), (fixed[1],), dtype), f"the kernel's fixed scale of {members[0]!r}"
        whole, why = self._whole[self._sets.find(members[0])]
        names = (*members, *self._averaged(members))
        seen, note = cut(names, whole, lambda name: self._own_range(name, whole, dtype), self._visible, dtype)
        why += note
        if len(members) > 1:
            why += f", shared by {len(members)} values ({members[0]!r} first)"
        return _chosen(seen, dtype), why

    def _whole_range(self, members: list[str]) -> tuple[Range, str]:
        """The range of a group, however little of it is seen by its readers, and what it comes from."""
        dtype = self._dtype[members[0]]
        fixed = self._fixed.get(self._sets.find(members[0]))
        if fixed is not None:
            return QuantParams((fixed[0],), (fixed[1],), dtype).real_range, ""
        observed = self._seen([*members, *self._averaged(members)])
        seen = self._with_tables(members, observed)
        if seen == (0.0, 0.0):
            self._warnings.append(f"{members[0]!r} is 0 in every calibration sample: its range is a guess of -1..1")
        known = [name for name in members if name in self._statistics.observers]
        methods = sorted({self._statistics.observers[name].method(dtype) for name in known}) or [self._recipe.observer]
        why = f"{' and '.join(methods)} range {seen[0]:.4g}..{seen[1]:.4g} of {self._statistics.samples} samples"
        if seen != observed:
            why += ", with the constants it is taken from"
        seen, note = with_margin(self._graph, self._statistics, known, seen, dtype)
        return seen, why + note

    def _reach(self, name: str) -> Range:
        """The numbers that an activation can be stored as at most; infinite if it stays in float."""
        if name not in self._sets:
            return ALL
        return _chosen(self._whole[self._sets.find(name)][0], self._dtype[name]).real_range

    def _own_range(self, name: str, seen: Range, dtype: DType) -> Range:
        """What a member of a group is taken to need; all that the group does where it was not observed."""
        if name not in self._statistics.observers:
            return seen
        own = self._with_tables([name], self._seen([name]))
        return with_margin(self._graph, self._statistics, [name], own, dtype)[0]

    def _computes(self, op: Op) -> DType:
        """The type in which an operator computes."""
        return self._recipe.scheme_of(op.kind, op.name).activations if op.name in self._integer else DType.FLOAT32

    def _averaged(self, members: list[str]) -> list[str]:
        """Values of another type that members are averages of: their extremes count though no average reaches them."""
        producers = [op for name in members if (op := self._graph.producers.get(name)) is not None]
        found = [op for op in producers if op.kind in OPS and OPS[op.kind].averages]
        return [name for op in found for name in self._data_operands(op).values()]

    def _widen_result(self, op: Op, params: dict[str, tuple[QuantParams, str]]) -> None:
        """Widen a result whose scale is too fine for the kernel to bring its sums down to it."""
        root = self._sets.find(op.outputs[0]) if op.outputs[0] in self._sets else None
        if root is None or root in self._fixed:
            return
        own, why = params[root]
        operands = {
            index: params[self._sets.find(name)][0] if name in self._sets else None
            for index, name in self._data_operands(op).items()
        }
        least = self._result_scales.least(op, self._dtype[op.outputs[0]], operands)
        if own.scale < least:
            wider = replace(own, scales=(float(np.float32(least)),))
            params[root] = wider, f"{why}; widened {least / own.scale:.3g} times, to what the kernel can scale to"

    def _with_tables(self, members: list[str], seen: Range | None) -> Range:
        """A group's range with that of the tables it is looked up in; of all it is made of where nothing was seen."""
        producers = [op for name in members if (op := self._graph.producers.get(name)) is not None and op.kind in OPS]
        sources = [op for op in producers if seen is None or op.kind in _LOOKUPS]
        names = [name for op in sources for name in self._data_operands(op).values()]
        tables = [values_of(tensor) for name in names if (tensor := self._graph.tensors[name]).is_constant]
        bounds = [(float(table.min()), float(table.max())) for table in tables if table.size]
        bounds += [seen] if seen is not None else []
        return min(low for low, _ in bounds), max(high for _, high in bounds)

    def _conversions(self, op: Op, params: Mapping[str, tuple[QuantParams, str]]) -> dict[tuple[str, int], TensorPlan]:
        """The parameters an operator needs of its operands where these are stored otherwise."""
        spec = OPS[op.kind]
        dtype = self._recipe.scheme_of(op.kind, op.name).activations
        found: dict[tuple[str, int], TensorPlan] = {}
        shared = self._shared_params(op, params)
        for index, name in self._data_operands(op).items():
            tensor = self._graph.tensors[name]
            if tensor.is_constant:
                needed = shared
                if needed is None:
                    values = values_of(tensor)
                    needed = _chosen((float(values.min()), float(values.max())), dtype), "range of the constant"
                found[op.name, index] = TensorPlan(dtype, *needed)
                continue
            own, why = params[self._sets.find(name)]
            needed = (own, why) if shared is None or spec.scale == FIXED else shared
            if spec.clips_as_read:
                needed = params[self._sets.find(op.outputs[0])]
            elif needed[0].dtype is not dtype or _overflows(op, own):
                needed = self._retyped([name], dtype, self._visible.by(op, name))
            if needed[0] != own or name in self._read_only:
                found[op.name, index] = TensorPlan(dtype, *needed)
        return found

    def _shared_params(self, op: Op, params: Mapping[str, tuple[QuantParams, str]]) -> tuple[QuantParams, str] | None:
        spec = OPS[op.kind]
        if spec.scale == SAME:
            value, why = params[
                self._sets.find(next(n for i, n in enumerate(op.outputs) if spec.result_role(i) == DATA))
            ]
            return value, f"as the result of {op.kind} {op.name!r}: {why}"
        if spec.scale == SAME_INPUTS:
            names = [name for name in self._data_operands(op).values() if not self._graph.tensors[name].is_constant]
            dtype = self._recipe.scheme_of(op.kind, op.name).activations
            if any(self._dtype[name] is not dtype for name in names):
                return self._retyped(names, dtype)
            return params[self._sets.find(names[0])] if names else None
        return None

    def _retyped(self, names: list[str], dtype: DType, visible: Range = ALL) -> tuple[QuantParams, str]:
        """Parameters for values of which some are computed in another type; what they are beyond bounds is not seen."""
        known = [name for name in names if name in self._statistics.observers]
        seen = self._statistics.range_of(known, dtype) if known else (-1.0, 1.0)
        seen, note = with_margin(self._graph, self._statistics, known, seen, dtype)
        seen = narrowed_to(as_seen(seen, visible), seen, dtype)
        return _chosen(seen, dtype), f"converted to {dtype} for this operator{note}"


def _overflows(op: Op, own: QuantParams) -> bool:
    """Whether the steps of an operand are too large for a kernel that sees only a part of its range."""
    return bool(OPS[op.kind].saturates_rounded) and own.scale > step_limit(op, own.dtype)


def _chosen(bounds: Range, dtype: DType) -> QuantParams:
    choose = symmetric_params if dtype is DType.INT16 else asymmetric_params
    return choose(*bounds, dtype)


def _width(bounds: Range) -> float:
    return max(bounds[1], 0.0) - min(bounds[0], 0.0)
