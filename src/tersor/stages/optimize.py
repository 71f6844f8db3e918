"""Model -> the float model to calibrate and quantize: what earlier tools stored small is restored."""

from __future__ import annotations

from dataclasses import replace

from tersor.errors import ModelError
from tersor.ir.check import check_graph
from tersor.ir.graph import Model
from tersor.passes import restore_float_weights


def optimize(model: Model) -> Model:
    """Run the passes on every graph, with the invariants checked after each. Raises ModelError."""
    graphs = []
    for graph in model.graphs:
        try:
            changed = restore_float_weights.apply(graph)
        except (ValueError, IndexError) as error:
            raise ModelError(f"{model.source}: {error}") from error
        if changed is not graph:
            check_graph(changed)
        graphs.append(changed)
    if all(new is old for new, old in zip(graphs, model.graphs, strict=True)):
        return model
    return replace(model, graphs=tuple(graphs))
