"""How much memory a model takes: the growth of a fresh process that loads a file and runs it.

Resident memory, its peak above what it was when the runtime had run a small model: weights as they are mapped and
packed, the arena, and what kernels take on the way. Linux only; elsewhere nothing is claimed.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from tersor.errors import RuntimeFailure
from tersor.runtimes.isolation import Channel, Worker
from tersor.runtimes.litert import Session

_RUNS = 3


def peak_bytes(path: Path, first: bytes, kernels: str = "xnnpack", *, with_tensorflow: bool = False) -> int | None:
    """Bytes that loading a file and running it adds at most; None where the system does not tell.

    Args:
        path: the file.
        first: a small model that is loaded and run before, so that the runtime's own memory is not counted.
        kernels: the kernel set.
        with_tensorflow: whether the file holds TensorFlow's operators.

    Raises RuntimeFailure if the runtime refuses the file or crashes on it, or the file takes strings.
    """
    name = "serve_with_tensorflow" if with_tensorflow else "serve"
    with Worker(f"tersor.runtimes.peak:{name}", with_tensorflow=with_tensorflow) as worker:
        worker.doing = f"measuring the memory of {path.name}"
        worker.send((str(path), kernels, first))
        found: int | None = worker.receive()
    return found


def serve_with_tensorflow(channel: Channel) -> None:
    """`serve`, with TensorFlow's build of the interpreter."""
    serve(channel, with_tensorflow=True)


def serve(channel: Channel, *, with_tensorflow: bool = False) -> None:
    """The child: answers one path with one figure."""
    path, kernels, first = channel.receive()
    kept = [_used(Session(first, kernels, with_tensorflow=with_tensorflow))]  # so that the runtime itself is there
    before = _reset_peak()
    kept.append(_used(Session(path, kernels, with_tensorflow=with_tensorflow)))
    after = _status("VmHWM")
    channel.send(("ok", None if before is None or after is None else max(after - before, 0)))


def _used(session: Session) -> Session:
    """The session after some runs. Raises RuntimeFailure for a model that takes strings."""
    if any(port.dtype == "string" for port in session.inputs):
        raise RuntimeFailure("the model takes strings")
    inputs = [np.zeros([max(size, 1) for size in port.shape], port.dtype) for port in session.inputs]
    for _ in range(_RUNS):
        session.run(inputs)
    return session


def _reset_peak() -> int | None:
    """Let the peak begin at what is resident now, and say how much that is."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
        return _status("VmHWM")
    return None


def _status(key: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return 1024 * int(line.split()[1])
    return None
