"""What a long search shows while it runs: what is being made, how far it is, and what is best so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tersor.cli.console import err

if TYPE_CHECKING:
    from tersor.stages.prepare import Progress
    from tersor.stages.search import Standing

_SILENT = 0.1
"""Seconds between two changes that are shown."""


class _View:
    """Drawn anew whenever the terminal asks: see `Live`."""

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._started = time.monotonic()
        self.standing: Standing | None = None
        self.step: tuple[str, int, int | None] = ("asking the float model", 0, None)

    def __rich__(self) -> Group:
        from tersor.report.search_table import in_short

        what, done, total = self.step
        standing = self.standing
        grid = Table.grid(padding=(0, 1))
        count = "" if standing is None else f"{standing.done + 1} of {standing.total}: {standing.running}"
        share = (0, 1) if standing is None else (standing.done, standing.total)
        passed = time.monotonic() - self._started
        clock = f"{passed:.0f} s of at most {60 * self._minutes:.0f}"
        grid.add_row(ProgressBar(total=share[1], completed=share[0], width=24), Text(count), Text(clock, style="dim"))
        steps = Text(f"  {what}{f' {done}' if done else ''}{f' of {total}' if total else ''}", style="dim")
        best = None if standing is None else standing.best
        line = Text("  best so far: -" if best is None else f"  best so far: {in_short(best)}")
        return Group(grid, steps, line)


@contextmanager
def live(minutes: float) -> Iterator[tuple[Progress, Callable[[Standing], None]]]:
    """Two functions to tell how far a search is; on a terminal it is shown, elsewhere nothing is."""
    if not err.is_terminal:
        yield lambda _what, _done, _total: None, lambda _standing: None
        return
    view = _View(minutes)

    def progress(what: str, done: int, total: int | None) -> None:
        view.step = (what, done, total)

    def announce(standing: Standing) -> None:
        view.standing = standing
        view.step = (standing.running, 0, None)

    with Live(view, console=err, refresh_per_second=1 / _SILENT / 2, transient=True):
        yield progress, announce
