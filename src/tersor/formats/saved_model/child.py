"""The process that TensorFlow runs in: its start, its end, and what is said if it fails."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor import errors
from tersor.errors import RuntimeFailure, TersorError, UnsupportedError
from tersor.formats.saved_model.convert import ANSWER
from tersor.tensorflow_python import PYTHON, child_command, child_environment, missing

_NOISE = ("INFO", "WARNING", "W0000", "I0000", "To enable", "***", "*** ")
_POLL = 0.05


def convert(request: Mapping[str, Any], folder: Path, time_limit: float) -> dict[str, Any]:
    """Have TensorFlow convert a model.

    Args:
        request: what to convert; see `convert.main`.
        folder: an empty one, for the result.
        time_limit: seconds after which the child is killed.

    Returns:
        The child's answer.

    Raises:
        UnsupportedError: TensorFlow is missing, or cannot convert it.
        RuntimeFailure: the child crashed, was killed or took too long.
        TersorError: what the child raised.
    """
    log = folder / "log.txt"
    with log.open("wb") as file:
        process = _start(file)
        try:
            _talk(process, {**request, "folder": str(folder)}, time_limit)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
    try:
        answer = json.loads((folder / ANSWER).read_text("utf-8"))
    except (OSError, ValueError):
        raise _crash(process.returncode, log) from None
    if "missing" in answer:
        raise UnsupportedError(missing())
    if "error" in answer:
        kind: type[TersorError] = getattr(errors, str(answer["error"]), UnsupportedError)
        raise kind(str(answer.get("message")))
    return dict(answer)


def _start(log: Any) -> subprocess.Popen[bytes]:
    command = child_command("tersor.formats.saved_model.convert:main")
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=child_environment())
    except OSError as error:
        raise RuntimeFailure(f"{PYTHON}={command[0]}: cannot be started: {error.strerror or error}") from error


def _talk(process: subprocess.Popen[bytes], request: Mapping[str, Any], time_limit: float) -> None:
    """Hand over the request and wait; standard input stays open, for its end is the child's."""
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return
    end = time.monotonic() + time_limit
    while process.poll() is None:
        if time.monotonic() > end:
            raise RuntimeFailure(
                f"TensorFlow took more than {time_limit:g} s to convert the model; it was stopped (the limit is "
                "Conversion.time_limit)"
            )
        time.sleep(_POLL)


def _crash(status: int, log: Path) -> RuntimeFailure:
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    if status == -signal.SIGKILL:
        how += ", which is what the system does when memory runs out"
    text = log.read_text("utf-8", "replace")[-100_000:]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(_NOISE)]
    return RuntimeFailure(
        f"TensorFlow crashed ({how}) while it converted the model" + (f": {lines[-1][:400]}" if lines else "")
    )
