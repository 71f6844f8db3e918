"""tersor makes trained networks small, fast and still right on edge devices, and says what it cost.

The stages are functions from values to values; each can be saved, compared and printed::

    model = tersor.optimize(tersor.load("model.keras"))  # or a live keras.Model
    data = tersor.load_data("photos/", model, tersor.Preprocess(mean=(127.5,), std=(127.5,)))
    recipe = tersor.load_recipe("int8")
    plan = tersor.plan(model, recipe, tersor.calibrate(model, data))
    corrected = tersor.correct(model, plan, data, recipe.algorithms)
    tersor.save(tersor.quantize(corrected.model, corrected.plan), "model.int8.tflite")

Names are loaded when they are used (PEP 562), so that importing tersor costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Candidate": "tersor.stages.search.result",
    "Conversion": "tersor.formats.saved_model.conversion",
    "Dataset": "tersor.data.dataset",
    "Judged": "tersor.stages.place_everywhere",
    "Limits": "tersor.stages.search.result",
    "Model": "tersor.ir.graph",
    "Options": "tersor.stages.outcome",
    "Outcome": "tersor.stages.outcome",
    "Placement": "tersor.ir.placement",
    "Plan": "tersor.ir.plan",
    "Preprocess": "tersor.data.preprocess",
    "Recipe": "tersor.recipe",
    "Repair": "tersor.stages.repair",
    "Sample": "tersor.data.feed",
    "Score": "tersor.stages.evaluate",
    "Search": "tersor.stages.search.result",
    "Statistics": "tersor.stages.statistics",
    "TersorError": "tersor.errors",
    "Wish": "tersor.stages.search",
    "analyze": "tersor.stages.analyze",
    "annotate": "tersor.stages.annotate",
    "calibrate": "tersor.stages.calibrate",
    "compile_for": "tersor.stages.compile_for",
    "correct": "tersor.stages.correct",
    "debug": "tersor.stages.debug",
    "evaluate": "tersor.stages.evaluate",
    "export_archive": "tersor.stages.archive",
    "export_c": "tersor.stages.export",
    "explain": "tersor.stages.explain",
    "fit": "tersor.stages.fit",
    "load": "tersor.stages.load",
    "load_data": "tersor.stages.load_data",
    "load_recipe": "tersor.recipe",
    "mixtures": "tersor.stages.mixed_precision",
    "optimize": "tersor.stages.optimize",
    "place": "tersor.stages.place",
    "place_everywhere": "tersor.stages.place_everywhere",
    "place_segments": "tersor.stages.place_several",
    "place_together": "tersor.stages.place_several",
    "plan": "tersor.stages.plan",
    "produce": "tersor.stages.produce",
    "quantize": "tersor.stages.quantize",
    "repair": "tersor.stages.repair",
    "run": "tersor.stages.run",
    "save": "tersor.stages.save",
    "save_split": "tersor.stages.save_split",
    "search": "tersor.stages.search",
    "sensitivity": "tersor.stages.sensitivity",
    "split": "tersor.stages.split",
    "verify": "tersor.stages.verify",
    "write_report": "tersor.report.files",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from tersor.data.dataset import Dataset as Dataset
    from tersor.data.feed import Sample as Sample
    from tersor.data.preprocess import Preprocess as Preprocess
    from tersor.errors import TersorError as TersorError
    from tersor.formats.saved_model.conversion import Conversion as Conversion
    from tersor.ir.graph import Model as Model
    from tersor.ir.placement import Placement as Placement
    from tersor.ir.plan import Plan as Plan
    from tersor.recipe import Recipe as Recipe
    from tersor.recipe import load_recipe as load_recipe
    from tersor.report.files import write_report as write_report
    from tersor.stages.analyze import analyze as analyze
    from tersor.stages.annotate import annotate as annotate
    from tersor.stages.archive import export_archive as export_archive
    from tersor.stages.calibrate import calibrate as calibrate
    from tersor.stages.compile_for import compile_for as compile_for
    from tersor.stages.correct import correct as correct
    from tersor.stages.debug import debug as debug
    from tersor.stages.evaluate import Score as Score
    from tersor.stages.evaluate import evaluate as evaluate
    from tersor.stages.explain import explain as explain
    from tersor.stages.export import export_c as export_c
    from tersor.stages.fit import fit as fit
    from tersor.stages.load import load as load
    from tersor.stages.load_data import load_data as load_data
    from tersor.stages.mixed_precision import mixtures as mixtures
    from tersor.stages.optimize import optimize as optimize
    from tersor.stages.outcome import Options as Options
    from tersor.stages.outcome import Outcome as Outcome
    from tersor.stages.place import place as place
    from tersor.stages.place_everywhere import Judged as Judged
    from tersor.stages.place_everywhere import place_everywhere as place_everywhere
    from tersor.stages.place_several import place_segments as place_segments
    from tersor.stages.place_several import place_together as place_together
    from tersor.stages.plan import plan as plan
    from tersor.stages.produce import produce as produce
    from tersor.stages.quantize import quantize as quantize
    from tersor.stages.repair import Repair as Repair
    from tersor.stages.repair import repair as repair
    from tersor.stages.run import run as run
    from tersor.stages.save import save as save
    from tersor.stages.save_split import save_split as save_split
    from tersor.stages.search import Wish as Wish
    from tersor.stages.search import search as search
    from tersor.stages.search.result import Candidate as Candidate
    from tersor.stages.search.result import Limits as Limits
    from tersor.stages.search.result import Search as Search
    from tersor.stages.sensitivity import sensitivity as sensitivity
    from tersor.stages.split import split as split
    from tersor.stages.statistics import Statistics as Statistics
    from tersor.stages.verify import verify as verify


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tersor' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
