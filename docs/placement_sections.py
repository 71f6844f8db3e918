"""The rules of the devices that `tersor place` forecasts, from the functions that are the rules."""

from __future__ import annotations

import inspect

from tersor.registry import plugin
from tersor.targets import edge_tpu
from tersor.targets.edge_tpu import every
from text import paragraphs, table


def edge_tpu_rules() -> str:
    """The rules in their order, and the operators that are known."""
    rows = (
        (rule.statement, rule.status, rule.remedy or "see `tersor place`: it depends on the operator", rule.basis)
        for rule in edge_tpu.RULES
    )
    known = ", ".join(f"`{kind}`" for kind in sorted(every.KINDS))
    rules = table(("rule", "what the compiler prints", "what to change", "known from"), rows)
    return f"{rules}\n\nThe {len(every.KINDS)} operators that the Edge TPU knows: {known}."


def edge_tpu_rewrites() -> str:
    """The passes that are tried for it, in their order."""
    parts = []
    for name in edge_tpu.REWRITES:
        parts += [f"### `{name}`", paragraphs(inspect.getdoc(plugin("passes", name)) or "")]
    return "\n\n".join(parts)
