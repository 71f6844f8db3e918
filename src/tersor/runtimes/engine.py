"""Sessions in a child process: native code may crash there without harm.

The parent's side. What the child does with each command is in `runtimes.serve`. The engine names what is being done
before each command, so that a crash is reported with its place.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tersor.errors import NeedsTensorFlow, UnsupportedError
from tersor.runtimes.isolation import Worker
from tersor.runtimes.store import Store

if TYPE_CHECKING:  # the child is to start before the parent spends time on importing NumPy
    from tersor.ir.graph import Array
    from tersor.runtimes.delegate import Delegate
    from tersor.runtimes.litert import Port
    from tersor.runtimes.loaded_delegate import Share

_LARGE = 96 << 20
"""Bytes of a file from which copies cost more memory than they save time."""

AHEAD = 8
"""Samples that may be on their way to the child, or answered and not read yet."""


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Derived:
    """Values inside a fused operator, which the runtime does not show: computed after each run from those it does.

    Attributes:
        sources: the tensors they are computed from.
        compute: called with the sources' values, returns the derived values by name, none of them a view of a source;
            must be picklable.
    """

    sources: tuple[str, ...]
    compute: Callable[..., Mapping[str, Array]]


@dataclass(frozen=True)
class Watch:
    """What to look at after each run.

    Attributes:
        extremes: by activation, the places of its smallest and its largest value among the model's outputs.
        values: by activation with `extremes`, the place of some of its values among the model's outputs, and how many
            values each of them stands for.
        outputs: by activation, its own place among the model's outputs.
        derived: what is computed from outputs.
        kept: for places among the outputs, of how many runs, from the first, they are kept.
    """

    extremes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    values: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    outputs: Mapping[str, int] = field(default_factory=dict)
    derived: tuple[Derived, ...] = ()
    kept: Mapping[int, int] = field(default_factory=dict)


class Engine:
    """A child process with loaded models. Use as a context manager; it starts at once, while the parent goes on.

    Models with TensorFlow's own operators go to a second child, which has TensorFlow, once that is admitted.

    Args:
        time_limit: seconds that one answer may take.
        delegate: takes what it can of every model, before the kernels do.

    Attributes:
        delegate: as given.
        shares: what the delegate took of each model that was opened, in order.
    """

    def __init__(self, time_limit: float = 600.0, delegate: Delegate | None = None) -> None:
        self._time_limit = time_limit
        self.delegate = delegate
        self.shares: list[Share] = []
        self._worker = Worker("tersor.runtimes.serve:serve", time_limit)
        self._with_tensorflow: Worker | None = None
        self._admits_tensorflow = False
        self._stores = 0

    def admit_tensorflow(self) -> None:
        """From now on, run models with TensorFlow's operators, too: whoever calls this has looked at which they are."""
        self._admits_tensorflow = True

    def open(
        self, path: str, kernels: str = "xnnpack", *, threads: int = 1, copies: int = 1, keep_all: bool = False
    ) -> Handle:
        """Load a model. With several `copies`, as many samples run at the same time.

        Each copy maps the file and packs its weights anew; of a large file there is one, with as many threads. So it is
        with a delegate, whose device is one.

        Raises RuntimeFailure if the runtime refuses it or crashes on it, UnsupportedError for TensorFlow's operators
        where these are not admitted or TensorFlow is missing.
        """
        what = f"{Path(path).name} on the {kernels} kernels"
        if self.delegate is not None:
            what, threads, copies = f"{what} with the delegate {self.delegate.name}", threads * copies, 1
        with contextlib.suppress(OSError):  # what is wrong with the file is for the child to say
            if Path(path).stat().st_size > _LARGE:
                threads, copies = threads * copies, 1
        command = ("open", path, kernels, threads, copies, keep_all, self.delegate)
        worker = self._living_worker()
        try:
            answer = _ask(worker, f"loading {what}", command)
        except NeedsTensorFlow as error:
            worker = self._tensorflow_worker(Path(path).name)
            try:
                answer = _ask(worker, f"loading {what}", command)
            except NeedsTensorFlow as without:
                raise UnsupportedError(f"{Path(path).name}: {without}") from error
        key, inputs, outputs, share = answer
        if share is not None:
            self.shares.append(share)
        return Handle(worker, key, what, inputs, outputs)

    def store(self) -> Store:
        """A place in the child where activations of many samples are kept; see `Store`."""
        self._stores += 1
        worker = self._tensorflow_worker("the model") if self._admits_tensorflow else self._living_worker()
        return Store(worker, self._stores)

    def close(self) -> None:
        """End the child."""
        self._worker.close()
        if self._with_tensorflow is not None:
            self._with_tensorflow.close()

    def _living_worker(self) -> Worker:
        """The child; another one where it has crashed, so that one bad file does not end all work."""
        if self._worker.is_dead:
            self._worker.close()
            self._worker = Worker("tersor.runtimes.serve:serve", self._time_limit)
        self._worker.advice = "" if self.delegate is None else self.delegate.crash
        return self._worker

    def _tensorflow_worker(self, name: str) -> Worker:
        if not self._admits_tensorflow:
            raise UnsupportedError(f"{name}: holds TensorFlow ops, which are run only for models that were looked at")
        if self._with_tensorflow is not None and self._with_tensorflow.is_dead:
            self._with_tensorflow.close()
            self._with_tensorflow = None
        if self._with_tensorflow is None:
            target = "tersor.runtimes.serve:serve_with_tensorflow"
            self._with_tensorflow = Worker(target, self._time_limit, with_tensorflow=True)
        return self._with_tensorflow

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ask(worker: Worker, doing: str, command: tuple[Any, ...]) -> Any:
    worker.doing = doing
    worker.send(command)
    return worker.receive()


