"""What `repair` tried and found, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rich.markup import escape
from rich.table import Table

from tersor.recipe import to_toml
from tersor.report import cells
from tersor.report.outcome import finite
from tersor.stages.evaluate import Change
from tersor.stages.repair import Repair, Step, Verdict
from tersor.stages.repair.figures import Figures
from tersor.stages.repair.goal import Goal, Reading
from tersor.stages.repair.trial import Trial


def repair_table(found: Repair) -> Table:
    """A row for everything that was tried, what was kept in bold."""
    first = found.steps[0].after
    columns: list[tuple[str, Callable[[Trial], str]]] = [
        (_TITLES[found.goal.kind], lambda trial: _percent(found.goal.readings(trial.figures)[0].value)),
        ("SQNR", lambda trial: cells.sqnr(trial.figures.sqnr_db)),
    ]
    sizes = {step.after.size_bytes for step in found.steps if step.after is not None}
    if first is not None and len(sizes) > 1:
        columns.append(("bytes", lambda trial: f"{trial.size_bytes - first.size_bytes:+d}"))
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column(f"{found.asked.name}: tried", no_wrap=True)
    for title in (*(title for title, _ in columns), "gain [95 %]", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("result")
    for step in found.steps:
        figures = ["-" if step.after is None else cell(step.after) for _, cell in columns]
        result = f"* {step.why}" if step.kept else f"  {step.why}"
        row = (step.rung, *figures, _gain(step.gain), f"{step.seconds:.0f}", result)
        table.add_row(*map(escape, row), style="bold" if step.kept else None)
    return table


_TITLES = {"points": "points lost", "relative": "drop %", "answers": "changed %", "noise": "noise %"}


def repair_notes(found: Repair) -> list[str]:
    """What was asked, whether it is reached, and what the figures rest on."""
    tuned = f"tuned on {found.tuning_samples} samples, others than those calibrated and those reported on"
    said = [f"{found.asked.name}: {verdict(found)}"] if found.reached else []  # else it is a warning
    table = "*: kept; gain: in SQNR, dB; no difference: none that is more than chance"
    return [table, *said, tuned, *_changes(found), f"wrote {found.recipe_path}"]


def verdict(found: Repair) -> str:
    """A sentence that says whether the goal is reached, by which figures, on how many samples."""
    seen = ", ".join(_reading(found.goal, item) for item in found.goal.readings(found.figures))
    figures = f"{seen} on {found.figures.samples} samples that nothing was chosen by"
    if found.verdict is Verdict.SHOWN:
        return f"goal reached ({found.goal}): {figures}"
    if found.verdict is Verdict.REACHED:
        return f"goal reached, as far as {found.figures.samples} samples tell ({found.goal}): {figures}"
    if found.verdict is Verdict.OPEN:
        return (
            "goal reached by the confidence of the float model; what was measured is beyond it by no more than chance, "
            f"and more samples would tell ({found.goal}): {figures}"
        )
    return f"goal MISSED ({found.goal}): {figures}" + "".join(_instead(found, trial) for trial in found.elsewhere)


def repair_to_dict(found: Repair) -> dict[str, Any]:
    """Everything, as JSON has it: infinities become None."""
    return {
        "flavour": found.asked.name,
        "goal": str(found.goal),
        "max_drop": found.goal.max_drop,
        "verdict": found.verdict.value,
        "reached": found.reached,
        "text": verdict(found),
        "tuning_samples": found.tuning_samples,
        "reported": _figures(found.goal, found.figures),
        "steps": [_step(found.goal, step) for step in found.steps],
        "elsewhere": [
            {"flavour": trial.recipe.name, **_figures(found.goal, trial.figures)} for trial in found.elsewhere
        ],
        "slowdown": found.slowdown,
        "recipe": to_toml(found.recipe),
        "recipe_file": str(found.recipe_path),
    }


def _changes(found: Repair) -> list[str]:
    """What was kept, in a line."""
    kept = [step.rung for step in found.steps[1:] if step.kept]
    if not kept:
        return ["nothing was changed: the recipe as it was asked for is the best that was found"]
    widened = next((step.operators for step in reversed(found.steps) if step.kept and step.operators), ())
    slower = (
        "" if found.slowdown is None else f", {found.slowdown:.2f} times the time of the flavour as it comes (here)"
    )
    named = f" (widened: {', '.join(widened[:6])}{', ...' if len(widened) > 6 else ''})" if widened else ""
    return [f"kept: {', '.join(kept)}{named}{slower}"]


def _instead(found: Repair, trial: Trial) -> str:
    reading = found.goal.readings(trial.figures)[0]
    per_channel = found.recipe.scheme.granularity != trial.recipe.scheme.granularity
    where = "with a scale per channel" if per_channel else "everywhere"
    figure = f"{_percent(reading.value)} {found.goal.unit}"
    return f"; {trial.recipe.name} {where}: {reading.name} {figure} on the tuning samples"


def _step(goal: Goal, step: Step) -> dict[str, Any]:
    return {
        "rung": step.rung,
        "does": step.does,
        "cost": step.cost,
        "kept": step.kept,
        "why": step.why,
        "seconds": round(step.seconds, 2),
        "operators": list(step.operators),
        "gain_db": None if step.gain is None else _interval(step.gain.value, step.gain.interval),
        "before": None if step.before is None else _trial(goal, step.before),
        "after": None if step.after is None else _trial(goal, step.after),
    }


def _trial(goal: Goal, trial: Trial) -> dict[str, Any]:
    return {"size_bytes": trial.size_bytes, **_figures(goal, trial.figures)}


def _figures(goal: Goal, figures: Figures) -> dict[str, Any]:
    readings = {item.name: _interval(item.value, item.interval) for item in goal.readings(figures)}
    return {
        "samples": figures.samples,
        "sqnr_db": finite(figures.sqnr_db),
        "agreement": figures.agreement,
        "readings": readings,
    }


def _interval(value: float, interval: tuple[float, float]) -> dict[str, Any]:
    return {"value": finite(value), "interval": [finite(bound) for bound in interval]}


def _reading(goal: Goal, reading: Reading) -> str:
    low, high = reading.interval
    return f"{reading.name} {_percent(reading.value)} {goal.unit} [{_percent(low)}, {_percent(high)}]"


def _percent(share: float) -> str:
    return f"{round(100 * share, 6) + 0.0:.3g}" if math.isfinite(share) else "infinite"


def _gain(gain: Change | None) -> str:
    if gain is None:
        return ""
    low, high = gain.interval
    return f"{gain.value:+.1f} [{low:+.1f}, {high:+.1f}]"
