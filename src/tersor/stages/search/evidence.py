"""The samples, what the float model answers to them, and what may be lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.data.dataset import Dataset
from tersor.ir.graph import Model
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import as_sample
from tersor.stages.outcome import Options
from tersor.stages.prepare import Progress
from tersor.stages.repair.figures import Reference
from tersor.stages.repair.goal import Goal, goal_of
from tersor.stages.repair.samples import LEAST, Samples, divided
from tersor.stages.search.held import Held, sample_digest


@dataclass(frozen=True, eq=False)
class Evidence:
    """What candidates are judged by.

    Attributes:
        samples: to calibrate on, to choose by, to report on; none in common.
        metric: see `evaluate.Scorer`; None where labels are missing.
        goal: what may be lost.
        reference: the float model's answers to the samples that are chosen by.
        held: the samples that are reported on.
        what: the data in words.
    """

    samples: Samples
    metric: str | None
    goal: Goal
    reference: Reference
    held: Held
    what: str

    def digest(self) -> str:
        """What stands for all samples."""
        state = hashlib.sha256(self.held.digest.encode())
        for part in (self.samples.calibration, self.samples.tuning):
            for item in part:
                state.update(sample_digest(as_sample(item)).encode())
        return state.hexdigest()


def evidence_of(
    model: Model,
    float_path: Path,
    data: Dataset,
    evaluation: Dataset | None,
    options: Options,
    max_drop: float,
    engine: Engine,
    progress: Progress,
) -> Evidence:
    """Divide the data and ask the float model.

    Raises DataError for too few samples, and for labels that do not fit the outputs.
    """
    own = divided(model, data, evaluation, options.calibration_samples)
    metric = options.metric or ("top1" if own.tuning[0].label is not None else None)
    reference = Reference(float_path, own.tuning, metric, engine)
    goal = goal_of(max_drop, metric, has_classes=reference.classes is not None)
    drawn = own.reporting.spread(options.evaluation_samples)
    held = Held(float_path, drawn, reference.classes, metric, engine, _told(progress, drawn))
    return Evidence(own, metric, goal, reference, held, data.what)


def fewer_to_calibrate(data: Dataset, evaluation: Dataset | None, asked: int) -> int:
    """How many samples to calibrate on where the user does not say: fewer than asked where data is scarce.

    So that enough are left to choose by and to report on, down to a third of all.
    """
    if data.size is None:
        return asked
    needed = LEAST if evaluation is not None else 2 * LEAST
    return max(1, min(asked, max(len(data) - needed, len(data) // 3)))


def _told(progress: Progress, drawn: Dataset) -> Callable[[int], None]:
    total = None if drawn.size is None else len(drawn)
    return lambda done: progress("the float model: measuring", done, total)
