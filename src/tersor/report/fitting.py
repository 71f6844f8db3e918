"""What was done so that a target takes a file, for people and machines: each rewrite with its reason and its cost."""

from __future__ import annotations

from typing import Any

from tersor.report.outcome import change_to_dict, finite
from tersor.report.placement import headline
from tersor.stages.fitted import Cost, Fitting, Rewrite, sentences
from tersor.stages.outcome import Outcome


def fitting_notes(outcome: Outcome) -> list[str]:
    """Sentences about every product that was made for a target."""
    found = []
    for product in outcome.products:
        if product.fitting is not None:
            name = f"{product.recipe}: " if len(outcome.products) > 1 else ""
            found += [f"{name}{text}" for text in sentences(product.fitting)]
    return found


def fitting_to_dict(outcome: Outcome) -> dict[str, Any]:
    """For `--json`: by the products' names."""
    return {item.recipe: _fitting(item.fitting) for item in outcome.products if item.fitting is not None}


def _fitting(own: Fitting) -> dict[str, Any]:
    costs: list[Cost | None] = [*own.costs] or [None] * len(own.fitted.rewrites)
    before = own.fitted.before
    return {
        "target": own.fitted.target,
        "headline": headline(own.placement),
        "operators": len(own.placement.operators),
        "mapped": len(own.placement.mapped),
        "operators_before": None if before is None else len(before.operators),
        "mapped_before": None if before is None else len(before.mapped),
        "rewrites": [_rewrite(item, cost) for item, cost in zip(own.fitted.rewrites, costs, strict=True)],
        "split": None if own.split_cost is None else _cost(own.split_cost),
    }


def _rewrite(item: Rewrite, cost: Cost | None) -> dict[str, Any]:
    return {
        "pass": item.name,
        "kind": item.kind,
        "operators": list(item.operators),
        "into": list(item.into),
        "rule": item.rule,
        "seen": item.seen,
        **_cost(cost),
    }


def _cost(cost: Cost | None) -> dict[str, Any]:
    measured = cost is not None and cost.change is not None
    return {
        "samples": cost.samples if cost is not None else 0,
        "sqnr_db_without": finite(cost.sqnr_db[0]) if cost is not None and measured else None,
        "sqnr_db_with": finite(cost.sqnr_db[1]) if cost is not None and measured else None,
        "sqnr_db_change": change_to_dict(cost.change) if cost is not None else None,
        "agreement_without": cost.agreement[0] if cost is not None and cost.agreement else None,
        "agreement_with": cost.agreement[1] if cost is not None and cost.agreement else None,
    }
