"""How files are read: several at a time, what is done about those that cannot be read, and what sound becomes."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tersor.errors import DataError, TersorWarning
from tersor.ir.graph import Array

_AHEAD = 2
"""Files per thread that are read before they are asked for."""

_NAMED = 10
"""Files that are left out, each in a line of its own; the others in one line."""


@dataclass(frozen=True)
class Reading:
    """What is asked of those who read files.

    Attributes:
        skip_bad: whether a file that cannot be read is named and left out, instead of ending everything.
        features: what sound becomes, as `data.features.parse` takes it; "" for the samples as they are.
    """

    skip_bad: bool = False
    features: str = ""


@dataclass
class Skipped:
    """Names files that are left out, each once, or refuses them.

    Attributes:
        allowed: whether files may be left out at all.
    """

    allowed: bool
    _seen: set[Path] = field(default_factory=set)

    def note(self, path: Path, error: DataError) -> None:
        """Warn of a file that is left out. Raises the error, with what to do, if none may be."""
        if not self.allowed:
            raise DataError(f"{error} (--skip-bad leaves out files like this one)") from error
        if path in self._seen:
            return
        self._seen.add(path)
        if len(self._seen) <= _NAMED:
            warnings.warn(TersorWarning(f"left out: {error}"), stacklevel=2)
        elif len(self._seen) == _NAMED + 1:
            warnings.warn(TersorWarning("left out: more files that cannot be read"), stacklevel=2)


def read_ahead(
    read: Callable[[int], Array], places: Iterable[int]
) -> Generator[tuple[int, Array | DataError], None, None]:
    """What `read` gives for each place, in order, on as many threads as there are processors.

    Only a few results are held at a time. A DataError is given in the place of what could not be read; nothing is read
    ahead before the first result is taken, so that one sample costs one file.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def attempt(place: int) -> Array | DataError:
        try:
            return read(place)
        except DataError as error:
            return error

    rest = iter(places)
    for place in rest:
        yield place, attempt(place)
        break
    if threads == 1:
        yield from ((place, attempt(place)) for place in rest)
        return
    pool = ThreadPoolExecutor(threads, "tersor-read")
    waiting: deque[tuple[int, Future[Array | DataError]]] = deque()
    try:
        for place in rest:
            waiting.append((place, pool.submit(attempt, place)))
            if len(waiting) > _AHEAD * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
