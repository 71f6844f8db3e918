"""A network's training, epoch after epoch, that can be stopped anywhere and goes on there."""

from __future__ import annotations

import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tersor.data.dataset import Dataset
from tersor.data.feed import Sample, fit
from tersor.errors import VerificationError
from tersor.ir.graph import Array
from tersor.stages.evaluate import Scorer
from tersor.training.batches import Batches, Epoch, joined, ports_of
from tersor.training.checkpoint import Checkpoint, Figures, Standing
from tersor.training.network import Network
from tersor.training.task import Task

MIXED = "mixed_bfloat16"
"""What layers multiply in if asked to: as wide as float32, so that gradients need no scale."""

_LOOK_EVERY = 16
"""Batches between two looks at the loss, for which the device has to be waited for."""


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        epochs: passes over the training samples.
        batch_size: samples of a step.
        learning_rate: at the beginning; it falls to 0 as a cosine. None for what suits the recipe.
        freeze: the last share of the steps, in which batch normalization uses its moving statistics, as the file does.
        patience: end after so many epochs without a better one; None for never.
        seed: of the order of samples and of augmentation.
        mixed_precision: let layers multiply in bfloat16; what is rounded to integers is computed in float32.
        learned: learn ranges by their gradients.
        data_parallel: let all devices of this machine share each batch.
        checkpoint_minutes: between checkpoints within an epoch; there is one at the end of each.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float | None = None
    freeze: float = 1 / 3
    patience: int | None = None
    seed: int = 0
    mixed_precision: bool = False
    learned: bool = False
    data_parallel: bool = False
    checkpoint_minutes: float = 10.0


_SEED = "seed_generator_state"
"""What Keras calls the variable of a source of random numbers."""


class Stop:
    """Whether somebody asked to stop, and by which signal."""

    signal: int | None = None


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM only ask: training ends behind the next batch. A second one ends everything at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _frame: object) -> None:
        stop.signal = number
        for own, usual in before.items():
            signal.signal(own, usual)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


