"""The rules of the devices that `tersor place` judges, from the functions that are the rules."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from tersor.registry import plugin
from tersor.targets import cpu, edge_tpu, micro
from tersor.targets._rules import Rule
from tersor.targets.cpu import kernels as xnnpack
from tersor.targets.edge_tpu import every
from tersor.targets.micro import kernels
from text import paragraphs, table


def edge_tpu_rules() -> str:
    """The rules in their order, and the operators that are known."""
    rules = _rules(edge_tpu.RULES, "what the compiler prints")
    return f"{rules}\n\nThe {len(every.KINDS)} operators that the Edge TPU knows: {_names(every.KINDS)}."


def micro_rules() -> str:
    """The rules in their order, and which types each kernel takes."""
    types = ((f"`{kind}`", ", ".join(sorted(map(str, own)))) for kind, own in sorted(kernels.TYPES.items()))
    pairs = (
        (f"`{kind}`", "; ".join(f"{source} to {result}" for source, result in sorted((str(a), str(b)) for a, b in own)))
        for kind, own in sorted(kernels.CONVERSIONS.items())
    )
    any_type = _names(kernels.ANY_TYPE | kernels.STATEFUL)
    return "\n\n".join(
        (
            _rules(micro.RULES, "what is wrong"),
            table(("kernel", "types"), (*types, *pairs)),
            f"Whatever the type: {any_type}.",
        )
    )


def cpu_rules() -> str:
    """The rules in their order, and the operators that XNNPACK has."""
    return "\n\n".join(
        (
            _rules(cpu.RULES, "what is wrong"),
            f"In float32 and in int8: {_names(xnnpack.INTEGER)}.",
            f"In float32 alone: {_names(xnnpack.FLOAT)}.",
        )
    )


def _rules(rules: Iterable[Rule], status: str) -> str:
    rows = (
        (rule.statement, rule.status, rule.remedy or "see `tersor place`: it depends on the operator", rule.basis)
        for rule in rules
    )
    return table(("rule", status, "what to change", "known from"), rows)


def _names(kinds: Iterable[str]) -> str:
    return ", ".join(f"`{kind}`" for kind in sorted(kinds))


def edge_tpu_rewrites() -> str:
    """The passes that are tried for it, in their order."""
    parts = []
    for name in edge_tpu.REWRITES:
        parts += [f"### `{name}`", paragraphs(inspect.getdoc(plugin("passes", name)) or "")]
    return "\n\n".join(parts)
