"""The code blocks of a page: what is run, what is shown, and what the comment before a block says of it.

    <!-- needs: tensorflow -->       skipped where the Python package or the program is absent; several between commas
    <!-- exit code: 9 -->            what the last command ends with
    <!-- output varies: why -->      the output is one of many; it is run, and files that it names have to exist
    <!-- not run: why -->            the block is left alone
    <!-- file: NAME -->              the block is written into this file, for those below it

A page that says `<!-- all test images -->` has them all, as its reader does; the others have a part, which is quicker.

A `console` block holds commands after `$ ` with what they print, an `sh` block commands alone, a `python` block a
program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MARKS = ("needs", "exit code", "output varies", "not run", "file")

_FENCE = re.compile(r"^```(\w*)$")
_MARK = re.compile(r"^<!-- ([a-z ]+): (.+) -->$")


@dataclass(frozen=True)
class Command:
    """A line for the shell and what it prints, as the page shows it.

    Attributes:
        line: of the page, from 1.
        text: without the prompt; continued lines are one.
        shown: the lines below it.
        shown_at: the line of the page where these begin.
    """

    line: int
    text: str
    shown: tuple[str, ...]
    shown_at: int


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its fence."""

    line: int
    language: str
    lines: tuple[str, ...]
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines) + "\n"

    def commands(self) -> list[Command]:
        """The commands of a `console` or `sh` block."""
        found = []
        rest = list(enumerate(self.lines, self.line + 1))
        while rest:
            number, line = rest.pop(0)
            words = [line.removeprefix("$ ") if self.language == "console" else line]
            while words[-1].endswith("\\"):
                words.append(rest.pop(0)[1])
            shown = []
            at = rest[0][0] if rest else number + 1
            while self.language == "console" and rest and not rest[0][1].startswith("$ "):
                shown.append(rest.pop(0)[1])
            if "".join(words).strip():
                found.append(Command(number, "\n".join(words), tuple(shown), at))
        return found


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page. Raises ValueError for a fence without an end and for a mark that there is not."""
    lines = page.read_text("utf-8").splitlines()
    marks: dict[str, str] = {}
    number = 0
    while number < len(lines):
        if mark := _MARK.match(lines[number]):
            marks[mark[1]] = mark[2]
        elif fence := _FENCE.match(lines[number]):
            if unknown := set(marks) - set(MARKS) - {"generated"}:
                raise ValueError(f"{page.name}:{number + 1}: there is no mark {unknown}")
            end = lines.index("```", number + 1)
            yield Block(number + 1, fence[1], tuple(lines[number + 1 : end]), marks)
            number, marks = end, {}
        else:
            marks = {}
        number += 1
