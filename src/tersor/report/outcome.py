"""What `produce` measured, as plain values for machines: the form that ``--json`` prints."""

from __future__ import annotations

import math
from typing import Any

from tersor.stages.benchmark import Timing
from tersor.stages.evaluate import Change, Score
from tersor.stages.outcome import Outcome, Product, warnings


def outcome_to_dict(outcome: Outcome) -> dict[str, Any]:
    """Figures of the float model and of every product; missing ones are None."""
    return {
        "float": _product(outcome.reference),
        "products": [_product(product) for product in outcome.products],
        "calibration_samples": outcome.calibration_samples,
        "evaluation_samples": outcome.evaluation_samples,
        "disjoint": outcome.disjoint,
        "batch": outcome.batch,
        "warnings": warnings(outcome),
    }


def score_to_dict(score: Score | None) -> dict[str, Any] | None:
    """A score with its interval."""
    if score is None:
        return None
    low, high = (finite(bound) for bound in score.interval)
    return {"metric": score.metric, "value": finite(score.value), "interval": [low, high], "samples": score.samples}


def finite(value: float | None) -> float | None:
    """JSON has no infinity: a value that is not finite becomes None."""
    return value if value is not None and math.isfinite(value) else None


def change_to_dict(change: Change | None) -> dict[str, Any] | None:
    """A change of a score, with its interval."""
    if change is None:
        return None
    low, high = (finite(bound) for bound in change.interval)
    return {"value": finite(change.value), "interval": [low, high], "significant": change.is_significant}


def timing_to_dict(timing: Timing | None) -> dict[str, Any]:
    """Times of a file that ran in turn with another one; None for each where there are none."""
    return {
        "latency_ms": None if timing is None else timing.median_ms,
        "latency_p95_ms": None if timing is None else timing.p95_ms,
        "latency_ratio": None if timing is None else timing.ratio,
        "latency_ratio_interval": None if timing is None else list(timing.ratio_interval),
        "latency_runs": None if timing is None else timing.runs,
    }


def _product(product: Product) -> dict[str, Any]:
    timing = product.timing
    left = {} if product.plan is None else product.plan.left_in_float()
    return {
        "name": product.recipe,
        "file": None if product.path is None else str(product.path),
        "size_bytes": product.size_bytes,
        "accuracy": score_to_dict(product.score),
        "accuracy_change": change_to_dict(product.change),
        "agreement": product.agreement,
        "sqnr_db": finite(product.sqnr_db),
        "exact": product.sqnr_db == math.inf,
        "latency_ms": None if timing is None else timing.median_ms,
        "latency_ratio": None if timing is None else timing.ratio,
        "verified": [
            {"kernels": seen.kernels, "samples": seen.samples, "sqnr_db": finite(seen.sqnr_db)}
            for seen in product.verified
        ],
        "left_in_float": [{"op": op.kind, "name": name, "reason": op.why} for name, op in left.items()],
    }
