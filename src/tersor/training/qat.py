"""Quantization-aware training: a network that feels in training what integers will do to it.

The network rounds by the plan that the file will be written by: the same operators in integers, the same scales per
channel, the same values tied to one scale, the same scales fixed by kernels, the same ends of ranges beyond which
readers see nothing. So what Keras evaluates is what the file answers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras

from tersor.errors import PlanError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op
from tersor.ir.plan import INTEGER, Plan
from tersor.ops import DATA, FIXED, LAYERS, OPS, SAME, SAME_INPUTS, layer_operands
from tersor.passes import deduplicate_constants
from tersor.recipe import Recipe, left_in_float, load_recipe, parse_recipe, to_toml
from tersor.stages.calibrate import Statistics, calibrate, observable
from tersor.stages.load import load
from tersor.stages.optimize import PASSES, optimize
from tersor.stages.plan import plan
from tersor.stages.trained import Training, statistics_of, with_training
from tersor.stages.visible import Visibility
from tersor.training.carried import carried
from tersor.training.network import Network, architecture
from tersor.training.rounding import Rounding, Scheme, Value
from tersor.training.same import require_same

_PASSES = tuple(apply for apply in PASSES if apply is not deduplicate_constants.apply)
"""Constants that are equal before training need not be after it."""

_UNKNOWN = (-6.0, 6.0)
"""Stands in for a range until the first batch shows it."""


@keras.saving.register_keras_serializable("tersor")
class QuantizationAware(Network):
    """A network that rounds in training as a recipe's file will; `tersor.quantize` makes that file's model of it.

    Args:
        source: a float model, simplified.
        rounding: what its plan rounds.
        freeze_after: see `prepare`.
        recipe: what the file is going to be.
    """

    def __init__(self, source: Model, rounding: Rounding, freeze_after: int | None, recipe: Recipe) -> None:
        super().__init__(source, rounding, freeze_after)
        self.recipe = recipe

    def planned(self) -> tuple[Model, Plan]:
        """The float model that was trained, and the plan with the ranges that training left."""
        source = self.trained()
        return source, plan(source, self.recipe, self._training().statistics)

    def exported(self) -> Model:
        """The float model that was trained, which states the recipe and the ranges that training left."""
        return with_training(self.trained(), self._training())

    def _training(self) -> Training:
        ranges = {name: quantizer.bounds() for name, quantizer in self.quantizers().items()}
        return Training(self.recipe, {name: own for name, own in ranges.items() if own is not None})

    def get_config(self) -> dict[str, Any]:
        """The architecture without its weights."""
        return {**super().get_config(), "recipe": to_toml(self.recipe), "recipe_name": self.recipe.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> QuantizationAware:  # noqa: ARG003 (Keras's)
        """The architecture again; Keras then loads its weights."""
        recipe = parse_recipe(config["recipe"], config["recipe_name"])
        return cls(*architecture(config), config["freeze_after"], recipe)


def prepare(
    model: Any,
    recipe: Recipe | str = "int8",
    *,
    data: Iterable[object] | None = None,
    freeze_after: int | None = None,
    learned: bool = False,
) -> QuantizationAware:
    """A Keras model that trains as usual, and rounds as the file will.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, or a `Model`.
        recipe: what the file is going to be; one with integer activations.
        data: some samples, to begin with the ranges of these; by default with those of the first batch.
        freeze_after: the step from which on batch normalization uses its moving statistics, as the file does; by
            default in evaluation and in the file only.
        learned: learn ranges by their gradients, beginning with those of `data`, instead of following the extremes of
            batches.

    Dropout and penalties on kernels compute nothing in a file. Those of a live Keras model or of a Keras file go on
    where a value or a layer of the network is just theirs; a warning says what does not.

    Raises:
        PlanError: the recipe has no integer activations, or ranges shall be learned without data to begin with.
        UnsupportedError: an operator cannot be trained, by name; or the model mixes the samples of a batch.
    """
    wanted = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if not wanted.needs_calibration:
        raise PlanError(f"{wanted.name} rounds no activations: there is nothing to train for")
    if learned and data is None:
        raise PlanError("learned ranges begin with those of samples: give some (data)")
    wanted = replace(wanted, weight_observer="min_max", algorithms=())  # training moves weights, not what comes after
    source = optimize(model if isinstance(model, Model) else load(model), _PASSES)
    recurrent = tuple(op.outputs[0] for op in source.graph.ops if op.kind in OPS and OPS[op.kind].is_recurrent)
    if recurrent:  # what is inside has ranges of its own, which training does not follow
        wanted = replace(wanted, rules=(*wanted.rules, left_in_float(recurrent)))
    require_same(source)
    seen = None if data is None else calibrate(source, data, wanted.observer)
    unknown = statistics_of(dict.fromkeys(observable(source.graph), _UNKNOWN))
    decided = plan(source, wanted, seen or unknown)
    kept = carried(model, source.graph)
    if kept.left_out:
        warnings.warn(f"left out of training: {'; '.join(kept.left_out)}", stacklevel=2)
    rounding = rounding_of(source.graph, decided, seen, learned)
    rounding = replace(rounding, noise=kept.noise, penalties=kept.penalties)
    return QuantizationAware(source, rounding, freeze_after, wanted)


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
        for index, operand in enumerate(op.inputs):
            read = decided.operands.get((op.name, index))
            if operand is None or graph.tensors[operand].is_constant or read is None or read.params is None:
                continue
            shared = _source_of(op, graph, values)
            operands[op.name, index] = value(operand, read.dtype) if shared is None else shared
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
