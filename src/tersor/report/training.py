"""What a training came to, for people and machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from tersor.report import cells
from tersor.report.outcome import change_to_dict, finite, score_to_dict

if TYPE_CHECKING:
    from tersor.training.checkpoint import Figures
    from tersor.training.task import Task
    from tersor.training.train import Row, Trained


def training_table(trained: Trained) -> Table:
    """A row for the float model, its file without training, and the file of what was trained."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("file", no_wrap=True)
    for title in (trained.task.metric, "change from float [95 %]", "from untrained [95 %]"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in trained.rows:
        own = [cells.change(row.score, row.changes[0] if row.changes else None)]
        own += [cells.change(row.score, change) for change in row.changes[1:2]]
        table.add_row(*map(escape, (row_name(row, trained), cells.score(row.score), *own)))
    return table


def row_name(row: Row, trained: Trained) -> str:
    """What the file is."""
    if row.trained:
        return f"{row.name}, trained (epoch {trained.best})"
    return row.name if row.name == "float" else f"{row.name}, not trained"


def epoch_line(figures: Figures, task: Task, epochs: int, is_best: bool) -> str:
    """An epoch in a line."""
    loss = "" if figures.loss is None else f"loss {figures.loss:.4f}, "
    value = f"{100 * figures.value:.2f} %" if task.metric.startswith("top") else f"{figures.value:.4g}"
    best = " (best so far)" if is_best else ""
    validation = f"validation loss {figures.validation_loss:.4f}, {task.metric} {value}"
    return f"epoch {figures.epoch}/{epochs}: {loss}{validation}{best}"


def training_notes(trained: Trained) -> tuple[list[str], list[str]]:
    """Lines that explain, and lines that a user should not miss."""
    where, held = trained.where, trained.rows[0].score.samples
    notes = [
        f"measured on {held} samples, none of which was trained on; in the first row float's own interval",
        f"trained on {trained.samples} samples by Keras on {trained.backend}",
    ]
    notes += [trained.remark] if trained.remark else []
    warnings = []
    if trained.stopped is not None:
        last = trained.history[-1].epoch if trained.history else 0
        kept = (
            f"the best so far (epoch {trained.best}) is in {where.output}"
            if trained.is_written
            else "nothing to keep yet"
        )
        warnings.append(f"stopped after epoch {last} of {trained.settings.epochs}: {kept}; --resume goes on")
    if trained.is_written:
        notes.append(f"wrote {where.output}" + ("" if where.file is None else f" and {where.file}"))
        if where.file is None and trained.stopped is None:
            notes.append(f"next: tersor quantize {where.output} -o {where.output.with_suffix('.tflite')}")
    if trained.stopped is None and trained.best == 0:
        warnings.append(
            "no epoch was better than none, so the network is as it was: try another --learning-rate "
            f"(it was {trained.rate:g}), or more samples"
        )
    change = next((row.changes[1] for row in trained.rows if row.trained and len(row.changes) > 1), None)
    if change is not None and (change.value > 0) == trained.task.lower_is_better and change.value:
        surely = "is" if change.is_significant else "may be"
        warnings.append(
            f"the file that was not trained {surely} better: give more --epochs or another --learning-rate (it was "
            f"{trained.rate:g}), or leave it at tersor quantize"
        )
    return notes, warnings


def training_to_dict(trained: Trained) -> dict[str, Any]:
    """The same for machines."""
    names = ("float", "untrained")
    rows = {}
    for row in trained.rows:
        name = "trained" if row.trained else "float" if row.name == "float" else "untrained"
        changes = {
            f"change_from_{own}": change_to_dict(change) for own, change in zip(names, row.changes, strict=False)
        }
        rows[name] = {"score": score_to_dict(row.score), **changes}
    return {
        "output": str(trained.where.output) if trained.is_written else None,
        "tflite": str(trained.where.file) if trained.is_written and trained.where.file is not None else None,
        "recipe": trained.recipe,
        "backend": trained.backend,
        "loss": trained.task.loss,
        "training_samples": trained.samples,
        "results": rows,
        "best_epoch": trained.best,
        "stopped": trained.stopped is not None,
        "history": [{key: finite(value) for key, value in asdict(item).items()} for item in trained.history],
        "settings": {**asdict(trained.settings), "learning_rate": trained.rate},
    }
