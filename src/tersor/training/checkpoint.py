"""Where training stands, in a file: what was killed goes on from there, and ends as if nothing had been."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tersor.errors import OutputError, RecipeError
from tersor.ir.graph import Array
from tersor.stages.save import atomic

SUFFIX = ".checkpoint"
"""Behind the output's name."""


@dataclass(frozen=True)
class Figures:
    """What an epoch came to.

    Attributes:
        epoch: 0 is before training.
        loss: mean of the training samples; None before training.
        value: the metric on the validation samples.
        validation_loss: likewise the loss.
    """

    epoch: int
    loss: float | None
    value: float
    validation_loss: float


@dataclass
class Standing:
    """How far training is.

    Attributes:
        phase: what of the recipe is done, see `methods`.
        epoch: epochs that are over.
        batch: batches of the next one that are over.
        loss: sum of the losses of these.
        history: of the epochs that are over.
        best: the epoch that is kept; None before any.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    history: list[Figures] = field(default_factory=list)
    best: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """What is in the file.

    Attributes:
        run: what training follows from; another run does not go on from here.
        standing: how far it was.
        variables: of the network that trains.
        optimizer: the optimizer's.
        best: the variables of the best epoch; none before any.
        before: the variables with which the phase before ended; none in the first.
    """

    run: Mapping[str, Any]
    standing: Standing
    variables: Sequence[Array]
    optimizer: Sequence[Array]
    best: Sequence[Array]
    before: Sequence[Array] = ()

    def write(self, path: Path) -> None:
        """Replace the file. Raises OutputError; then the one before is still there."""
        arrays = {f"{name}/{i}": own for name in _GROUPS for i, own in enumerate(getattr(self, name))}
        about = json.dumps({"run": dict(self.run), "standing": asdict(self.standing)})
        arrays["about"] = np.frombuffer(about.encode(), np.uint8)
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)


_GROUPS = ("variables", "optimizer", "best", "before")


def read_checkpoint(path: Path) -> Checkpoint:
    """The file's content. Raises OutputError for one that cannot be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            about = json.loads(bytes(loaded["about"]))
            groups = {name: [loaded[key] for key in _numbered(loaded.files, name)] for name in _GROUPS}
            kept = about["standing"]
            history = [Figures(**item) for item in kept.pop("history")]
            return Checkpoint(about["run"], Standing(**kept, history=history), **groups)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise OutputError(f"{path}: not a checkpoint that can be read: {error}; begin anew without --resume") from error


def require_same_run(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise RecipeError for a checkpoint of a run on something else, by what differs."""
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        first = changed[0]
        raise RecipeError(
            f"{path} is of another run: {first} was {before.get(first)!r} and is {now[first]!r} now; resume with the "
            "same options, or begin anew with --overwrite"
        )


def _numbered(names: Sequence[str], group: str) -> list[str]:
    found = [name for name in names if name.startswith(f"{group}/")]
    return sorted(found, key=lambda name: int(name.rpartition("/")[2]))
