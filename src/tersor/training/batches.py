"""Samples as batches: the same for the same seed, epoch and number, so that training goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from tersor.data.dataset import Dataset
from tersor.data.feed import Sample, fit
from tersor.errors import DataError, RecipeError, TersorError
from tersor.ir.graph import Array, Graph
from tersor.runtimes.litert import Port
from tersor.training.material import Material
from tersor.training.task import Task

Batch = tuple[Any, Array]
"""An array per input (or the only one), and targets."""


class Batches:
    """The batches of any epoch; samples are drawn, changed and normalized when they are asked for.

    Args:
        material: what is trained on.
        graph: of the network; tells its inputs.
        task: tells the targets.
        size: samples of a batch. The few that are left over at the end of an epoch wait for another one.
        seed: of order and augmentation.

    Raises RecipeError where there are fewer samples than a batch takes.
    """

    def __init__(self, material: Material, graph: Graph, task: Task, size: int, seed: int) -> None:
        self._data = material.training if material.raw is None else material.raw
        self._material = material
        self._task = task
        self._seed = seed
        self._ports = ports_of(graph)
        self.size = size
        count = len(self._data)
        if count < size:
            raise RecipeError(f"--batch-size {size}, and there are {count} samples to train on: give at most {count}")
        self._places = np.asarray(self._data.chosen if self._data.chosen is not None else range(count))
        self._order: tuple[int, Array] | None = None

    def __len__(self) -> int:
        return len(self._places) // self.size

    def batch(self, epoch: int, number: int) -> Batch:
        """One batch. Raises DataError for samples that do not fit the network."""
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(self._places)
        chosen = [int(place) for place in self._order[1][number * self.size : (number + 1) * self.size]]
        samples = list(self._data.draw(chosen))
        if not samples:
            raise DataError(f"{self._data.what}: none of {len(chosen)} files of a batch can be read")
        if len(samples) < self.size:  # files that are left out: batches are of one size
            samples = [samples[i % len(samples)] for i in range(self.size)]
        ready = [self._ready(sample, epoch, place) for sample, place in zip(samples, chosen, strict=True)]
        return joined([fit(sample, self._ports, number) for sample in ready]), np.stack(
            [self._task.target(sample.label, sample.source) for sample in ready]
        )

    def _ready(self, sample: Sample, epoch: int, place: int) -> Sample:
        if self._material.raw is None:
            return sample
        if not isinstance(sample.inputs, np.ndarray):
            raise DataError(f"{sample.source}: --augment is for models with one input; give --augment none")
        random = np.random.default_rng((self._seed, epoch, place))
        changed = self._material.augmentation.apply(sample.inputs, random, sample.source)
        return Sample(self._material.normalize.apply(changed), sample.label, sample.source)


class Epoch(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch, or what is left of it, for `fit`; the next batch is read while one is trained on.

    Attributes:
        failure: what went wrong with the samples, which a backend may wrap in errors of its own.
    """

    def __init__(self, batches: Batches, epoch: int, start: int = 0) -> None:
        super().__init__()
        self._batches = batches
        self._epoch = epoch
        self._start = start
        self._pool = ThreadPoolExecutor(1, "tersor-batches")
        self._next: dict[int, Future[Batch]] = {}
        self.failure: TersorError | None = None

    def __len__(self) -> int:
        return len(self._batches) - self._start

    def __getitem__(self, number: int) -> Batch:
        """The batch of this number, from the start."""
        future = self._next.pop(number, None)
        if future is None:
            self._next.clear()
            future = self._submit(number)
        if number + 1 < len(self):
            self._next[number + 1] = self._submit(number + 1)
        try:
            return future.result()
        except TersorError as error:
            self.failure = error
            raise

    def close(self) -> None:
        """Read no further."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, number: int) -> Future[Batch]:
        return self._pool.submit(self._batches.batch, self._epoch, self._start + number)


def ports_of(graph: Graph) -> list[Port]:
    """The inputs of a float graph, as `fit` needs to know them."""
    tensors = [graph.tensors[name] for name in graph.inputs]
    return [Port(item.name, item.shape, np.dtype(item.dtype.numpy).name, 0.0, 0) for item in tensors]


def joined(samples: Sequence[Sequence[Array]]) -> Any:
    """An array per input, or the only one."""
    arrays = tuple(np.concatenate(own) for own in zip(*samples, strict=True))
    return arrays[0] if len(arrays) == 1 else arrays


def require_labels(data: Dataset, task: Task) -> None:
    """Raise DataError for a label that is none of the model's, before anything is trained, where the data tells."""
    for seen in data.glimpses():
        task.target(seen.label, seen.source)
