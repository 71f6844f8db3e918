"""Quantization-aware training: a network that feels in training what integers will do to it.

The network rounds by the plan that the file will be written by: the same operators in integers, the same scales per
channel, the same values tied to one scale, the same scales fixed by kernels, the same ends of ranges beyond which
readers see nothing. So what Keras evaluates is what the file answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras

from tersor.errors import PlanError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Model, Op
from tersor.ir.plan import INTEGER, Plan
from tersor.ops import DATA, FIXED, LAYERS, OPS, SAME, SAME_INPUTS, layer_operands
from tersor.recipe import Recipe, left_in_float, load_recipe, parse_recipe, to_toml
from tersor.stages.calibrate import calibrate, observable
from tersor.stages.plan import plan
from tersor.stages.statistics import Statistics
from tersor.stages.trained import Training, statistics_of, with_training
from tersor.stages.visible import Visibility
from tersor.training.carried import with_carried
from tersor.training.masking import Masking
from tersor.training.network import Network, architecture, masking_of
from tersor.training.rounding import Rounding, Scheme, Value
from tersor.training.source import source_of
from tersor.training.sparsity import zeros_of
from tersor.training.weight_quantizers import LearnedScale

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
        masking: see `Network`.
    """

    def __init__(
        self,
        source: Model,
        rounding: Rounding,
        freeze_after: int | None,
        recipe: Recipe,
        masking: Mapping[str, Masking] | None = None,
    ) -> None:
        super().__init__(source, rounding, freeze_after, masking)
        self.recipe = recipe

    def planned(self) -> tuple[Model, Plan]:
        """The float model that was trained, and the plan with the ranges that training left."""
        source = self.trained()
        left = self._training()
        return source, plan(source, self.recipe, left.statistics, left.weights)

    def exported(self) -> Model:
        """The float model that was trained, which states the recipe and the ranges that training left."""
        return with_training(self.trained(), self._training())

    def _training(self) -> Training:
        ranges = {name: quantizer.bounds() for name, quantizer in self.quantizers().items()}
        weights = {layer.op.name: own for layer in self.operators() if (own := layer.weight_params()) is not None}
        return Training(self.recipe, {name: own for name, own in ranges.items() if own is not None}, weights)

    def get_config(self) -> dict[str, Any]:
        """The architecture without its weights."""
        return {**super().get_config(), "recipe": to_toml(self.recipe), "recipe_name": self.recipe.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> QuantizationAware:  # noqa: ARG003 (Keras's)
        """The architecture again; Keras then loads its weights."""
        recipe = parse_recipe(config["recipe"], config["recipe_name"])
        return cls(*architecture(config), config["freeze_after"], recipe, masking_of(config))


def prepare(
    model: Any,
    recipe: Recipe | str = "int8",
    *,
    data: Iterable[object] | None = None,
    freeze_after: int | None = None,
    learned: bool = False,
    keep_zeros: bool = False,
) -> QuantizationAware:
    """A Keras model that trains as usual, and rounds as the file will.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, a `Model`, or a network that was pruned.
        recipe: what the file is going to be; one with integer activations.
        data: some samples, to begin with the ranges of these; by default with those of the first batch.
        freeze_after: the step from which on batch normalization uses its moving statistics, as the file does; by
            default in evaluation and in the file only.
        learned: learn ranges by their gradients, beginning with those of `data`, instead of following the extremes of
            batches; and scales of weights of less than 8 bits, instead of taking them from the largest.
        keep_zeros: have weights that are zeros, as pruning leaves them, stay so.

    Dropout and penalties on kernels compute nothing in a file. Those of a live Keras model or of a Keras file go on
    where a value or a layer of the network is just theirs; a warning says what does not.

    Raises:
        PlanError: the recipe has no integer activations; ranges shall be learned without data to begin with; or zeros
            shall be kept, and there are none.
        UnsupportedError: an operator cannot be trained, by name; or the model mixes the samples of a batch.
    """
    source, wanted = opened(model, recipe)
    masking = zeros_of(source) if keep_zeros else {}
    if keep_zeros and not masking:
        raise PlanError("keep_zeros: no layer of the model has weights that are zeros; prune it first (training.prune)")
    rounding = with_carried(first_rounding(source, wanted, data, learned), model, source.graph)
    return QuantizationAware(source, rounding, freeze_after, wanted, masking)


def opened(model: Any, recipe: Recipe | str) -> tuple[Model, Recipe]:
    """A model that can be trained for a recipe, and the recipe. Raises what `prepare` does."""
    wanted = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if not wanted.needs_calibration:
        raise PlanError(f"{wanted.name} rounds no activations: there is nothing to train for")
    wanted = replace(wanted, weight_observer="min_max", algorithms=())  # training moves weights, not what comes after
    source = source_of(model)
    recurrent = tuple(op.outputs[0] for op in source.graph.ops if op.kind in OPS and OPS[op.kind].is_recurrent)
    if recurrent:  # what is inside has ranges of its own, which training does not follow
        wanted = replace(wanted, rules=(*wanted.rules, left_in_float(recurrent)))
    return source, wanted


def first_rounding(source: Model, recipe: Recipe, data: Iterable[object] | None, learned: bool) -> Rounding:
    """What a recipe rounds, with ranges of the samples. Raises what `prepare` does."""
    if learned and data is None:
        raise PlanError("learned ranges begin with those of samples: give some (data)")
    seen = None if data is None else calibrate(source, data, recipe.observer)
    unknown = statistics_of(dict.fromkeys(observable(source.graph), _UNKNOWN))
    return rounding_of(source.graph, plan(source, recipe, seen or unknown), seen, learned)


def rounding_of(graph: Graph, decided: Plan, statistics: Statistics | None, learned: bool = False) -> Rounding:
    """What a plan rounds, as it is rounded in training.

    Args:
        graph: the float graph.
        decided: its plan.
        statistics: of its activations, to begin with their ranges.
        learned: whether ranges, and scales of weights of less than 8 bits, are learned.
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
        schemes[op.name] = _scheme(graph, op, decided, learned=learned)
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


def _scheme(graph: Graph, op: Op, decided: Plan, *, learned: bool) -> Scheme:
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
    per_channel, bits = weights.params.axis is not None, weights.dtype.bits or 8
    quantizer = keras.saving.serialize_keras_object(LearnedScale(bits)) if learned and bits < 8 else None
    return Scheme(weights.dtype, per_channel, quantizer=quantizer)
