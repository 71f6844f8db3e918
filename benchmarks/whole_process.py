"""What a command costs as a whole process, its children included. Linux only: it reads ``/proc``.

The standard library only, and little of it: the kernel gives a new process the peak memory of the one that forked it.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
INTERVAL = 0.01
"""Seconds between two looks at the memory of a tree of processes, at least."""

SHARE = 0.1
"""Part of the time that looking may take: the kernel counts the pages of a large process for 30 ms."""


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        wall: seconds from before the start to after the end.
        cpu: seconds of all processors, user and system, of all processes.
        largest_process: bytes; peak resident set of the process that had most, as the kernel kept it.
    """

    wall: float
    cpu: float
    largest_process: int


@dataclass(frozen=True)
class Memory:
    """Peaks of one run over the samples that were taken of the whole tree of processes, in bytes.

    Attributes:
        rss: sum of resident sets; a page that two processes share counts twice.
        pss: sum of proportional set sizes; a page that two processes share counts once.
        processes: most processes that were there at the same time.
        samples: how often it was looked.
    """

    rss: int
    pss: int
    processes: int
    samples: int


class CommandFailure(Exception):
    """A contestant did not finish."""


def measure(command: Sequence[str], log: Path, folder: Path) -> Cost:
    """Run a command undisturbed. Raises CommandFailure."""
    return _run(command, log, folder, None)


def measure_memory(command: Sequence[str], log: Path, folder: Path) -> Memory:
    """Run a command and look at its memory all the time, which slows it down. Raises CommandFailure."""
    sampler = _Sampler()
    _run(command, log, folder, sampler)
    return Memory(sampler.rss, sampler.pss, sampler.processes, sampler.samples)


def _run(command: Sequence[str], log: Path, folder: Path, sampler: _Sampler | None) -> Cost:
    with log.open("wb") as sink:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=folder, env=environment
        )
        if sampler is not None:
            sampler.start(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if sampler is not None:
        sampler.stop()
    if process.returncode:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
        raise CommandFailure(f"exit status {process.returncode} of {' '.join(command)}\n{tail}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * KIB)


class _Sampler:
    def __init__(self) -> None:
        self.rss = self.pss = self.processes = self.samples = 0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, root: int) -> None:
        self._thread = threading.Thread(target=self._watch, args=(root,))
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, root: int) -> None:
        pause = INTERVAL
        while not self._done.wait(pause):
            started = time.perf_counter()
            sizes = [size for size in map(_resident, _tree(root)) if size is not None]
            self.rss = max(self.rss, sum(rss for rss, _ in sizes))
            self.pss = max(self.pss, sum(pss for _, pss in sizes))
            self.processes = max(self.processes, len(sizes))
            self.samples += 1
            pause = max(INTERVAL, (time.perf_counter() - started) / SHARE)


def _tree(root: int) -> Iterator[int]:
    yield root
    try:
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))
    except OSError:  # it has ended meanwhile
        return


def _resident(process: int) -> tuple[int, int] | None:
    """Resident and proportional set size in bytes."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    fields = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return (int(fields["Rss"]) * KIB, int(fields["Pss"]) * KIB) if "Pss" in fields else None
