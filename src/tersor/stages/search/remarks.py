"""What else the user should know about a search."""

from __future__ import annotations

import time
from pathlib import Path

from tersor.formats import tflite
from tersor.ir.graph import Model
from tersor.recipe import to_toml
from tersor.runtimes import tflite_micro
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import doubt
from tersor.stages.examine import examine
from tersor.stages.fit_costs import SAMPLES, fit_costs
from tersor.stages.fitted import Cost, fitting_of, sentences
from tersor.stages.place import place
from tersor.stages.prepare import Preparation
from tersor.stages.save_split import SplitFiles
from tersor.stages.search.evidence import Evidence
from tersor.stages.search.front import AS_FAST, Judge
from tersor.stages.search.journal import Journal
from tersor.stages.search.result import Candidate


def remarks(
    judge: Judge, reference: Candidate, evidence: Evidence | None, journal: Journal, known: int
) -> tuple[str, ...]:
    """Sentences about the data, the times, and what is known from an earlier run."""
    found = []
    if evidence is None:
        found.append(
            "no data was given: only what needs none was made, and what it loses is not known. With --data (a few "
            "hundred samples, with labels if there are any) integer flavours are made, too, dynamic and weight_only "
            "are corrected, all losses are measured, and what loses too much is repaired"
        )
    if known:
        found.append(f"{known} candidates are from an earlier run of the same search; --fresh makes them anew")
    elif journal.is_of_other:
        found.append("an earlier search in this folder was of another model, data, settings or version: made anew")
    if judge.target.is_this_machine and reference.timing is not None:
        low, high = reference.timing.ratio_interval
        beside = f"The float model beside itself took {low:.2f} to {high:.2f} times its own time"
        if low * AS_FAST < 1 or high > AS_FAST:
            found.append(
                f"times are too noisy to rank candidates by: something else keeps this machine busy. {beside}; run it "
                "again with --fresh when the machine is idle"
            )
        else:
            found.append(
                f"times are of this CPU: another may rank candidates otherwise. {beside}: so sure are times here"
            )
    elif not judge.target.is_this_machine:
        found.append(
            f"times are of this CPU and say nothing about {judge.target.name}: they play no part in the choice"
        )
    if judge.target.is_micro and not tflite_micro.is_installed():
        found.append(
            f"arenas were not measured, and nothing was run in TensorFlow Lite Micro: {tflite_micro.MISSING} lets it be"
        )
    return tuple(found)


def fitting_remarks(
    pick: Candidate,
    preparation: Preparation,
    evidence: Evidence | None,
    journal: Journal,
    engine: Engine,
    folder: Path,
    deadline: float,
    parts: SplitFiles | str | None = None,
) -> tuple[str, ...]:
    """Where the pick would run, and what was rewritten for that, with what it costs if there is time to measure it.

    Args:
        pick: the candidate.
        preparation: of the float model.
        evidence: samples to measure on.
        journal: what is known from an earlier run.
        engine: the process to run in.
        folder: for files that are not kept.
        deadline: by `time.monotonic`.
        parts: the files that the pick was cut in, or why it was not.

    Raises OutputError.
    """
    recipe = pick.recipe
    if recipe is None or not recipe.target:
        return ()
    name = f"fitting {to_toml(recipe)}"
    if (known := journal.get(name)) is not None:
        return (*known, *_of_parts(parts))
    fitted = preparation.fitted(recipe)
    costs: tuple[Cost, ...] = ()
    is_split = isinstance(parts, SplitFiles) and bool(parts.paths)
    has_costs = bool(fitted.rewrites) or is_split
    is_measured = not has_costs or (evidence is not None and time.monotonic() < deadline)
    if has_costs and evidence is not None and is_measured:
        own = evidence.samples
        samples = own.tuning[:SAMPLES]
        costs = fit_costs(fitted, recipe, preparation, own.calibration, samples, engine, folder, is_split=is_split)
    found = sentences(fitting_of(fitted, costs, place(tflite.read(pick.path), recipe.target)))
    if is_measured:
        journal.put(name, found)
    return (*found, *_of_parts(parts))


def _of_parts(parts: SplitFiles | str | None) -> tuple[str, ...]:
    """What the pick was cut in, or why it was not; nothing where that was not asked for."""
    if parts is None:
        return ()
    if isinstance(parts, str):
        return (f"the pick is one file, not split: {parts}",)
    device = parts.split.placement.device
    if not parts.paths:
        return (f"the {device} runs all operators of the pick: there is nothing to split off",)
    names = ", ".join(path.name for path in parts.paths)
    equal = " and ".join(item.kernels for item in parts.chained if item.is_equal)
    count = len(parts.split.on_device.model.graph.ops)
    said = f"the pick in parts: {names}, chained by {parts.manifest.name if parts.manifest else ''}"
    return (f"{said}; {count} operators run on the {device}, and all answer bit for bit as the pick on {equal}",)


def doubts(evidence: Evidence | None, model: Model) -> tuple[str, ...]:
    """What is wrong with the samples, or with how the float model is asked."""
    if evidence is None:
        return ()
    found = examine(evidence.samples.calibration, evidence.samples.reporting, model)
    score = evidence.held.score
    text = None if score is None else doubt(score)
    return found if text is None else (*found, f"the float model itself: {text}")
