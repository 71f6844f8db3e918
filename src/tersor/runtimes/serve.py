"""The child's side of `runtimes.engine`: obeys commands until the parent is gone.

Answers are ("ok", value) or ("error", exception). A stream of samples ends with None from the parent and ("end",
None) from here, so that both sides are in step again after any error.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from tersor.errors import RecipeError, RuntimeFailure, TersorError
from tersor.ir.graph import Array
from tersor.runtimes.delegate import Delegate
from tersor.runtimes.engine import AHEAD, Watch
from tersor.runtimes.isolation import Channel
from tersor.runtimes.litert import Session
from tersor.runtimes.memory import return_freed_memory
from tersor.runtimes.micro_session import KERNELS, MicroSession
from tersor.runtimes.store import Shelves

_NO_VALUES = np.empty(0, np.float32)
"""For observers that look at extremes alone."""


def serve_with_tensorflow(channel: Channel) -> None:
    """`serve`, with TensorFlow's build of the interpreter."""
    serve(channel, with_tensorflow=True)


def serve(channel: Channel, *, with_tensorflow: bool = False) -> None:
    """The loop over commands; the process ends when the parent is gone."""
    new_session = partial(Session, with_tensorflow=with_tensorflow)
    inbox = _Inbox(channel)
    models: dict[int, list[Session]] = {}
    stores: dict[int, Shelves] = {}
    while True:
        command, *arguments = inbox.receive()
        try:
            if command == "open":
                key = len(models)
                models[key] = opened = _opened(new_session, *arguments)
                channel.send(("ok", (key, opened[0].inputs, opened[0].outputs, opened[0].share)))
            elif command == "times":
                key, sample, seconds = arguments
                channel.send(("ok", models[key][0].times(sample, seconds)))
            elif command == "close":
                models[arguments[0]].clear()
                return_freed_memory()
            elif command == "store":
                key, method, given = arguments
                channel.send(("ok", getattr(stores.setdefault(key, Shelves(new_session)), method)(*given)))
            elif command == "run":
                _run(channel, inbox, models[arguments[0]])
            elif command == "observe":
                key, *what = arguments
                _observe(channel, inbox, models[key], *what)
        except Exception as error:
            channel.send(("error", _sendable(error)))


def _opened(
    new_session: Callable[..., Session],
    path: str,
    kernels: str,
    threads: int,
    copies: int,
    delegate: Delegate | None,
) -> list[Session]:
    if kernels != KERNELS:
        return [new_session(path, kernels, threads, delegate=delegate) for _ in range(copies)]
    if delegate is not None:
        raise RecipeError("a microcontroller's kernels take no delegate: choose xnnpack or builtin")
    return [MicroSession(path)]


class _Inbox:
    """Reads ahead, so that the parent is never kept from writing while an answer to it is being written."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._values: queue.Queue[Any] = queue.Queue(maxsize=AHEAD + 1)
        threading.Thread(target=self._read, daemon=True).start()

    def receive(self) -> Any:
        """The next value from the parent."""
        return self._values.get()

    def stream(self) -> Iterator[list[Array]]:
        """The samples of a stream, to its end."""
        while (sample := self.receive()) is not None:
            yield sample

    def _read(self) -> None:
        while True:
            try:
                self._values.put(self._channel.receive())
            except EOFError:
                os._exit(0)  # the parent is gone: nobody waits for what threads still do
            except BaseException as error:  # what cannot be read leaves both sides out of step
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
                sys.stderr.flush()
                os._exit(1)


def _run(channel: Channel, inbox: _Inbox, sessions: list[Session]) -> None:
    """Answer each sample in order; with several sessions, samples are computed side by side."""
    free: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for session in sessions:
        free.put(session)

    def compute(sample: list[Array]) -> list[Array]:
        session = free.get()
        try:
            return session.run(sample)
        finally:
            free.put(session)

    pending: queue.Queue[Future[list[Array]] | None] = queue.Queue()

    def answer() -> None:
        while (future := pending.get()) is not None:
            try:
                channel.send(("ok", future.result()))
            except Exception as error:
                channel.send(("error", _sendable(error)))

    with ThreadPoolExecutor(len(sessions)) as pool:
        writer = threading.Thread(target=answer)
        writer.start()
        for sample in inbox.stream():
            pending.put(pool.submit(compute, sample))
        pending.put(None)
        writer.join()
    channel.send(("end", None))


def _observe(
    channel: Channel, inbox: _Inbox, sessions: list[Session], watch: Watch, new_observer: Callable[[str], Any]
) -> None:
    """Every session takes samples as they come; observers merge to the same result whoever took which."""
    samples: queue.Queue[tuple[int, list[Array]] | None] = queue.Queue(maxsize=len(sessions))
    parts: list[dict[str, Any]] = [{} for _ in sessions]
    kept: dict[int, dict[int, Array]] = {place: {} for place in watch.kept}
    failures: list[Exception] = []

    def work(session: Session, part: dict[str, Any]) -> None:
        while (item := samples.get()) is not None:
            if failures:
                continue
            try:
                number, sample = item
                outputs = session.run(sample)
                for place, runs in watch.kept.items():
                    if number < runs:
                        kept[place][number] = outputs[place]
                for name, values, *known in _values(outputs, watch):
                    if name not in part:
                        part[name] = new_observer(name)
                    part[name].observe(values, *known)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(sessions, parts, strict=True)]
    for thread in threads:
        thread.start()
    for item in enumerate(inbox.stream()):
        samples.put(item)
    for _ in threads:
        samples.put(None)
    for thread in threads:
        thread.join()
    in_order = {place: [own[number] for number in sorted(own)] for place, own in kept.items()}
    channel.send(("error", _sendable(failures[0])) if failures else ("ok", (_merged(parts), in_order)))
    channel.send(("end", None))


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    merged = parts[0]
    for part in parts[1:]:
        for name, observer in part.items():
            if name in merged:
                merged[name].merge(observer)
            else:
                merged[name] = observer
    return merged


def _values(outputs: list[Array], watch: Watch) -> Iterator[tuple[Any, ...]]:
    """Names with what observers are given of each."""
    for name, (low, high) in watch.extremes.items():
        place, weight = watch.values.get(name, (None, 1))
        values = _NO_VALUES if place is None else outputs[place]
        yield name, values, (outputs[low].item(), outputs[high].item()), weight
    for item in watch.derived:
        yield from item.compute(*(outputs[watch.outputs[name]] for name in item.sources)).items()


def _sendable(error: Exception) -> TersorError:
    return error if isinstance(error, TersorError) else RuntimeFailure(f"{type(error).__name__}: {error}")
