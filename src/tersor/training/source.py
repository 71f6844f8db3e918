"""The float network that training begins with."""

from __future__ import annotations

from typing import Any

from tersor.ir.graph import Model
from tersor.passes import deduplicate_constants
from tersor.stages.load import load
from tersor.stages.optimize import PASSES, optimize
from tersor.training.network import Network
from tersor.training.same import require_same

_PASSES = tuple(apply for apply in PASSES if apply is not deduplicate_constants.apply)
"""Constants that are equal before training need not be after it."""


def source_of(model: Any) -> Model:
    """The simplified float model of whatever can be trained.

    Args:
        model: a live Keras model, a file of any kind that tersor reads, a `Model`, or a `Network` that was trained.

    Raises UnsupportedError for a model that mixes the samples of a batch.
    """
    source = float_source(model)
    require_same(source)
    return source


def float_source(model: Any) -> Model:
    """The simplified float model, which may not be one that can be trained; see `source_of`."""
    if isinstance(model, Network):
        model = model.trained()
    return optimize(model if isinstance(model, Model) else load(model), _PASSES)
