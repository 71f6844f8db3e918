"""Quantization-aware training: a network that feels in training what integers will do to it.

The network rounds by the plan that the file will be written by: the same operators in integers, the same scales per
channel, the same values tied to one scale, the same scales fixed by kernels, the same ends of ranges beyond which readers
see nothing. So what Keras evaluates is what the file answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tersor.errors import PlanError, UnsupportedError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Op
from tersor.ir.plan import INTEGER, Plan
from tersor.observers._extremes import ExtremesAlone, Pair
from tersor.ops import DATA, FIXED, LAYERS, OPS, SAME, SAME_INPUTS, layer_operands
from tersor.passes import deduplicate_constants
from tersor.recipe import Recipe, load_recipe
from tersor.stages.calibrate import Statistics, calibrate, observable
from tersor.stages.load import load
from tersor.stages.optimize import PASSES, optimize
from tersor.stages.plan import plan
from tersor.stages.visible import Visibility
from tersor.training.network import Network
from tersor.training.rounding import Rounding, Scheme, Value

_TRAINING_PASSES = tuple(apply for apply in PASSES if apply is not deduplicate_constants.apply)
"""Constants that are equal before training need not be after it."""

_UNKNOWN = (-6.0, 6.0)
"""Stands in for ranges until the first batch shows them."""


def prepare(
    model: Any,
    recipe: Recipe | str = "int8",
    *,
    data: Iterable[object] | None = None,
    freeze_after: int | None = None,
    learned: bool = False,
) -> Network:
    """A Keras model that trains as usual and rounds as the file will.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, or a `Model`.
        recipe: what the file is going to be; one with integer activations.
        data: a few samples, to begin with their ranges; by default with those of the first batch.
        freeze_after: the step from which on batch normalization uses its moving statistics; by default never, which is
            to say at export.
        learned: learn ranges by their gradients, instead of following the extremes of batches.

    Raises:
        PlanError: the recipe has no integer activations.
        UnsupportedError: an operator cannot be trained, by name.
    """
    wanted = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if not wanted.needs_calibration:
        raise PlanError(f"{wanted.name} rounds no activations: there is nothing to train for")
    source = optimize(model if isinstance(model, Model) else load(model), _TRAINING_PASSES)
    statistics = _unknown(source.graph) if data is None else calibrate(source, data, wanted.observer)
    decided = plan(source, wanted, statistics)
    return Network(source, rounding_of(source.graph, decided, statistics if data is not None else None, learned), freeze_after)


def rounding_of(graph: Graph, decided: Plan, statistics: Statistics | None, learned: bool = False) -> Rounding:
    """What a plan rounds, as it is rounded in training.

    Args:
        graph: the float graph.
        decided: its plan.
        statistics: of its activations, to begin with their ranges.
        learned: whether ranges are learned.
    """
    visible = Visibility(graph, decided.computes, decided.reach)

    def value(name: str, dtype: DType) -> Value:
        bounds = statistics.range(name, dtype) if statistics is not None and name in statistics.observers else None
        return Value(dtype, visible=visible.range(name), bounds=bounds)

    values: dict[str, Value] = {}
    for name, own in decided.tensors.items():
        producer = graph.producers.get(name)
        if own.params is None:
            continue
        if producer is not None and OPS[producer.kind].scale == FIXED and decided.ops[producer.name].compute == INTEGER:
            values[name] = Value(own.dtype, (own.params.scale, own.params.zero_point))
        else:
            values[name] = value(name, own.dtype)
    operands: dict[tuple[str, int], str | Value] = {}
    schemes: dict[str, Scheme] = {}
    for op in graph.ops:
        if decided.ops[op.name].compute != INTEGER:
            continue
        schemes[op.name] = _scheme(graph, op, decided)
        for index, name in enumerate(op.inputs):
            own = decided.operands.get((op.name, index))
            if name is None or own is None or own.params is None or graph.tensors[name].is_constant:
                continue
            operands[op.name, index] = _source_of(op, graph, values) or value(name, own.dtype)
    groups = tuple(names for names in decided.groups if all(name in values for name in names))
    return Rounding(values, groups, operands, schemes, learned)


def _source_of(op: Op, graph: Graph, values: Mapping[str, Value]) -> str | None:
    """The value in whose numbers an operator reads an operand that it converts."""
    spec = OPS[op.kind]
    if spec.scale == SAME:
        return next(name for index, name in enumerate(op.outputs) if spec.result_role(index) == DATA)
    if spec.scale == SAME_INPUTS:
        names = (own for i, own in enumerate(op.inputs) if own is not None and spec.operand_role(i) == DATA)
        return next((name for name in names if name in values and not graph.tensors[name].is_constant), None)
    return None


def _scheme(graph: Graph, op: Op, decided: Plan) -> Scheme:
    planned = {
        index: own
        for index, name in enumerate(op.inputs)
        if name is not None
        and graph.tensors[name].is_constant
        and (own := decided.operands.get((op.name, index))) is not None
        and own.params is not None
    }
    if op.kind not in LAYERS:
        return Scheme(data={index: own.dtype for index, own in planned.items()})
    weights = planned.get(layer_operands(op.kind).weights)
    if weights is None or weights.params is None:
        return Scheme()
    return Scheme(weights.dtype, per_channel=weights.params.axis is not None)


@dataclass
class Trained(ExtremesAlone):
    """A range as training left it."""

    def range(self, dtype: DType) -> Pair:
        """See the contract of observers."""
        return self.extremes.bounds

    def method(self, dtype: DType) -> str:
        """See the contract of observers."""
        return "trained"


def planned(network: Network, recipe: Recipe | str) -> tuple[Model, Plan]:
    """The float model that was trained, and the plan with the ranges that were learned.

    Args:
        network: made by `prepare`, trained.
        recipe: the one that it was prepared for.
    """
    wanted = load_recipe(recipe) if isinstance(recipe, str) else recipe
    source = network.trained()
    observers = {}
    for name, quantizer in network.quantizers().items():
        bounds = quantizer.bounds()
        if bounds is not None:
            observer = Trained()
            observer.extremes.note(*bounds)
            observers[name] = observer
    return source, plan(source, wanted, Statistics(observers, 1))


def _unknown(graph: Graph) -> Statistics:
    observers = {}
    for name in observable(graph):
        observers[name] = Trained()
        observers[name].extremes.note(*_UNKNOWN)
    return Statistics(observers, 1)
