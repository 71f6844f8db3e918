"""What the tests of the documentation stand on: reading blocks, and comparing output."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs_blocks import blocks
from docs_output import is_shown

PAGE = """
Text.

<!-- needs: gcc -->
<!-- exit code: 9 -->
```console
$ one --long \\
    line
printed
twice
$ two
```

```sh
three   # a comment

four
```
"""


def test_blocks_and_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, "utf-8")
    console, shell = blocks(page)
    assert (console.line, console.marks) == (6, {"needs": "gcc", "exit code": "9"})
    first, second = console.commands()
    assert (first.text, first.shown, first.shown_at) == ("one --long \\\n    line", ("printed", "twice"), 9)
    assert (second.line, second.text, second.shown) == (11, "two", ())
    assert [command.text for command in shell.commands()] == ["three   # a comment", "four"]


def test_marks_that_there_are_not_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- neeeds: gcc -->\n```sh\ntrue\n```\n", "utf-8")
    with pytest.raises(ValueError, match="neeeds"):
        list(blocks(page))


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["size  96.1 kB"], ["size 96.4 kB"]),
        (["top1 93.1 [90.4, 95.1]"], ["top1 92.8 [90.0, 94.8]"]),
        (["a", "...", "z"], ["a", "b", "c", "z"]),
        (["...", "z"], ["z"]),
        (["wrote out/x ... in 9 s"], ["wrote out/x (int8) and more in 31 s"]),
    ],
)
def test_the_same(shown: list[str], printed: list[str]) -> None:
    assert is_shown(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (["size 96.1 kB"], ["size 196.1 kB"]),
        (["change -26.6"], ["change +26.6"]),
        (["size 96.1 kB"], ["bytes 96.1 kB"]),
        (["int8"], ["int16"]),
        (["a"], ["a", "b"]),
        (["a", "b"], ["a"]),
        (["a", "...", "z"], ["a", "b"]),
        (["wrote ... in 9 s"], ["read it in 9 s"]),
    ],
)
def test_not_the_same(shown: list[str], printed: list[str]) -> None:
    assert not is_shown(shown, printed)
