"""What `produce` is asked for and what comes of it, as values, and what a user should know about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.ir.plan import Plan
from tersor.stages.benchmark import Timing
from tersor.stages.calibrate import FEW_SAMPLES
from tersor.stages.compare import OutputDistance
from tersor.stages.evaluate import METRICS, SHARES, Change, Score, doubt
from tersor.stages.fine_tuning import FineTunes
from tersor.stages.fitted import Fitting
from tersor.stages.verify import Verified

if TYPE_CHECKING:
    from tersor.stages.save_split import SplitFiles

_SLOWER = 1.15
"""A result is called slower than float from this ratio; below, it may be noise."""


@dataclass(frozen=True)
class Options:
    """How to go about it.

    Attributes:
        calibration_samples: at most so many samples are used to calibrate; the others are left to measure on.
        evaluation_samples: at most so many samples are measured on.
        metric: see `evaluate.Scorer`; None for top1 where there are labels and no score where there are none.
        latency: whether to time the results.
        finetune: trains results whose recipe asks for it; see `tersor.training.finetune`.
    """

    calibration_samples: int = 100
    evaluation_samples: int = 1000
    metric: str | None = None
    latency: bool = False
    finetune: FineTunes | None = None


@dataclass(frozen=True)
class Product:
    """One file that was made, and what it costs.

    Attributes:
        recipe: what it was made by.
        path: where it lies; None for the float model itself.
        plan: what was decided and why; None for the float model.
        size_bytes: of the file.
        verified: what was seen when it was loaded and run on each kernel set.
        score: on the evaluation samples, where these have labels.
        change: how much that differs from the float model's score on the same samples; None for the float model.
        distances: of each output from the float model's, on the evaluation samples.
        timing: on this machine, where asked for.
        fitting: what was done for the recipe's target; None without one.
        split: the parts that it was cut in; None where that was not asked for.
    """

    recipe: str
    path: Path | None
    plan: Plan | None
    size_bytes: int
    verified: tuple[Verified, ...] = ()
    score: Score | None = None
    distances: tuple[OutputDistance, ...] = ()
    timing: Timing | None = None
    change: Change | None = None
    fitting: Fitting | None = None
    split: SplitFiles | None = None

    @property
    def agreement(self) -> float | None:
        """Share of samples with the float model's arg-max, of the first output that has classes."""
        return next((item.agreement for item in self.distances if item.agreement is not None), None)

    @property
    def sqnr_db(self) -> float | None:
        """The worst output's signal to quantization noise ratio in decibel."""
        return min((item.sqnr_db for item in self.distances), default=None)


@dataclass(frozen=True)
class Outcome:
    """Everything that `produce` made and measured.

    Attributes:
        reference: the float model's own size, score and timing.
        products: in the order of the recipes.
        calibration_samples: how many samples the ranges come from.
        evaluation_samples: how many samples the figures come from.
        disjoint: whether these are other samples than those.
        batch: samples that the files take at once; timings are of one such run.
        remarks: what was seen of the samples, see `examine`.
    """

    reference: Product
    products: tuple[Product, ...]
    calibration_samples: int
    evaluation_samples: int
    disjoint: bool
    batch: int = 1
    remarks: tuple[str, ...] = ()


def warnings(outcome: Outcome) -> list[str]:
    """What the user should know about results that are otherwise usable."""
    found = list(outcome.remarks)
    if outcome.reference.score is not None and (text := doubt(outcome.reference.score)) is not None:
        found.append(f"float: {text}")
    if 0 < outcome.calibration_samples < FEW_SAMPLES:
        few = outcome.calibration_samples
        count = f"only {few} calibration sample{'s' if few > 1 else ''}"
        found.append(f"{count}: ranges are unreliable below {FEW_SAMPLES}, 100 is usual")
    for product in outcome.products:
        found += [f"{product.recipe}: {text}" for text in (product.plan.warnings if product.plan is not None else ())]
        if product.score is not None and product.change is not None and product.change.is_significant:
            found += _worse(product.recipe, product.score.metric, product.change)
        if product.timing is not None and product.timing.ratio > _SLOWER:
            found.append(f"{product.recipe}: {product.timing.ratio:.1f} times SLOWER than float on this machine")
    return found


def _worse(recipe: str, metric: str, change: Change) -> list[str]:
    """The sentence that says that a score is worse than float's (or other, for a metric of the user's own)."""
    if metric in METRICS and (change.value > 0) != (metric == "mse"):
        return []
    low, high = sorted(abs(bound) for bound in change.interval)
    if metric in SHARES:
        text = f"{100 * abs(change.value):.1f} points below float (95 %: {100 * low:.1f}..{100 * high:.1f})"
    else:
        kind = "worse than" if metric in METRICS else "away from"
        text = f"{abs(change.value):.4g} {kind} float (95 %: {low:.4g}..{high:.4g})"
    return [f"{recipe}: {metric} is {text}; tersor debug says why"]
