"""Writes the rules of the Edge TPU into docs/reference/edge_tpu.md, from the functions that are the rules.

python docs/placement_sections.py
"""

from __future__ import annotations

import re
from pathlib import Path

from tersor.targets import edge_tpu
from tersor.targets.edge_tpu import every

PAGE = Path(__file__).parent / "reference" / "edge_tpu.md"
_MARKED = re.compile(r"(<!-- generated: edge_tpu_rules -->\n)(.*?)(<!-- /generated -->)", re.DOTALL)


def edge_tpu_rules() -> str:
    """The rules in their order, and the operators that are known."""
    lines = ["| rule | what the compiler prints | what to change | known from |", "|---|---|---|---|"]
    for rule in edge_tpu.RULES:
        remedy = rule.remedy or "see `tersor place`: it depends on the operator"
        lines.append(f"| {rule.statement} | {rule.status} | {remedy} | {rule.basis} |")
    known = ", ".join(f"`{kind}`" for kind in sorted(every.KINDS))
    return "\n".join([*lines, "", f"The {len(every.KINDS)} operators that the Edge TPU knows: {known}."])


def filled(page: str) -> str:
    """The page with the rules as they are."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{edge_tpu_rules()}\n\n{found[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
