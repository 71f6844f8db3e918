"""What is done, kept beside the results: the same command goes on from there.

One JSON file in the output folder, replaced as a whole after each step, and good only for the model, samples, settings
and programs that it was written for: a digest of all of these is its key.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tersor.ir.graph import Array
from tersor.recipe import parse_recipe, to_toml
from tersor.stages.benchmark import Timing
from tersor.stages.evaluate import Change, Score
from tersor.stages.repair.figures import Figures
from tersor.stages.save import atomic
from tersor.stages.search.result import Candidate, Left, Tried

NAME = ".tersor-state.json"
"""Of the file."""


class Journal:
    """Steps by name, as far as they are done.

    Args:
        folder: the output folder.
        key: what they follow from.
        fresh: forget what was done.

    Attributes:
        is_of_other: whether something else was searched for in this folder before.
    """

    def __init__(self, folder: Path, key: str, *, fresh: bool = False) -> None:
        self._folder = folder
        self._key = key
        self._entries: dict[str, Any] = {}
        self.is_of_other = False
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads((folder / NAME).read_text("utf-8"))
            self.is_of_other = kept["key"] != key
            if not self.is_of_other and not fresh:
                self._entries = dict(kept["entries"])

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str) -> Any | None:
        """What was put under a name; None if there is nothing."""
        return self._entries.get(name)

    def put(self, name: str, value: Any) -> None:
        """Keep a value that JSON can hold. Raises OutputError."""
        self._entries[name] = value
        with atomic(self._folder / NAME) as temporary:
            temporary.write_text(json.dumps({"key": self._key, "entries": self._entries}), "utf-8")

    def candidate(self, name: str) -> Candidate | None:
        """A candidate that was put, if its file is still what it was; None otherwise."""
        with suppress(OSError, LookupError, TypeError, ValueError):
            kept = self._entries[name]
            path = self._folder / kept["file"]
            if kept["is_inside"] and hashlib.sha256(path.read_bytes()).hexdigest() != kept["digest"]:
                return None
            return candidate_from(kept, path)
        return None

    def put_candidate(self, name: str, item: Candidate) -> None:
        """Keep a candidate. Raises OutputError."""
        content = candidate_to(item)
        content["is_inside"] = item.path.parent == self._folder
        content["digest"] = hashlib.sha256(item.path.read_bytes()).hexdigest() if content["is_inside"] else None
        self.put(name, content)


def candidate_to(item: Candidate) -> dict[str, Any]:
    """A candidate as JSON holds it."""
    sizes = ("size_bytes", "gzip_bytes", "peak_bytes", "arena_bytes", "measured_arena_bytes")
    return {
        **{key: getattr(item, key) for key in ("name", *sizes, "warnings", "seconds")},
        "file": item.path.name,
        "recipe": None if item.recipe is None else [item.recipe.name, to_toml(item.recipe)],
        "tuning": _figures_to(item.tuning),
        "reporting": _figures_to(item.reporting),
        "score": None if item.score is None else asdict(item.score),
        "timing": None if item.timing is None else asdict(item.timing),
        "left": [asdict(left) for left in item.left],
        "tried": [asdict(step) for step in item.tried],
    }


def candidate_from(kept: Mapping[str, Any], path: Path) -> Candidate:
    """A candidate from what `candidate_to` made. Raises LookupError, TypeError and ValueError for anything else."""
    recipe, timing = kept["recipe"], kept["timing"]
    return Candidate(
        kept["name"],
        path,
        None if recipe is None else replace(parse_recipe(recipe[1], recipe[0]), name=recipe[0]),
        kept["size_bytes"],
        kept["gzip_bytes"],
        _figures_from(kept["tuning"]),
        _figures_from(kept["reporting"]),
        _score_from(kept["score"]),
        None if timing is None else Timing(**{**timing, "ratio_interval": tuple(timing["ratio_interval"])}),
        kept["peak_bytes"],
        kept["arena_bytes"],
        tuple(Left(**left) for left in kept["left"]),
        tuple(kept["warnings"]),
        tried_from(kept["tried"]),
        kept["seconds"],
        kept["measured_arena_bytes"],
    )


def tried_from(kept: list[dict[str, Any]]) -> tuple[Tried, ...]:
    """What repair tried, from JSON."""
    return tuple(Tried(**step) for step in kept)


def _figures_to(figures: Figures | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    arrays = {key: _array_to(getattr(figures, key)) for key in ("signal", "noise", "changed", "lost")}
    scores = None if figures.scores is None else [asdict(item) for item in figures.scores]
    change = None if figures.change is None else asdict(figures.change)
    return {**arrays, "change": change, "score": figures.score, "scores": scores}


def _figures_from(kept: Mapping[str, Any] | None) -> Figures | None:
    if kept is None:
        return None
    signal, noise, changed, lost = (_array_from(kept[key]) for key in ("signal", "noise", "changed", "lost"))
    if signal is None or noise is None:
        raise ValueError("figures without signal or noise")
    change = None if kept["change"] is None else Change(kept["change"]["value"], tuple(kept["change"]["interval"]))
    scores = kept["scores"]
    both = None if scores is None else (_score(scores[0]), _score(scores[1]))
    return Figures(signal, noise, changed, lost, change, kept["score"], both)


def _score_from(kept: Mapping[str, Any] | None) -> Score | None:
    return None if kept is None else _score(kept)


def _score(kept: Mapping[str, Any]) -> Score:
    return Score(kept["metric"], kept["value"], tuple(kept["interval"]), kept["samples"])


def _array_to(values: Array | None) -> Any:
    """The numbers exactly, so that nothing that is said of them changes."""
    if values is None:
        return None
    return [list(values.shape), base64.b64encode(np.asarray(values, "<f8").tobytes()).decode()]


def _array_from(kept: Any) -> Array | None:
    if kept is None:
        return None
    shape, content = kept
    return np.frombuffer(base64.b64decode(content), "<f8").astype(np.float64).reshape(shape)
