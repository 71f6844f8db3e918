"""TensorFlow Lite Micro on this machine: whether it takes a model, what it answers, and how much memory it needs.

The package `tflite-micro` (extra `tersor[micro]`) holds its interpreter with the reference kernels, built for this
machine. It runs in a child process, since it may end the process that runs it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from tersor.errors import RuntimeFailure
from tersor.ir.graph import Array
from tersor.runtimes.children import TFLITE_MICRO
from tersor.runtimes.isolation import Channel, Worker

MISSING = "pip install 'tersor[micro]'"
"""What to do where the package is absent."""

_PACKAGE = "tflite_micro"

_TIME_LIMIT = 300.0
"""Seconds for all of it."""

REFUSES = "TensorFlow Lite Micro refuses the model: "
"""How the error begins for a model that it does not take."""

_STEP = 16
"""Bytes: the alignment of the arena, and so the grain of its size."""

_LARGEST = (64 << 20, 1 << 30)
"""Arenas to find out in whether a model runs at all."""

TOO_SMALL = re.compile(r"Failed to (allocate|resize)|[Aa]rena size is too small|missing: \d|Too many buffers")
"""What the interpreter prints where the arena is the trouble."""

_USED = re.compile(r"Arena allocation total (\d+) bytes")

NOISE = re.compile(r"^$|Failed starting model allocation|AllocateTensors|index \d+ out of range")
"""Lines that say nothing of what is wrong."""


@dataclass(frozen=True)
class Measured:
    """What was seen.

    Attributes:
        arena_bytes: the smallest multiple of 16 with which the interpreter allocates and runs the model, here.
        version: of the package.
        outputs: for each sample an array per output, as the interpreter gives them.
    """

    arena_bytes: int
    version: str
    outputs: tuple[tuple[Array, ...], ...]


def is_installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec(_PACKAGE) is not None


def measure(model: bytes, samples: Sequence[Sequence[Array]]) -> Measured:
    """Run a model file in TensorFlow Lite Micro.

    Args:
        model: the file.
        samples: an array per input, of its type and shape; without any the model is allocated, and not run.

    Raises RuntimeFailure if it refuses the model, crashes, or takes too long.
    """
    with _Child(model, samples) as child:
        fits, used = child.ask("begin")
        arena = _least(child.fits, -(-used // _STEP) * _STEP, fits)
        outputs = tuple(child.ask("run", arena)) if samples else ()
    return Measured(arena, importlib.metadata.version("tflite-micro"), outputs)


class _Child:
    """A process with one model. In an arena that is too small the interpreter may crash; then another one goes on."""

    def __init__(self, model: bytes, samples: Sequence[Sequence[Array]]) -> None:
        self._given = model, samples
        self._worker = self._started()

    def ask(self, what: str, arena: int = 0) -> Any:
        """Raises RuntimeFailure for a refusal or a crash."""
        self._worker.send((what, arena))
        return self._worker.receive()

    def fits(self, arena: int) -> bool:
        """Whether an arena suffices for a model that is known to run in a larger one."""
        try:
            return bool(self.ask("fits", arena))
        except RuntimeFailure:
            self._worker.close()
            self._worker = self._started()
            return False

    def _started(self) -> Worker:
        worker = Worker(TFLITE_MICRO, _TIME_LIMIT)
        worker.doing = "running the model in TensorFlow Lite Micro"
        worker.send(self._given)
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()


def serve(channel: Channel) -> None:
    """The child's side: one model, and answers about arenas."""
    _load()  # while the model is being made
    content, samples = channel.receive()
    model, first = bytes(content), next(iter(samples), None)
    while True:
        what, arena = channel.receive()
        if what == "begin":
            channel.send(("ok", _largest(model, first)))
        elif what == "fits":
            channel.send(("ok", _interpreter_in(model, None, arena) is not None))
        else:
            interpreter = interpreter_of(model, arena)
            channel.send(("ok", tuple(run_once(interpreter, sample) for sample in samples)))


def _largest(model: bytes, sample: Sequence[Array] | None) -> tuple[int, int]:
    """An arena in which the model runs, and how much of it the interpreter says it used."""
    tried = ((size, _interpreter_in(model, sample, size)) for size in _LARGEST)
    fits, interpreter = next((found for found in tried if found[1] is not None), (0, None))
    if interpreter is None:
        raise RuntimeFailure(f"TensorFlow Lite Micro needs more than {_LARGEST[-1] >> 20} MiB for the model")
    with printed() as said:
        interpreter.print_allocations()
    used = _USED.search(said())
    if used is None:
        raise RuntimeFailure("TensorFlow Lite Micro does not say how much memory it used")
    return fits, int(used[1])


def _least(suffices: Callable[[int], bool], arena: int, fits: int) -> int:
    """The least arena that suffices, near what the interpreter says it used: in a much smaller one it may crash."""
    while suffices(arena - _STEP):
        arena -= _STEP
    too_small, step = arena - _STEP, _STEP
    while arena < fits and not suffices(arena):
        too_small, arena, step = arena, min(arena + step, fits), 2 * step
    while arena - too_small > _STEP:
        middle = (too_small + arena) // 2 // _STEP * _STEP
        too_small, arena = (too_small, middle) if suffices(middle) else (middle, arena)
    return arena


def _interpreter_in(model: bytes, sample: Sequence[Array] | None, arena: int) -> Any:
    """The interpreter, after it ran; without a sample, as allocated. None if the arena does not suffice.

    Raises RuntimeFailure for any other trouble.
    """
    with printed() as said:
        try:
            interpreter = interpreter_of(model, arena)
            if sample is not None:
                run_once(interpreter, sample)
        except (RuntimeError, ValueError) as error:
            trouble: Exception = error
        else:
            return interpreter
    text = said()
    if TOO_SMALL.search(text):
        return None
    reasons = [line.strip() for line in text.splitlines() if not NOISE.search(line.strip())]
    raise RuntimeFailure(f"{REFUSES}{'; '.join(dict.fromkeys(reasons)) or trouble}")


def interpreter_of(model: bytes, arena: int) -> Any:
    """The package's interpreter with a model allocated in an arena of so many bytes."""
    return _load().Interpreter.from_bytes(model, arena_size=arena)


def _load() -> Any:
    from tflite_micro.python.tflite_micro import runtime

    return runtime


def run_once(interpreter: Any, sample: Sequence[Array]) -> tuple[Array, ...]:
    """Outputs for one sample, from fresh state."""
    interpreter.reset()
    for place, values in enumerate(sample):
        interpreter.set_input(values, place)
    interpreter.invoke()
    found: list[Array] = []
    while True:
        try:
            found.append(interpreter.get_output(len(found)))
        except (IndexError, ValueError, RuntimeError):
            return tuple(found)


@contextmanager
def printed() -> Iterator[Any]:
    """What native code writes to standard error in the block; read it afterwards."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        text: list[str] = []
        try:
            yield lambda: text[0]
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            text.append(file.read().decode("utf-8", "replace"))