class Handle:
    """A model loaded in an engine.

    Attributes:
        inputs: the model's inputs, in order.
        outputs: the model's outputs, in order.
    """

    def __init__(
        self, worker: Worker, key: int, what: str, inputs: tuple[Port, ...], outputs: tuple[Port, ...]
    ) -> None:
        self._worker = worker
        self._key = key
        self._what = what
        self.inputs = inputs
        self.outputs = outputs

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """One run; see `Session.run`."""
        (outputs,) = self.run_all([inputs])
        return outputs

    def run_all(self, samples: Iterable[Sequence[Array]]) -> Iterator[list[Array]]:
        """Outputs for each sample in order, computed ahead of the reader. Close it, or read it to its end."""
        self._worker.doing = f"running {self._what}"
        self._worker.send(("run", self._key))
        with self._stream() as end:
            waiting = 0
            for sample in samples:
                self._worker.send(list(sample))
                waiting += 1
                if waiting > AHEAD:
                    yield self._worker.receive()
                    waiting -= 1
            end()
            for _ in range(waiting):
                yield self._worker.receive()

    def observe(
        self,
        samples: Iterable[Sequence[Array]],
        watch: Watch,
        new_observer: Callable[[str], Any],
    ) -> tuple[dict[str, Any], dict[int, list[Array]]]:
        """One pass over the data: what an observer per tensor has seen, and the outputs to keep, run by run.

        Args:
            samples: inputs of each sample.
            watch: what to look at; values that the runtime does not keep are left out of the answer.
            new_observer: makes the observer of a tensor; must be importable in the child.
        """
        self._worker.doing = f"calibrating {self._what}"
        self._worker.send(("observe", self._key, watch, new_observer))
        with self._stream() as end:
            for sample in samples:
                self._worker.send(list(sample))
            end()
            answer: tuple[dict[str, Any], dict[int, list[Array]]] = self._worker.receive()
        return answer

    def times(self, inputs: Sequence[Array], seconds: float) -> list[float]:
        """Seconds that each of as many runs took as fit in `seconds`, at least one."""
        self._worker.doing = f"timing {self._what}"
        self._worker.send(("times", self._key, list(inputs), seconds))
        durations: list[float] = self._worker.receive()
        return durations

    def close(self) -> None:
        """Unload the model."""
        self._worker.send(("close", self._key))

    @contextlib.contextmanager
    def _stream(self) -> Iterator[Callable[[], None]]:
        """A stream of samples, which ends (for both sides) however the block ends; gives the function that ends it."""
        ended = False

        def end() -> None:
            nonlocal ended
            ended = True
            self._worker.send(None)

        try:
            yield end
        finally:
            if not ended:
                with contextlib.suppress(Exception):  # the child may be what failed
                    end()
            self._worker.drain()
