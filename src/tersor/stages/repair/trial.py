"""Recipe -> what it does on the tuning samples: planned, corrected, quantized, written and run."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from tersor.formats import tflite
from tersor.recipe import Recipe
from tersor.stages.prepare import Preparation
from tersor.stages.quantize import quantize
from tersor.stages.repair.figures import Figures, Reference


@dataclass(frozen=True)
class Trial:
    """One candidate, made and measured.

    Attributes:
        recipe: what it was made by.
        figures: on the tuning samples.
        size_bytes: of the file.
        digest: of the file's bytes: the same for candidates that differ in the recipe only.
        seconds: it took.
    """

    recipe: Recipe
    figures: Figures
    size_bytes: int
    digest: str
    seconds: float


class Bench:
    """Makes candidates of one model and measures them.

    Args:
        preparation: of the model and the calibration samples.
        reference: the float model's outputs for the tuning samples.
        folder: for the files, one after the other.
    """

    def __init__(self, preparation: Preparation, reference: Reference, folder: Path) -> None:
        self.preparation = preparation
        self._reference = reference
        self._path = folder / "candidate.tflite"
        self._seen: dict[str, Figures] = {}

    def trial(self, recipe: Recipe) -> Trial:
        """Make and measure a candidate.

        Raises PlanError, RuntimeFailure and VerificationError for one that cannot be made or does not run.
        """
        started = time.perf_counter()
        self.write(recipe, self._path)
        content = self._path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._seen:
            self._seen[digest] = self._reference.figures(self._path)
        return Trial(recipe, self._seen[digest], len(content), digest, time.perf_counter() - started)

    def write(self, recipe: Recipe, path: Path) -> None:
        """Make a candidate. Raises PlanError."""
        corrected = self.preparation.corrected(recipe)
        tflite.write(quantize(corrected.model, corrected.plan), path)
