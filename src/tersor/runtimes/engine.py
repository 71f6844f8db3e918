"""Sessions in a child process: native code may crash there without harm.

The child obeys short commands (`_COMMANDS`). The parent's `Engine` names what is being done before each, so that a crash is
reported with its place.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from tersor.errors import RuntimeFailure, TersorError
from tersor.ir.graph import Array
from tersor.runtimes.isolation import Channel, Worker
from tersor.runtimes.litert import Port, Session

_AHEAD = 8
"""Samples that may wait for a free session or an unread answer."""


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine:
    """A child process with loaded models. Use as a context manager; it starts at once, while the parent goes on.

    Args:
        time_limit: seconds that one answer may take.
    """

    def __init__(self, time_limit: float = 600.0) -> None:
        self._worker = Worker("tersor.runtimes.engine:serve", time_limit)

    def open(
        self, path: str, kernels: str = "xnnpack", *, threads: int = 1, copies: int = 1, keep_all: bool = False
    ) -> Handle:
        """Load a model. With several `copies`, as many samples run at the same time.

        Raises RuntimeFailure if the runtime refuses it or crashes on it.
        """
        self._worker.doing = f"loading {path} on the {kernels} kernels"
        self._worker.send(("open", path, kernels, threads, copies, keep_all))
        key, inputs, outputs = self._worker.receive()
        return Handle(self._worker, key, f"{path} on the {kernels} kernels", inputs, outputs)

    def close(self) -> None:
        """End the child."""
        self._worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
        return next(iter(self.run_all([inputs])))

    def run_all(self, samples: Iterable[Sequence[Array]]) -> Iterator[list[Array]]:
        """Outputs for each sample in order, computed ahead of the reader."""
        self._worker.doing = f"running {self._what}"
        self._worker.send(("run", self._key))
        waiting = 0
        for sample in samples:
            self._worker.send(list(sample))
            waiting += 1
            if waiting > _AHEAD:
                yield self._worker.receive()
                waiting -= 1
        self._worker.send(None)
        for _ in range(waiting):
            yield self._worker.receive()

    def observe(
        self, samples: Iterable[Sequence[Array]], names: Sequence[str], new_observer: Callable[[], Any]
    ) -> dict[str, Any]:
        """One pass over the data: what an observer per tensor has seen.

        Args:
            samples: inputs of each sample.
            names: tensors to observe; those the runtime keeps no values of are left out of the answer.
            new_observer: makes an observer; must be importable in the child.
        """
        self._worker.doing = f"calibrating {self._what}"
        self._worker.send(("observe", self._key, list(names), new_observer))
        for sample in samples:
            self._worker.send(list(sample))
        self._worker.send(None)
        answer = self._worker.receive()
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """Unload the model."""
        self._worker.send(("close", self._key))


def serve(channel: Channel) -> None:
    """The child's loop: obey commands until the parent is gone."""
    models: dict[int, list[Session]] = {}
    while True:
        command, *arguments = channel.receive()
        try:
            if command == "open":
                path, kernels, threads, copies, keep_all = arguments
                key = len(models)
                models[key] = [Session(path, kernels, threads, keep_all=keep_all) for _ in range(copies)]
                channel.send(("ok", (key, models[key][0].inputs, models[key][0].outputs)))
            elif command == "run":
                _run(channel, models[arguments[0]])
            elif command == "observe":
                key, names, new_observer = arguments
                channel.send(("ok", _observe(channel, models[key], names, new_observer)))
            elif command == "close":
                models[arguments[0]] = []
        except TersorError as error:
            channel.send(("error", error))
        except Exception as error:
            channel.send(("error", RuntimeFailure(f"{type(error).__name__}: {error}")))


def _run(channel: Channel, sessions: list[Session]) -> None:
    """Answer each sample in order; with several sessions, samples are computed side by side."""
    free: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for session in sessions:
        free.put(session)
    if len(sessions) == 1:
        while (sample := channel.receive()) is not None:
            channel.send(("ok", sessions[0].run(sample)))
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    def compute(sample: list[Array]) -> list[Array]:
        session = free.get()
        try:
            return session.run(sample)
        finally:
            free.put(session)

    pending: queue.Queue[Future[list[Array]] | None] = queue.Queue()
    failed: list[BaseException] = []

    def answer() -> None:
        while (future := pending.get()) is not None:
            try:
                channel.send(("ok", future.result()))
            except BaseException as error:
                failed.append(error)
                channel.send(("error", error if isinstance(error, TersorError) else RuntimeFailure(str(error))))

    with ThreadPoolExecutor(len(sessions)) as pool:
        writer = threading.Thread(target=answer)
        writer.start()
        while (sample := channel.receive()) is not None:
            pending.put(pool.submit(compute, sample))
        pending.put(None)
        writer.join()


def _observe(
    channel: Channel, sessions: list[Session], names: list[str], new_observer: Callable[[], Any]
) -> dict[str, Any]:
    """Every session takes samples as they come; observers merge to the same result whoever took which."""
    samples: queue.Queue[list[Array] | None] = queue.Queue(maxsize=len(sessions) + 1)
    parts: list[dict[str, Any]] = [{} for _ in sessions]
    failures: list[Exception] = []

    def work(session: Session, part: dict[str, Any]) -> None:
        while (sample := samples.get()) is not None:
            if failures:
                continue
            try:
                session.run(sample)
                for name in names:
                    _observe_one(session, name, part, new_observer)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(sessions, parts, strict=True)]
    for thread in threads:
        thread.start()
    while (sample := channel.receive()) is not None:
        samples.put(sample)
    for _ in threads:
        samples.put(None)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    merged = parts[0]
    for part in parts[1:]:
        for name, observer in part.items():
            if name in merged:
                merged[name].merge(observer)
            else:
                merged[name] = observer
    return {name: merged[name] for name in names if name in merged}


def _observe_one(session: Session, name: str, part: dict[str, Any], new_observer: Callable[[], Any]) -> None:
    with contextlib.suppress(ValueError, KeyError):  # a tensor without memory of its own
        values = session.view(name)
        if name not in part:
            part[name] = new_observer()
        part[name].observe(values)
