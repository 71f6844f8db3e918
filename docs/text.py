"""Markdown out of docstrings and rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)


def paragraphs(text: str) -> str:
    """A docstring as Markdown: code stays, and what Markdown would take for marks is escaped."""
    return "".join(
        part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in _CODE.split(text.strip())
    )


def cell(text: object) -> str:
    """Text in one cell of a table."""
    return paragraphs(" ".join(str(text).split())).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of cells."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])
