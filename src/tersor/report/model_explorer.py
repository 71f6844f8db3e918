"""Results per layer as node data of Model Explorer, which colours the graph of the file by them.

The form is that of `model_explorer.node_data_builder.GraphNodeData`; keys are the names of results in the file. Data
without a graph's name goes to the graph that is shown.
"""

from __future__ import annotations

from typing import Any

from tersor.report.document import Diagnosis, Errors, Layer
from tersor.stages.debug.causes import GOOD_DB

MEASURES = {"own": "own SQNR (dB)", "total": "SQNR in the network (dB)"}
"""What is shown of a layer: what it gets wrong by itself, and its result with all that reached it."""

_COLOURS = ((10.0, "#a8281d", "#ffffff"), (20.0, "#e07a5f", "#1c2530"), (GOOD_DB, "#f2cc8f", "#1c2530"))
_GOOD = "#9fd8c4"
_CEILING = 1000.0
"""Above every figure: the last colour is for all that is fine."""


def node_data(name: str, found: Diagnosis, measure: str) -> dict[str, Any]:
    """One measure of all layers of a file; exact results have no figure, and none is given."""
    results = {
        layer.tensor: {"value": round(value, 3)}
        for layer in found.operators
        if (value := _value(layer, measure)) is not None
    }
    colours = [{"value": limit, "bgColor": back, "textColor": ink} for limit, back, ink in _COLOURS]
    return {
        "name": f"{name}: {MEASURES[measure]}",
        "results": results,
        "thresholds": [*colours, {"value": _CEILING, "bgColor": _GOOD, "textColor": "#1c2530"}],
        "hideAggregatedStats": ["sum"],  # decibels do not add up
        "hideInChildrenStatsTable": True,
    }


def _value(layer: Layer, measure: str) -> float | None:
    errors: Errors | None = getattr(layer, measure)
    return None if errors is None else errors.ac_sqnr_db
