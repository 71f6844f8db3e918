"""Model + `Plan` -> the quantized model. It obeys the plan and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tersor.formats.tflite.schema import code_of
from tersor.ir.check import check_graph, check_quantization
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op, Record, Tensor
from tersor.ir.plan import DYNAMIC, FLOAT, INTEGER, OpPlan, Plan, TensorPlan
from tersor.ir.quant import PerChannel, QuantParams
from tersor.numerics import affine
from tersor.numerics.packing import pack, values_of
from tersor.ops import BIAS, OPS, WEIGHT

_Numbers = tuple[DType, QuantParams | None]


class Planned(Protocol):
    """A network that knows its own plan, as `tersor.training.qat.prepare` makes."""

    def planned(self) -> tuple[Model, Plan]:
        """The float model and its plan."""


def quantize(model: Model | Planned, plan: Plan | None = None) -> Model:
    """Carry out a plan on the main graph.

    Args:
        model: a float model; or a network trained for quantization, which has its plan.
        plan: what its tensors become.

    Names at the model's door stay; conversions get names that say what they hold. Raises GraphError if the result
    breaks an invariant, which would be a defect of the plan.
    """
    if not isinstance(model, Model):
        model, plan = model.planned()
    if plan is None:
        raise TypeError("quantize() takes a float model and its plan: make one with tersor.plan")
    graph = _Rewriter(model.graph, plan).run()
    check_graph(graph)
    result = model.with_graph(graph)
    check_quantization(result)
    return result


def stored(tensor: Tensor, name: str, planned: TensorPlan, *, narrow: bool) -> Tensor:
    """A float constant in the numbers that are planned for it.

    Args:
        tensor: the constant.
        name: what to call the result.
        planned: its numbers.
        narrow: leave the lowest integer unused (weights).
    """
    values = values_of(tensor)
    if planned.params is None:
        data: Array = values.astype(planned.dtype.numpy)
    else:
        data = affine.quantize(values, planned.params, narrow=narrow)
    if planned.dtype.is_packed:
        data = pack(data, planned.dtype)
    return Tensor(name, tensor.shape, planned.dtype, quant=planned.params).with_data(data)


def conversion(source: str, given: _Numbers, target: str, wanted: _Numbers) -> Op:
    """The operator that brings a value into other numbers: to float32, or to integers of 8 or 16 bits."""
    if wanted[0] is DType.FLOAT32:
        version = {DType.INT8: 2, DType.UINT8: 1, DType.INT16: 3}[given[0]]
        return Op(f"{target}/dequantize", "DEQUANTIZE", (source,), (target,), Record("DequantizeOptions"), version)
    version = 2 if DType.INT16 in (given[0], wanted[0]) else 1
    return Op(f"{target}/quantize", "QUANTIZE", (source,), (target,), Record("QuantizeOptions"), version)


@dataclass(frozen=True)
class _Stored:
    """A value as it lies in the new graph: under which name, in which numbers."""

    name: str
    numbers: _Numbers


class _Rewriter:
    """Walks the operators in order and keeps, for every value, where it lies in which numbers."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self._graph = graph
        self._plan = plan
        self._tensors: dict[str, Tensor] = {}
        self._ops: list[Op] = []
        self._stored: dict[str, _Stored] = {}
        self._converted: dict[tuple[str, _Numbers], str] = {}
        self._constants: dict[tuple[str, _Numbers], str] = {}
        self._names = set(graph.tensors)

    def run(self) -> Graph:
        for name in self._graph.inputs:
            self._enter(name)
        for op in self._graph.ops:
            self._rewrite(op)
        for name in dict.fromkeys(self._graph.outputs):
            self._leave(name)
        return self._graph.edit(
            replace_ops={op.name: () for op in self._graph.ops}, append=self._ops, tensors=self._tensors.values()
        )

    def _enter(self, name: str) -> None:
        """A graph input keeps its name with the numbers of the door."""
        door = self._plan.interface.get(name)
        if door is None:
            self._stored[name] = self._as_is(name)
            return
        self._put(name, door.dtype, door.params)
        self._stored[name] = _Stored(name, (door.dtype, door.params))

    def _leave(self, name: str) -> None:
        """A graph output keeps its name; an operator that computes it in other numbers writes to another tensor."""
        door = self._plan.interface.get(name)
        if door is None or name in self._graph.inputs or self._graph.tensors[name].is_constant:
            return
        wanted = (door.dtype, door.params)
        stored = self._stored[name]
        if stored.numbers == wanted:
            return
        inner = self._fresh(name, stored.numbers[0])
        self._put(inner, *stored.numbers, like=name)
        rename = {name: inner}
        self._ops = [_renamed(op, rename) for op in self._ops]
        self._put(name, *wanted)
        given = self._by_way_of_int8(name, _Stored(inner, stored.numbers), wanted)
        self._ops.append(conversion(given.name, given.numbers, name, wanted))

    def _rewrite(self, op: Op) -> None:
        mode = self._plan.ops.get(op.name, OpPlan(op.kind, FLOAT, None, ""))
        inputs = [self._operand(op, index, mode) for index in range(len(op.inputs))]
        bias = OPS[op.kind].operand_index(BIAS) if op.kind in OPS else None
        if bias is not None and (op.name, bias) in self._plan.operands and self._graph.operand(op, bias) is None:
            inputs += [None] * (bias + 1 - len(inputs))
            inputs[bias] = self._zero_bias(op, self._plan.operands[op.name, bias])
        for name in op.outputs:
            planned = self._plan.tensors.get(name)
            if planned is None:
                self._stored[name] = self._as_is(name)
            else:
                self._put(name, planned.dtype, planned.params)
                self._stored[name] = _Stored(name, (planned.dtype, planned.params))
        version = op.version if mode.version is None else max(op.version, mode.version)
        self._ops.append(
            replace(
                op,
                inputs=tuple(inputs),
                version=version,
                options=_options(op, mode, self._plan.computes(op)),
                intermediates=self._intermediates(op),
            )
        )

    def _intermediates(self, op: Op) -> tuple[str | None, ...]:
        """The tensors that tell a fused operator its inner numbers; made where the float operator has none."""
        planned = self._plan.intermediates.get(op.name)
        if planned is None:
            return op.intermediates
        names = []
        for index, inside in enumerate(planned):
            name = self._fresh(f"{op.name}/intermediate_{index}", inside.dtype)
            # without elements: TensorFlow Lite Micro refuses a file where such a tensor has some
            empty = Tensor(name, (0,), inside.dtype, quant=inside.params)
            self._tensors[name] = empty.with_data(np.empty(0, inside.dtype.numpy))
            names.append(name)
        return tuple(names)

    def _operand(self, op: Op, index: int, mode: OpPlan) -> str | None:
        name = op.inputs[index]
        if name is None:
            return None
        planned = self._plan.operands.get((op.name, index))
        tensor = self._graph.tensors[name]
        if tensor.is_variable and planned is not None:
            self._put(name, planned.dtype, planned.params)
            return name
        if tensor.is_constant and name not in self._stored:
            if planned is None:
                return name
            constant = self._constant(tensor, planned, narrow=_is_weight(op, index))
            return constant if mode.compute in (INTEGER, DYNAMIC) else self._restored(tensor, constant, planned)
        stored = self._stored.setdefault(name, self._as_is(name))
        wanted = stored.numbers
        if planned is not None:
            wanted = (planned.dtype, planned.params)
        elif mode.compute in (FLOAT, DYNAMIC) and tensor.dtype is DType.FLOAT32:
            wanted = (DType.FLOAT32, None)
        elif mode.compute == INTEGER and name in self._plan.tensors:
            own = self._plan.tensors[name]
            wanted = (own.dtype, own.params)
        return self._convert(name, stored, wanted)

    def _as_is(self, name: str) -> _Stored:
        tensor = self._graph.tensors[name]
        return _Stored(name, (tensor.dtype, tensor.quant))

    def _convert(self, name: str, stored: _Stored, wanted: _Numbers) -> str:
        """The name of a value in the wanted numbers; an operator is inserted the first time."""
        if stored.numbers == wanted:
            return stored.name
        if (name, wanted) not in self._converted:
            target = self._fresh(name, wanted[0])
            self._put(target, *wanted, like=name)
            given = self._by_way_of_int8(name, stored, wanted)
            self._ops.append(conversion(given.name, given.numbers, target, wanted))
            self._converted[name, wanted] = target
        return self._converted[name, wanted]

    def _by_way_of_int8(self, name: str, stored: _Stored, wanted: _Numbers) -> _Stored:
        """A value in int8 where it goes between uint8 and int16, for which no kernel exists."""
        narrow = next((item for item in (stored.numbers, wanted) if item[0] is DType.UINT8), None)
        if narrow is None or narrow[1] is None or DType.INT16 not in (stored.numbers[0], wanted[0]):
            return stored
        zero_points = tuple(zero_point - 128 for zero_point in narrow[1].zero_points)
        between = DType.INT8, replace(narrow[1], dtype=DType.INT8, zero_points=zero_points)
        return _Stored(self._convert(name, stored, between), between)

    def _restored(self, tensor: Tensor, constant: str, planned: TensorPlan) -> str:
        """A constant that is stored in fewer bits, restored to float by an operator."""
        key = (tensor.name, (DType.FLOAT32, planned.params or None))
        if key not in self._converted:
            target = self._fresh(tensor.name, DType.FLOAT32)
            self._put(target, DType.FLOAT32, None, like=tensor.name)
            per_channel = planned.params is not None and isinstance(planned.params.granularity, PerChannel)
            version = {DType.FLOAT16: 3, DType.INT8: 5 if per_channel else 2, DType.INT4: 6}[planned.dtype]
            self._ops.append(Op(target, "DEQUANTIZE", (constant,), (target,), Record("DequantizeOptions"), version))
            self._converted[key] = target
        return self._converted[key]

    def _constant(self, tensor: Tensor, planned: TensorPlan, *, narrow: bool) -> str:
        numbers = (planned.dtype, planned.params)
        key = (tensor.name, numbers)
        if key not in self._constants:
            name = self._fresh(tensor.name, planned.dtype)
            self._tensors[name] = stored(tensor, name, planned, narrow=narrow)
            self._constants[key] = name
        return self._constants[key]

    def _zero_bias(self, op: Op, planned: TensorPlan) -> str:
        spec = OPS[op.kind]
        weight = spec.operand_index(WEIGHT)
        assert weight is not None
        weights = self._graph.operand(op, weight)
        assert weights is not None
        channels = weights.shape[spec.weight_axis or 0]
        name = self._fresh(f"{op.name}/bias", planned.dtype)
        zeros = np.zeros(channels, planned.dtype.numpy)
        self._tensors[name] = Tensor(name, (channels,), planned.dtype, quant=planned.params).with_data(zeros)
        return name

    def _put(self, name: str, dtype: DType, params: QuantParams | None, like: str | None = None) -> None:
        original = self._graph.tensors[like or name]
        self._tensors[name] = replace(
            original,
            name=name,
            dtype=dtype,
            quant=params,
            data=None,
            recorded_range=None,
            is_variable=original.is_variable and like is None,
        )

    def _fresh(self, name: str, dtype: DType) -> str:
        wish = f"{name}_{dtype}"
        chosen, number = wish, 2
        while chosen in self._names:
            chosen, number = f"{wish}_{number}", number + 1
        self._names.add(chosen)
        return chosen


def _is_weight(op: Op, index: int) -> bool:
    return op.kind not in OPS or OPS[op.kind].operand_role(index) == WEIGHT


def _renamed(op: Op, names: Mapping[str, str]) -> Op:
    if not any(name in names for name in (*op.present_inputs, *op.outputs)):
        return op
    return replace(
        op,
        inputs=tuple(None if name is None else names.get(name, name) for name in op.inputs),
        outputs=tuple(names.get(name, name) for name in op.outputs),
    )


def _options(op: Op, mode: OpPlan, dtype: DType) -> Record | None:
    """The operator's options, with those set that tell a kernel how its numbers are meant."""
    if op.options is None:
        return None
    if mode.compute == DYNAMIC and op.options.get("asymmetric_quantize_inputs") is not None:
        return op.options.with_fields(asymmetric_quantize_inputs=True)
    # True is the schema's default: a record that a pass made need not name it.
    if mode.compute == INTEGER and op.options.get("pot_scale_int16", op.kind in ("ADD", "SUB")):
        return op.options.with_fields(pot_scale_int16=False)
    if mode.compute == INTEGER and op.kind == "CAST":
        return op.options.with_fields(out_data_type=code_of(dtype))
    return op.options
