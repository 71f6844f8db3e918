"""Model + plan -> weights and biases that round better, by what the model itself says of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tersor.algorithms._contract import Layer
from tersor.ir.graph import Model, Tensor
from tersor.ir.plan import Plan
from tersor.stages.correct.expectations import expected_values
from tersor.stages.correct.layers import correctable, with_biases
from tersor.stages.correct.stated import stated_moments


def corrected_without_samples(
    model: Model, plan: Plan, steps: Sequence[Callable[[Layer], Layer]]
) -> tuple[Model, Plan, int]:
    """The model with algorithms applied to every layer with integer weights of whose input something is known.

    Returns:
        Also the plan with their notes, and how many layers they had something to say of; what was given if none.
    """
    known = expected_values(model.graph)
    prepared, completed = with_biases(model, plan)
    operands, tensors, changed = dict(completed.operands), list[Tensor](), 0
    for layer in correctable(prepared.graph, completed) if known else []:
        moments = stated_moments(prepared.graph, layer, known)
        if moments is None:
            continue
        given = found = layer.described(moments)
        for step in steps:
            found = step(found)
        if found.rounded is not given.rounded:
            tensors.append(layer.weights.with_data(layer.restored(found.rounded).astype("float32")))
        if found.shifted is not given.shifted:
            tensors.append(layer.bias.with_data(found.shifted.reshape(layer.bias.shape).astype("float32")))
        if found.notes:
            key = layer.op.name, layer.operands.weights
            operands[key] = replace(operands[key], why="; ".join((operands[key].why, *found.notes)))
            changed += 1
    if not changed:
        return model, plan, 0
    return prepared.with_graph(prepared.graph.edit(tensors=tensors)), replace(completed, operands=operands), changed