class Course:
    """Trains a network.

    Args:
        network: see `Network`; it holds what was learned after each epoch, and the best epoch in the end.
        task: what it is trained for.
        batches: to train on.
        validation: to be judged by, computed as the file computes.
        settings: how.
        rate: the learning rate.
        path: of the checkpoint.
        run: what training follows from, for the checkpoint.
        standing: where to go on.
        before: for the checkpoint, see there.
        counts_from: the step behind which the network is worth keeping.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        batches: Batches,
        validation: Dataset,
        settings: Settings,
        *,
        rate: float,
        path: Path,
        run: Mapping[str, Any],
        standing: Standing | None = None,
        before: Sequence[Array] = (),
        counts_from: int = 0,
    ) -> None:
        self.network = network
        self._task = task
        self._batches = batches
        self._validation = validation
        self._settings = settings
        self._rate = rate
        self._path = path
        self._counts_from = counts_from
        self._run = run
        self._before = before
        self._best: Sequence[Array] = ()
        self._loss = task.keras_loss()
        self._saved = time.monotonic()
        self._pending: Checkpoint | None = None
        self.standing = standing or Standing()
        self.trainee = in_mixed_precision(network) if settings.mixed_precision else network
        steps = settings.epochs * len(batches)
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
        self._optimizer = keras.optimizers.Adam(schedule)
        self._optimizer.build(self.trainee.trainable_variables)
        self.trainee.compile(self._optimizer, self._loss)

    def restore(self, found: Checkpoint) -> None:
        """Go on where a checkpoint was written."""
        self.standing = found.standing
        assign(_state(self.trainee), found.variables)
        assign(self._optimizer.variables, found.optimizer)
        self._best = found.best

    def start(self) -> None:
        """Look at what is there before the first epoch; where that counts, it is kept if none is better."""
        self._judge(None)

    def train(
        self, progress: Callable[[int, int], None], announce: Callable[[Figures, bool], None], stop: Stop | None = None
    ) -> None:
        """Train until all epochs are over, none was better for as long as `patience`, or somebody asks to stop.

        Args:
            progress: told after each batch which it is, and of how many.
            announce: told what each epoch came to, and whether it is the best.
            stop: tells whether somebody asks to stop.

        Raises VerificationError where the loss is no number any more, OutputError, DataError.
        """
        while self.standing.epoch < self._settings.epochs and not self._is_patience_over():
            self._epoch(progress, stop or Stop())
            if stop is not None and stop.signal is not None:
                self.save()
                break
            average = self.standing.loss / max(self.standing.batch, 1)
            self.standing.epoch += 1
            self.standing.batch, self.standing.loss = 0, 0.0
            announce(self._judge(average), self.standing.best == self.standing.epoch)
            self.save()

    def keep_best(self) -> None:
        """Give the network what it was in its best epoch."""
        if self._best:
            assign(self.network.weights, self._best)

    def save(self) -> None:
        """Write the checkpoint. Raises OutputError."""
        self._write(self._snapshot())

    def _snapshot(self) -> Checkpoint:
        standing = replace(self.standing, history=list(self.standing.history))
        variables, optimizer = values_of(_state(self.trainee)), values_of(self._optimizer.variables)
        return Checkpoint(self._run, standing, variables, optimizer, self._best, self._before)

    def _prepare_to_save(self) -> None:
        """Write this state behind the next batch, whose loss shows whether it is any good."""
        self._pending = self._snapshot()

    def _write(self, checkpoint: Checkpoint) -> None:
        checkpoint.write(self._path)
        self._saved, self._pending = time.monotonic(), None

    def _epoch(self, progress: Callable[[int, int], None], stop: Stop) -> None:
        """One epoch, or what is left of it."""
        standing = self.standing
        first, before = standing.batch, standing.loss
        total = self._settings.epochs * len(self._batches)

        def after_batch(done: int, loss: Callable[[], float]) -> bool:
            standing.batch = first + done
            number = standing.epoch * len(self._batches) + standing.batch
            progress(number, total)
            is_due = time.monotonic() - self._saved > 60 * self._settings.checkpoint_minutes
            is_last = standing.batch == len(self._batches)
            is_stopped, pending = stop.signal is not None, self._pending
            if done % _LOOK_EVERY == 0 or is_last or is_due or is_stopped or pending is not None:
                average = loss()
                self._require_number(average)
                standing.loss = before + done * average
            if pending is not None:
                self._write(pending)
            return is_due and not is_last

        epoch = Epoch(self._batches, standing.epoch, first)
        try:
            if len(epoch):
                watch = _Watch(after_batch, self._prepare_to_save, stop)
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)  # of one, in no list
                    self.trainee.fit(epoch, epochs=1, shuffle=False, verbose=0, callbacks=[watch])
        except Exception:
            if epoch.failure is not None:
                raise epoch.failure from None
            raise
        finally:
            epoch.close()

    def _judge(self, loss: float | None) -> Figures:
        if self.trainee is not self.network:
            assign(self.network.weights, values_of(self.trainee.weights))
        value, validation_loss = judge(self.network, self._task, self._validation, self._batches.size)
        self._require_number(validation_loss)
        figures = Figures(self.standing.epoch, loss, value, validation_loss)
        history = self.standing.history
        best = next((item for item in history if item.epoch == self.standing.best), None)
        history.append(figures)
        is_finished = figures.epoch * len(self._batches) >= self._counts_from
        if is_finished and (best is None or self._key(figures) > self._key(best)):
            self.standing.best = figures.epoch
            self._best = values_of(self.network.weights)
        return figures

    def _key(self, figures: Figures) -> tuple[float, float]:
        return (-figures.value if self._task.lower_is_better else figures.value), -figures.validation_loss

    def _is_patience_over(self) -> bool:
        patience, best = self._settings.patience, self.standing.best
        return patience is not None and best is not None and self.standing.epoch - best >= patience

    def _require_number(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        standing, rate = self.standing, self._rate
        place = (
            f"in epoch {standing.epoch + 1}, by batch {standing.batch}"
            if standing.batch
            else f"of epoch {standing.epoch}"
        )
        kept = f"; {self._path} is from before, and --resume goes on there" if self._path.exists() else ""
        raise VerificationError(
            f"the loss is {loss:g} {place}: "
            f"try --learning-rate {rate / 10:g} (it is {rate:g}), and look at the normalization of samples{kept}"
        )


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Between batches."""

    def __init__(self, after: Callable[[int, Callable[[], float]], bool], save: Callable[[], None], stop: Stop) -> None:
        super().__init__()
        self._after = after
        self._save = save
        self._stop = stop

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        is_due = self._after(batch + 1, lambda: float((logs or {})["loss"]))
        if is_due and self.model is not None:  # asking for the model brings its variables back from the device
            self._save()
        if self._stop.signal is not None:
            self.model.stop_training = True


def judge(network: Any, task: Task, data: Iterable[object], size: int) -> tuple[float, float]:
    """The metric, and the mean loss, of a network on samples; what it computes then is what its file does."""
    scorer, loss, total, count = Scorer(task.metric), task.keras_loss(), 0.0, 0
    ports = ports_of(network.source.graph)
    rest = iter(data)
    while group := list(islice(rest, size)):
        samples = [item if isinstance(item, Sample) else Sample(item) for item in group]
        rows = [fit(sample, ports, count + place) for place, sample in enumerate(samples)]
        rows += [rows[-1]] * (size - len(rows))  # one shape, compiled once
        answers = np.asarray(ops.convert_to_numpy(network.predict_on_batch(joined(rows))))[: len(samples)]
        wanted = np.stack([task.target(sample.label, sample.source) for sample in samples])
        total += float(loss(wanted, answers)) * len(samples)
        count += len(samples)
        for answer, sample in zip(answers, samples, strict=True):
            scorer.add([answer], sample.label, sample.source)
    return scorer.score().value, total / count


def in_mixed_precision(network: Network) -> Network:
    """The same network, whose layers multiply in less precision."""
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(MIXED)
    try:
        found: Network = type(network).from_config(network.get_config())
    finally:
        keras.config.set_dtype_policy(usual)
    assign(found.weights, values_of(network.weights))
    return found


def _state(network: Network) -> list[Any]:
    """All that a step changes: weights, and where random numbers are."""
    seeds = [own for own in network.variables if own.name == _SEED]
    return [*network.weights, *seeds]


def values_of(variables: Sequence[Any]) -> list[Array]:
    """What variables hold now."""
    return [np.asarray(ops.convert_to_numpy(own)) for own in variables]


def assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    """Have variables hold these."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
