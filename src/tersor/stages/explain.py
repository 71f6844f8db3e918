"""A finished search -> what is wrong with the layers of the candidates that people ask about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from tersor.errors import RuntimeFailure, UnsupportedError
from tersor.ir.graph import Model
from tersor.runtimes.engine import Engine
from tersor.stages.debug import Diagnosis, debug
from tersor.stages.load import load
from tersor.stages.prepare import Progress
from tersor.stages.search import Candidate, Search

MOST = 2
"""Candidates that are looked into: each costs some seconds, and more would bury what is asked."""


def explain(
    found: Search,
    model: Model,
    samples: Iterable[object],
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> dict[str, Diagnosis]:
    """Diagnoses by candidate: of the pick, and of the one that loses most; of these only what computes in integers.

    Args:
        found: the search.
        model: the float model.
        samples: what is compared on, more than once.
        engine: the process to run in; by default one of its own.
        progress: told what is going on.
    """
    diagnoses: dict[str, Diagnosis] = {}
    told = progress or (lambda _what, _done, _total: None)
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        for item in _asked_about(found):
            if len(diagnoses) == MOST:
                break
            told("looking into layers", len(diagnoses), MOST)
            try:
                diagnoses[item.name] = debug(model, load(item.path), samples, engine=runner)
            except (UnsupportedError, RuntimeFailure):  # nothing to compare in it, or more than the process can show
                continue
    return diagnoses


def _asked_about(found: Search) -> Iterator[Candidate]:
    """The pick, then the noisiest first."""
    if found.picked is not None:
        yield found.picked
    others = [item for item in found.candidates if item.name != found.pick and item.sqnr_db is not None]
    yield from sorted(others, key=lambda item: item.sqnr_db or 0.0)
