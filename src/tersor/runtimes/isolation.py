"""A child process for native code that may crash, hang or leak, and the channel to talk with it.

The child runs one function of ours, named `module:function`, which gets the child's end of the channel. If the native
code aborts, the parent receives a `RuntimeFailure` that says what was being done; nothing else of the parent is
touched.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, Any, Self

from tersor.errors import RuntimeFailure, TersorError
from tersor.tensorflow_python import child_command, child_environment

_HEADER = struct.Struct("<I")
_SIZE = struct.Struct("<Q")
_THRIFT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}
"""For libraries in the child, unless the user says otherwise.

NumPy multiplies matrices in the thread that asks: what the child computes with it runs in threads of its own, and
OpenBLAS's would keep the runtime's processors busy while they wait. glibc keeps one heap, of which what is freed can be
returned, and not one per thread; and it takes activations from there, instead of asking the kernel for empty pages
for each of them.
"""

_NUMPY_INSIDE = ("numpy.core.", "numpy._core.")
"""Where NumPy 1 and NumPy 2 keep what pickled arrays name."""

_SMALL = 1 << 12
"""Bytes of an array below which to copy it takes less time than to send it by itself."""

_PIPE = 1 << 20
"""Bytes on their way; the most that Linux gives everybody."""

_WATCH_INTERVAL = 0.25
"""Seconds between two looks of the watchdog at the clock."""


class Channel:
    """Sends and receives Python values over a pair of byte streams; large arrays travel without being copied."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source = source
        self._sink = sink

    def send(self, value: Any) -> None:
        """Write one value. Raises BrokenPipeError if the other side is gone."""
        buffers: list[memoryview] = []

        def goes_along(buffer: pickle.PickleBuffer) -> bool:
            if buffer.raw().nbytes < _SMALL:
                return True
            buffers.append(buffer.raw())
            return False

        body = pickle.dumps(value, protocol=5, buffer_callback=goes_along)
        parts = [memoryview(body), *buffers]
        self._sink.write(_HEADER.pack(len(parts)) + b"".join(_SIZE.pack(part.nbytes) for part in parts))
        for part in parts:
            self._sink.write(part)
        self._sink.flush()

    def receive(self) -> Any:
        """Read one value. Raises EOFError if the other side is gone."""
        (count,) = _HEADER.unpack(self._read(_HEADER.size))
        sizes = [_SIZE.unpack(self._read(_SIZE.size))[0] for _ in range(count)]
        body, *buffers = (self._read(size) for size in sizes)
        return _Unpickler(io.BytesIO(body), buffers=buffers).load()

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            got = self._source.readinto(view[done:])  # type: ignore[attr-defined]
            if not got:
                raise EOFError
            done += got
        return data


class Answer:
    """What a child will have said to something that it was asked: answers come in the order of the questions.

    Attributes:
        doing: what the child was asked for.
        is_known: whether it has answered, or failed.
    """

    def __init__(self, worker: Worker, doing: str) -> None:
        self.doing = doing
        self.is_known = False
        self._worker = worker
        self._value: Any = None
        self._error: TersorError | None = None

    def know(self, value: Any = None, error: TersorError | None = None) -> None:
        """Keep what came."""
        self.is_known, self._value, self._error = True, value, error

    def result(self) -> Any:
        """Wait for it. Raises the child's error, as `Worker.receive` does."""
        self._worker.settle(self)
        if self._error is not None:
            raise self._error
        return self._value


