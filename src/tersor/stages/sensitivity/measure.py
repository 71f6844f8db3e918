"""Operators measured one after the other: here, or in child processes side by side."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from tersor.errors import RuntimeFailure, VerificationError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model, Op
from tersor.recipe import Recipe, Rule, Scheme
from tersor.runtimes.engine import Engine, Handle, available_threads
from tersor.runtimes.isolation import Channel, Worker
from tersor.stages.compare import compare, real_outputs
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize
from tersor.stages.statistics import Statistics

WHOLE = ""
"""Stands for no operator: everything quantized."""

_FLOAT = (("activations", "float32"), ("weights", "float32"), ("compute", "float"))

Figures = tuple[float, float]
"""SQNR of the worst output with an operator quantized alone, and with it alone left in float."""


class Measure:
    """Quantizes by one recipe after the other, and compares with the float model on the same samples.

    Args:
        model: the float model.
        recipe: what is wanted.
        statistics: from `calibrate`.
        samples: inputs of each sample to compare on.
        folder: for temporary files.
        engine: the process to run in; by default one of its own, and in any case another after a crash.
        threads: samples to run at the same time.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        statistics: Statistics,
        samples: Sequence[list[Array]],
        folder: Path,
        engine: Engine | None = None,
        threads: int | None = None,
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._statistics = statistics
        self._samples = samples
        self._threads = threads or available_threads()
        self._stack = ExitStack()
        self._path = folder / "model.tflite"
        self._engine = engine or self._started()
        self._ops = {op.name: op for op in model.graph.ops}
        self._wanted: list[list[Array]] = []

    def of(self, name: str) -> Figures:
        """The figures of an operator; for `WHOLE`, of the network twice."""
        if name == WHOLE:
            whole = self._sqnr_db(self._recipe)
            return whole, whole
        return self._sqnr_db(_only(self._recipe, self._ops[name])), self._sqnr_db(_sparing(self._recipe, name))

    def close(self) -> None:
        """End what it started."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sqnr_db(self, recipe: Recipe) -> float:
        """Of the worst output; minus infinity for a network that is dead or cannot be run."""
        if not self._wanted:
            tflite.write(self._model, self._path)
            with self._opened() as handle:
                self._wanted = list(real_outputs(handle, self._samples))
        decided = plan(self._model, recipe, self._statistics)
        tflite.write(quantize(self._model, decided), self._path)
        try:
            with self._opened() as handle:
                return min(item.sqnr_db for item in compare(self._wanted, handle, self._samples))
        except VerificationError:
            return -math.inf
        except RuntimeFailure:
            self._engine = self._started()  # the other may have crashed
            return -math.inf

    def _started(self) -> Engine:
        engine = self._stack.enter_context(Engine())
        admit_tensorflow_ops(self._model, engine)
        return engine

    @contextmanager
    def _opened(self) -> Iterator[Handle]:
        handle = self._engine.open(str(self._path), copies=self._threads)
        try:
            yield handle
        finally:
            handle.close()


def _only(recipe: Recipe, op: Op) -> Recipe:
    """A recipe that quantizes one operator as the given one would."""
    scheme = recipe.scheme_of(op.kind, op.name)
    fields = (
        ("activations", str(scheme.activations)),
        ("weights", str(scheme.weights)),
        ("granularity", scheme.granularity),
        ("compute", scheme.compute),
    )
    return replace(recipe, scheme=Scheme(), interface=DType.FLOAT32, rules=(Rule(fields, names=(op.name,)),))


def _sparing(recipe: Recipe, name: str) -> Recipe:
    """A recipe that leaves one operator in float."""
    return replace(recipe, rules=(*recipe.rules, Rule(_FLOAT, names=(name,))))


def side_by_side(
    jobs: int,
    model: Model,
    recipe: Recipe,
    statistics: Statistics,
    samples: Sequence[list[Array]],
    names: Sequence[str],
) -> Iterator[tuple[str, Figures]]:
    """Measure operators in several child processes; each one's figures as they come.

    Raises RuntimeFailure if a child ends unasked.
    """
    threads = max(1, available_threads() // jobs)
    pool, free = ThreadPoolExecutor(jobs), SimpleQueue[Worker]()

    def measured(name: str) -> tuple[str, Figures]:
        worker = free.get()
        try:
            worker.doing = f"measuring {name or 'the whole network'}"
            worker.send(name)
            return name, worker.receive()
        finally:
            free.put(worker)

    with ExitStack() as stack:  # however it ends: the children first, so that no thread waits for their answers
        whole = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        stack.callback(pool.shutdown, cancel_futures=True)
        for number in range(min(jobs, len(names))):
            folder = whole / str(number)
            folder.mkdir()
            worker = stack.enter_context(Worker("tersor.stages.sensitivity.measure:serve"))
            worker.send((model, recipe, statistics, samples, folder, None, threads))
            free.put(worker)
        yield from (future.result() for future in as_completed([pool.submit(measured, name) for name in names]))


def serve(channel: Channel) -> None:
    """The child's side of `side_by_side`; ends when the parent is gone."""
    with Measure(*channel.receive()) as measure:
        while True:
            channel.send(("ok", measure.of(channel.receive())))
