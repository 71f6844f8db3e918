"""What compilers of targets share: what they make, and how a program of somebody else's is run.

A program runs in a session of its own, with its output in a file, and ends with its children, whatever happens.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tersor.errors import CompilerFailure

TIME_LIMIT = 600.0
"""Seconds that a compiler may take, unless the user says otherwise."""

_MOST_OUTPUT = 32 << 20
"""Bytes that a program may print."""

_LOOK = 0.05
"""Seconds between two looks at a running program."""


@dataclass(frozen=True)
class Compiled:
    """What a target's compiler made.

    Attributes:
        path: the file, in the folder that it was given.
        log: what the compiler says of it, operator by operator where it does that; kept beside the file.
        command: what was run.
        version: the compiler's, as it says; "" if it does not.
        counts: how many operators of each (kind, status) it says there are; empty where it says nothing of that.
        seconds: that it took.
        notes: what else it says that somebody should know.
    """

    path: Path
    log: str
    command: tuple[str, ...]
    version: str = ""
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A program that has ended.

    Attributes:
        trouble: how it ended, in words; "" if it ended well.
        output: what it printed.
        seconds: that it took.
    """

    trouble: str
    output: str
    seconds: float


def run_program(command: Sequence[str], folder: Path, time_limit: float) -> Ended:
    """Run a program in a folder, to its end or to the end of its time.

    Raises CompilerFailure if it cannot be started.
    """
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            hint = ": is it for this processor?" if error.errno == errno.ENOEXEC else ""
            raise CompilerFailure(f"{command[0]}: cannot be started: {error.strerror or error}{hint}") from error
        try:
            trouble = _wait(process, output, begun + time_limit)
        finally:  # an interrupt, too: the program does not get it, being in a session of its own
            _end_with_children(process)
        output.seek(0)
        text = output.read(_MOST_OUTPUT).decode("utf-8", "replace")
    if trouble == _LATE:
        trouble = f"took more than {time_limit:g} s and was stopped"
    return Ended(trouble or _status(process.returncode), text, time.monotonic() - begun)


_LATE = "late"


def _wait(process: subprocess.Popen[bytes], output: IO[bytes], end: float) -> str:
    """Wait for the end; returns why it has to be stopped, "" if it ended by itself."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
            return ""
        if time.monotonic() > end:
            return _LATE
        if os.fstat(output.fileno()).st_size > _MOST_OUTPUT:
            return f"printed more than {_MOST_OUTPUT >> 20} MiB and was stopped"


def _end_with_children(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # the session's leader is the leader of its group
    if process.poll() is None:
        process.kill()
    process.wait()


_BY_SIGNAL = 128
"""Shells add the number of the signal to this, where what they ran was ended by one."""


def _status(code: int) -> str:
    if code == 0:
        return ""
    number = -code if code < 0 else code - _BY_SIGNAL
    with suppress(ValueError):
        return f"crashed ({signal.Signals(number).name})"
    return f"failed (exit status {code})"