class _Unpickler(pickle.Unpickler):
    """Reads what the other end wrote, which is this program, but maybe with NumPy 1 here and NumPy 2 there."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(_NUMPY_INSIDE):
            from numpy.lib import NumpyVersion

            inside = (
                "numpy._core" if NumpyVersion(importlib.import_module("numpy").__version__) >= "2.0.0" else "numpy.core"
            )
            module = ".".join((inside, *module.split(".")[2:]))
        return super().find_class(module, name)


class Worker:
    """A child process that runs `target` ("module:function"); use as a context manager.

    Args:
        target: the function to run in the child; called with the child's `Channel`.
        time_limit: seconds that one wait for an answer may take before the child is killed.
        with_tensorflow: run it by the Python in whose environment TensorFlow lies.

    Attributes:
        doing: what the child is asked for; said where it fails.
        advice: what to do about a crash; said after it.

    Raises RuntimeFailure if that cannot be started.
    """

    def __init__(self, target: str, time_limit: float = 600.0, *, with_tensorflow: bool = False) -> None:
        self._time_limit = time_limit
        started = None if with_tensorflow else _AHEAD.pop(target, None)
        self._process, self._stderr = started or _started(target, with_tensorflow=with_tensorflow)
        self._timed_out = False
        self._deadline = math.inf
        self._interrupt: BaseException | None = None
        self._closed = threading.Event()
        self._watchdog: threading.Thread | None = None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)
        for stream in (self._process.stdout, self._process.stdin):
            _widen(stream)
        self._owed: deque[Answer] = deque()
        self.doing = "starting"
        self.advice = ""

    @property
    def is_dead(self) -> bool:
        """Whether the child has ended."""
        return self._interrupt is not None or self._process.poll() is not None

    def send(self, value: Any) -> None:
        """Give the child a value. Raises the child's error if it has failed."""
        try:
            with self._watched():
                self._channel.send(value)
        except BrokenPipeError:
            self._raise_failure()

    def ask(self, value: Any, doing: str) -> Answer:
        """Give the child a value, and go on while it works; what it answers can be had later."""
        self.doing = doing
        self.send(value)
        self._owed.append(answer := Answer(self, doing))
        return answer

    def settle(self, last: Answer | None = None) -> None:
        """Read what the child owes, all of it or as far as to one answer."""
        while self._owed and not (last is not None and last.is_known):
            answer = self._owed.popleft()
            self.doing = answer.doing
            try:
                answer.know(self._received())
            except TersorError as error:
                answer.know(error=error)

    def receive(self) -> Any:
        """The child's next answer. Raises its error: a TersorError as it was, or RuntimeFailure for a crash."""
        self.settle()
        return self._received()

    def _received(self) -> Any:
        try:
            with self._watched():
                kind, value = self._channel.receive()
        except EOFError:
            raise self._failure() from None
        if kind == "error":
            raise value
        return value

    def drain(self) -> None:
        """Read answers, and drop them, to the end of a stream; a child that is gone has none."""
        self.settle()
        with contextlib.suppress(EOFError, OSError), self._watched():
            while self._channel.receive()[0] != "end":
                pass

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._closed.set()
        _end(self._process, self._stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Within the block the child has `time_limit` seconds; then the watchdog kills it, which ends the wait.

        An interrupt may leave half a message on the way, after which nothing that comes can be understood: the child is
        given up. Whatever still wants something of it, to tidy up, is interrupted as well, so that no failure of the
        child takes the interrupt's place.
        """
        if self._interrupt is not None:
            raise self._interrupt
        if self._watchdog is None:
            self._watchdog = threading.Thread(target=self._watch, daemon=True)
            self._watchdog.start()
        self._deadline = time.monotonic() + self._time_limit
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as interrupt:
            self._interrupt = interrupt
            self._process.kill()
            raise
        finally:
            self._deadline = math.inf

    def _watch(self) -> None:
        while not self._closed.wait(_WATCH_INTERVAL):
            if time.monotonic() > self._deadline:
                self._timed_out = True
                self._process.kill()

    def _raise_failure(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                kind, value = self._channel.receive()
                if kind == "error":
                    raise value
        raise self._failure()

    def _failure(self) -> RuntimeFailure:
        if self._timed_out:
            return RuntimeFailure(
                f"the runtime took more than {self._time_limit:g} s while {self.doing}; it was stopped"
            )
        status = self._process.wait()
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        self._stderr.seek(0)
        lines = [
            line.strip()
            for line in self._stderr.read().decode("utf-8", "replace").splitlines()
            if line.strip() and not line.startswith(("INFO", "WARNING", "W0000"))
        ]
        tail = f": {lines[-1]}" if lines else ""
        advice = f" ({self.advice})" if self.advice else ""
        return RuntimeFailure(f"the runtime crashed ({how}) while {self.doing}{tail}{advice}")


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold a sample, where the system allows that: both sides wait less often."""
    try:
        fcntl = importlib.import_module("fcntl")
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)
    except (ImportError, AttributeError, OSError):
        return


_Started = tuple["subprocess.Popen[bytes]", IO[bytes]]
"""A child, and the file that takes what it prints."""

_AHEAD: dict[str, _Started] = {}


@contextlib.contextmanager
def started_ahead(targets: Iterable[str]) -> Iterator[None]:
    """Within the block, the first worker of each target has a child that was started when the block began.

    It has loaded what it needs while other things were done here. What was not needed is ended with the block.
    """
    with contextlib.suppress(RuntimeFailure):  # who needs it tries again, and says so
        for target in targets:
            _AHEAD[target] = _started(target)
    try:
        yield
    finally:
        while _AHEAD:
            _end(*_AHEAD.popitem()[1])


def _started(target: str, *, with_tensorflow: bool = False) -> _Started:
    if with_tensorflow:
        command, environment = child_command("tersor.runtimes.isolation:child_main", target), child_environment()
    else:
        code = f"from tersor.runtimes.isolation import child_main; child_main({target!r})"
        command = [sys.executable, "-P", "-c", code]
        environment = _THRIFT | os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `_end`)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment
        )
    except OSError as error:
        stderr.close()
        raise RuntimeFailure(f"{command[0]}: cannot be started: {error.strerror or error}") from error
    return process, stderr


def _end(process: subprocess.Popen[bytes], stderr: IO[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    stderr.close()


def child_main(target: str) -> None:
    """The child's main program: run `target`, and send home whatever it raises."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints goes where errors go, not into the channel
    channel = Channel(sys.stdin.buffer, sink)
    module, function = target.split(":")
    try:
        getattr(importlib.import_module(module), function)(channel)
    except (EOFError, BrokenPipeError):
        return
    except TersorError as error:
        channel.send(("error", error))
    except Exception as error:
        channel.send(("error", RuntimeFailure(f"{type(error).__name__}: {error}")))
