"""The output folder: what is called what, and what must not be overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import ModelError, OutputError, PlanError, RuntimeFailure, VerificationError
from tersor.formats import tflite
from tersor.ir.graph import Model
from tersor.recipe import Recipe, to_toml
from tersor.runtimes.engine import Engine
from tersor.stages.chain import SAMPLES
from tersor.stages.measure import first_samples
from tersor.stages.produce import refuse_outputs
from tersor.stages.save import atomic, require_writable
from tersor.stages.save_split import SplitFiles, earlier_split, save_split
from tersor.stages.search.evidence import Evidence
from tersor.stages.search.result import Candidate
from tersor.stages.split import split

PICK, RECIPE, REPORT = "pick.tflite", "recipe.toml", "report.json"
"""What lies in the output folder besides the candidates."""


@dataclass(frozen=True)
class OutputFolder:
    """The output folder for one model.

    Attributes:
        model: the float model.
        folder: where everything is written.
    """

    model: Model
    folder: Path

    def of(self, name: str) -> Path:
        """The file of a candidate."""
        source = Path(self.model.source)
        stem = source.resolve().name if source.is_dir() else source.stem
        if not self.model.source or not source.exists():  # a model of this process
            stem = "model"
        return self.folder / f"{stem}.{name}.tflite"

    def require_writable(self, recipes: Mapping[str, Recipe]) -> None:
        """Raise OutputError now if something could not be written later, or would replace the float model."""
        folder, model = self.folder, self.model
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: is a file; --output is the folder for all variants")
        refuse_outputs(model, {recipe: self.of(name) for name, recipe in recipes.items()})
        for name in (PICK, RECIPE):
            if model.source and (folder / name).resolve() == Path(model.source).resolve():
                raise OutputError(f"{folder / name}: would replace the float model itself; give another --output")
            require_writable(folder / name)

    def write_pick(self, pick: Candidate, evidence: Evidence | None) -> None:
        """The pick under a name of its own, and the recipe that makes it again. Raises OutputError.

        Parts of an earlier pick are removed.
        """
        for stale in earlier_split(self.folder / PICK):
            stale.unlink(missing_ok=True)
        with atomic(self.folder / PICK) as temporary:
            shutil.copyfile(pick.path, temporary)
        _write_recipe(self.folder / RECIPE, pick, f"{pick.name}, the pick of tersor optimize", evidence)

    def write_parts(self, target: str, evidence: Evidence | None, engine: Engine) -> SplitFiles | str:
        """The pick in files for the accelerator and for the CPU, or why it cannot be split. Raises OutputError."""
        samples = [] if evidence is None else first_samples(evidence.samples.calibration, SAMPLES)
        pick = self.folder / PICK
        try:
            return save_split(split(tflite.read(pick), target), pick, samples, engine=engine)
        except (ModelError, PlanError, RuntimeFailure, VerificationError) as error:
            return str(error)  # the candidates are made and measured, and are there without it

    def write_recipes(self, candidates: Iterable[Candidate], evidence: Evidence | None) -> None:
        """Beside each candidate the recipe that makes it again. Raises OutputError."""
        for item in candidates:
            _write_recipe(item.recipe_path, item, f"{item.name}, a candidate of tersor optimize", evidence)


def _write_recipe(path: Path, item: Candidate, what: str, evidence: Evidence | None) -> None:
    assert item.recipe is not None
    remarks = [what]
    if evidence is not None:
        own = evidence.samples.calibration
        remarks.append(f"goal: {evidence.goal}")
        remarks.append(f"calibrated on {'some' if own.size is None else len(own)} samples of {evidence.what}")
    with atomic(path) as temporary:
        temporary.write_text(to_toml(item.recipe, tuple(remarks)), "utf-8")
