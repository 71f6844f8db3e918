"""Model -> the float model to calibrate and quantize: restored where it was stored small, and simplified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tersor.errors import ModelError
from tersor.ir.check import check_graph
from tersor.ir.graph import Graph, Model
from tersor.passes import (
    deduplicate_constants,
    fold_batch_norm,
    fold_constants,
    fold_pad,
    form_fully_connected,
    form_hard_swish,
    form_products,
    form_spatial_mean,
    fuse_activation,
    merge_reshapes,
    move_affine_behind_pad,
    remove_identity,
    remove_unused,
    restore_float_weights,
    sink_transposes,
)
from tersor.runtimes.memory import return_freed_memory

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    restore_float_weights.apply,
    fold_constants.apply,
    sink_transposes.apply,
    merge_reshapes.apply,
    remove_identity.apply,
    form_hard_swish.apply,
    form_products.apply,
    form_fully_connected.apply,
    form_spatial_mean.apply,
    move_affine_behind_pad.apply,
    fold_batch_norm.apply,
    fuse_activation.apply,
    fold_pad.apply,
    remove_unused.apply,
    deduplicate_constants.apply,
)
"""In this order: hard swishes are seen before quotients become products and activations are fused; batch norms are
folded before that, too."""


def optimize(model: Model, passes: Sequence[Callable[[Graph], Graph]] = PASSES) -> Model:
    """Run the passes on every graph, with the invariants checked after each. Raises ModelError."""
    graphs = tuple(_optimized(graph, model.source, passes) for graph in model.graphs)
    if all(new is old for new, old in zip(graphs, model.graphs, strict=True)):
        return model
    return_freed_memory()
    return replace(model, graphs=graphs)


def _optimized(graph: Graph, source: str, passes: Sequence[Callable[[Graph], Graph]]) -> Graph:
    for apply in passes:
        try:
            changed = apply(graph)
        except (ValueError, IndexError) as error:
            raise ModelError(f"{source}: {error}") from error
        if changed is not graph:
            check_graph(changed)
        graph = changed
    return graph
