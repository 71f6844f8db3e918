"""Weights of one to seven bits, and activations of few, by training.

What rounds weights are Keras layers, for any kernel of anybody's models (`Quantized` wraps a layer); `prepare` puts
them into the network of a file, as `qat.prepare` does for 8 bits, and `tersor.quantize` makes that file of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras

from tersor.errors import PlanError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Graph, Op
from tersor.ops import ALL, LAYERS, OPS, SAME, layer_operands
from tersor.recipe import Recipe, Rule
from tersor.training.activation_quantizers import DoReFaActivation, LearnedStep, Pact, Sign
from tersor.training.carried import with_carried
from tersor.training.qat import QuantizationAware, first_rounding, opened
from tersor.training.rounding import Rounding
from tersor.training.weight_quantizers import (
    Binary,
    DoReFa,
    LearnedScale,
    Ternary,
    TrainedTernary,
    Uniform,
    WeightQuantizer,
)
from tersor.training.wrapped import Quantized, baked

__all__ = [
    "Binary",
    "DoReFa",
    "DoReFaActivation",
    "LearnedScale",
    "LearnedStep",
    "Pact",
    "Quantized",
    "Sign",
    "Ternary",
    "TrainedTernary",
    "Uniform",
    "WeightQuantizer",
    "baked",
    "prepare",
]

_NOT_NEGATIVE = (1, 3)
"""Codes of fused activation functions whose results are not negative: RELU, RELU6 (`schema.fbs`)."""

_RECTIFIERS = ("RELU", "RELU6", "RELU_0_TO_1")


def prepare(
    model: Any,
    weights: WeightQuantizer | None = None,
    activations: Pact | LearnedStep | int | None = None,
    *,
    recipe: Recipe | str = "int8",
    layers: Mapping[str, WeightQuantizer | None] | None = None,
    skip_first_and_last: bool = True,
    smallest: bool = True,
    data: Iterable[object] | None = None,
    freeze_after: int | None = None,
    learned: bool = False,
) -> QuantizationAware:
    """A Keras model that trains as usual, with weights of few bits, and rounds as its file will.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, or a `Model`.
        weights: what rounds the weights of all layers; None to leave them as the recipe has them.
        activations: what rounds those that are never negative (behind a ReLU): `Pact(bits)`, `LearnedStep(bits)`, or
            a number of bits for ranges that follow the batches. All others have the recipe's 8 bits.
        recipe: what is true of everything else; one with int8 activations.
        layers: other quantizers for single layers, by their names in the model; None for the recipe's.
        skip_first_and_last: leave the first and the last layer as the recipe has them, unless `layers` names them.
        smallest: store weights in the smallest type that a kernel takes (2 bits in dense layers, 4 in convolutions);
            False for int8, which has the faster kernels.
        data: some samples, to begin with the ranges of these; by default with those of the first batch.
        freeze_after: see `qat.prepare`.
        learned: see `qat.prepare`.

    Raises:
        PlanError: nothing has fewer bits than the recipe says, a name is of no layer, or what learns has no data.
        UnsupportedError: as `qat.prepare` does.
    """
    source, wanted = opened(model, recipe)
    chosen = _chosen(source.graph, weights, layers or {}, skip_first_and_last)
    rules = [
        Rule((("weights", str(_type_of(quantizer) if smallest else DType.INT8)),), names=(name,))
        for name, quantizer in chosen.items()
    ]
    wanted = replace(wanted, rules=(*wanted.rules, *rules))
    by_gradient = isinstance(activations, Pact | LearnedStep)
    if by_gradient and data is None:
        raise PlanError("bounds of activations that are learned begin with those of samples: give some (data)")
    rounding = first_rounding(source, wanted, data, learned or isinstance(activations, LearnedStep))
    schemes = {
        name: replace(scheme, quantizer=keras.saving.serialize_keras_object(chosen[name]))
        if name in chosen and scheme.weights is not None
        else scheme
        for name, scheme in rounding.schemes.items()
    }
    few = replace(rounding, schemes=schemes)
    if activations is not None:
        few = _with_few_bits(source.graph, few, activations)
    if few == rounding:
        raise PlanError(f"nothing has fewer bits than {wanted.name} says: no layer that computes in integers is chosen")
    return QuantizationAware(source, with_carried(few, model, source.graph), freeze_after, wanted)


def _chosen(
    graph: Graph, weights: WeightQuantizer | None, layers: Mapping[str, WeightQuantizer | None], skip: bool
) -> dict[str, WeightQuantizer]:
    """What rounds the weights of a layer, by the operator's name."""
    names = {op.name: label for op in graph.ops if op.kind in LAYERS and (label := _layer_of(graph, op)) is not None}
    unknown = sorted(set(layers) - {*names, *names.values()})
    if unknown:
        known = ", ".join(names.values())
        raise PlanError(f"no layer with weights is called {unknown[0]!r}: there are {known}")
    ends = {*list(names)[:1], *list(names)[-1:]} if skip else set()
    wanted = {name: None if name in ends else weights for name in names}
    for name, label in names.items():
        wanted |= {name: layers[key] for key in (label, name) if key in layers}
    return {name: own for name, own in wanted.items() if own is not None}


def _layer_of(graph: Graph, op: Op) -> str | None:
    """The name of the layer that an operator's weights are of; None if they are computed."""
    operand = graph.operand(op, layer_operands(op.kind).weights)
    return operand.name.rpartition("/")[0] or operand.name if operand is not None and operand.is_constant else None


def _type_of(quantizer: WeightQuantizer) -> DType:
    """The smallest type that holds all codes; the planner takes a larger one where no kernel has it."""
    return DType.INT2 if quantizer.levels <= 1 else DType.INT4 if quantizer.levels <= 7 else DType.INT8


def _with_few_bits(graph: Graph, rounding: Rounding, how: Pact | LearnedStep | int) -> Rounding:
    """The rounding with fewer bits for activations that are never negative; values of one scale have them together."""
    bits = how if isinstance(how, int) else how.bits
    positive: set[str] = set()
    for op in graph.ops:
        spec = OPS.get(op.kind)
        rectified = op.kind in _RECTIFIERS or (op.option("fused_activation_function", 0) or 0) in _NOT_NEGATIVE
        moved = spec is not None and spec.scale == SAME and any(name in positive for name in op.present_inputs)
        if rectified or (moved and all(own in positive or graph.tensors[own].is_constant for own in op.present_inputs)):
            positive.update(op.outputs)
    few = {
        name
        for name, value in rounding.values.items()
        if name in positive and value.dtype is DType.INT8 and value.fixed is None and value.visible == ALL
    }
    for names in rounding.groups:
        if not few.issuperset(names):
            few.difference_update(names)
    values = {
        name: replace(value, bits=bits, pact=isinstance(how, Pact)) if name in few else value
        for name, value in rounding.values.items()
    }
    return replace(rounding, values=values)
