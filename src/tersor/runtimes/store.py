"""Activations of many samples, kept in the child process, through which a network is run piece by piece.

`Store` is the parent's side; `Shelves` what the child keeps. Values stay in the child: pieces of the network read them
from there and put their results there, and only what a function makes of them comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tersor.runtimes.isolation import Answer, Worker
from tersor.runtimes.memory import return_freed_memory

if TYPE_CHECKING:
    from tersor.ir.graph import Array
    from tersor.runtimes.litert import Session


class Store:
    """Values by name, one array per sample; made by `Engine.store`."""

    def __init__(self, worker: Worker, key: int) -> None:
        self._worker = worker
        self._key = key
        self._ordered: list[Answer] = []

    def put(self, values: dict[str, list[Array]]) -> None:
        """Keep values."""
        self._ask("putting samples by", "put", values)()

    def advance(self, model: bytes, inputs: Sequence[str], outputs: Sequence[str], threads: int = 1) -> None:
        """Have a piece of a network run on every sample and its results kept. Does not wait for it.

        Args:
            model: the piece, as a `.tflite` file.
            inputs: names of kept values, one for each input.
            outputs: the names to keep its outputs under.
            threads: samples to run at the same time.

        What is asked for next raises RuntimeFailure if the runtime refuses the piece or crashes on it.
        """
        doing = f"computing {outputs[0] if outputs else 'nothing'}"
        self._order(doing, "advance", model, inputs, outputs, threads)

    def reduce(self, function: Callable[..., Any], names: str | tuple[str, ...], *arguments: Any) -> Any:
        """What a function makes of values by name: ``function(values, ..., *arguments)``, values for each name.

        The function must be importable in the child, and its result picklable.
        """
        return self.reducing(function, names, *arguments)()

    def reducing(
        self, function: Callable[..., Any], names: str | tuple[str, ...], *arguments: Any
    ) -> Callable[[], Any]:
        """`reduce`, begun: call the result to wait for what it gives."""
        names = (names,) if isinstance(names, str) else names
        return self._ask(f"looking at {names[0]}", "reduce", function, names, arguments)

    def drop(self, names: Iterable[str]) -> None:
        """Keep these values no longer."""
        self._order("dropping values", "drop", list(names))

    def close(self) -> None:
        """Drop everything."""
        self._ordered.clear()
        self._ask("dropping values", "clear")()

    def _order(self, doing: str, method: str, *arguments: Any) -> None:
        """Something to do without an answer, but for its failure."""
        self._ordered.append(self._worker.ask(("store", self._key, method, arguments), doing))

    def _ask(self, doing: str, method: str, *arguments: Any) -> Callable[[], Any]:
        answer = self._worker.ask(("store", self._key, method, arguments), doing)

        def result() -> Any:
            while self._ordered:  # what follows from a failure is not what failed
                self._ordered.pop(0).result()
            return answer.result()

        return result


class Shelves:
    """The child's side of `Store`; pieces are loaded by `new_session`."""

    def __init__(self, new_session: Callable[[bytes], Session]) -> None:
        self._new_session = new_session
        self._values: dict[str, list[Array]] = {}
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def put(self, values: dict[str, list[Array]]) -> None:
        """See `Store.put`."""
        self._values |= values

    def advance(self, model: bytes, inputs: Sequence[str], outputs: Sequence[str], threads: int) -> None:
        """See `Store.advance`."""
        count = len(self._values[inputs[0]]) if inputs else 1
        copies = max(1, min(threads, count))
        sessions = [self._new_session(model) for _ in range(copies)]

        def run(first: int) -> list[list[Array]]:
            own = range(first, count, copies)
            return [sessions[first].run([self._values[name][number] for name in inputs]) for number in own]

        if copies not in self._pools:  # to start threads takes longer than small pieces do
            self._pools[copies] = ThreadPoolExecutor(copies)
        parts = list(self._pools[copies].map(run, range(copies)))
        for place, name in enumerate(outputs):
            self._values[name] = [parts[number % copies][number // copies][place] for number in range(count)]

    def reduce(self, function: Callable[..., Any], names: tuple[str, ...], arguments: tuple[Any, ...]) -> Any:
        """See `Store.reduce`."""
        return function(*(self._values[name] for name in names), *arguments)

    def drop(self, names: Iterable[str]) -> None:
        """See `Store.drop`."""
        for name in names:
            self._values.pop(name, None)

    def clear(self) -> None:
        """See `Store.close`."""
        self._values.clear()
        for pool in self._pools.values():
            pool.shutdown()
        self._pools.clear()
        return_freed_memory()
