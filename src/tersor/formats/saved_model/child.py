"""The process that TensorFlow runs in: its start, its end, and what is said if it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tersor import errors
from tersor.errors import RuntimeFailure, TersorError, UnsupportedError
from tersor.formats.saved_model.convert import ANSWER

PYTHON = "TERSOR_TENSORFLOW_PYTHON"
"""The environment variable that names the Python in whose environment TensorFlow lies, if that is another one."""

_NOISE = ("INFO", "WARNING", "W0000", "I0000", "To enable", "***", "*** ")
_POLL = 0.05
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
"""A conversion has no use for a GPU, and needs Keras on TensorFlow."""


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
        raise UnsupportedError(_missing())
    if "error" in answer:
        kind: type[TersorError] = getattr(errors, str(answer["error"]), UnsupportedError)
        raise kind(str(answer.get("message")))
    return dict(answer)


def _start(log: Any) -> subprocess.Popen[bytes]:
    """Start the child; where it is another Python, that gets tersor's modules from here, but no other package."""
    python = os.environ.get(PYTHON) or sys.executable
    root = str(Path(__file__).parents[3])
    code = (
        f"import sys; usual = [path for path in sys.path if path]; sys.path = [{root!r}, *usual]; "
        "from tersor.formats.saved_model.convert import main; sys.path = usual; main()"
    )
    environment = os.environ | _QUIET
    if python == sys.executable:
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        return subprocess.Popen([python, "-c", code], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
    except OSError as error:
        raise RuntimeFailure(f"{PYTHON}={python}: cannot be started: {error.strerror or error}") from error


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


def _missing() -> str:
    if os.environ.get(PYTHON):
        return f"TensorFlow is not installed where {PYTHON} points ({os.environ[PYTHON]})"
    return "this needs TensorFlow, which is not installed: pip install 'tersor[tensorflow]'"
