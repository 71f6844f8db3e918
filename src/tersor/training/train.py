"""Model + data + recipe -> a network trained for it, and what that was good for: `tersor train` is this call."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras

from tersor.data.dataset import Dataset
from tersor.errors import OutputError, PlanError, RecipeError
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.runtimes.engine import Engine
from tersor.stages.evaluate import Change, Score, Scorer, scored
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.optimize import optimize
from tersor.stages.plan.refusals import refuse_finished
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.produce import prepared
from tersor.stages.quantize import quantize
from tersor.stages.save import atomic, require_writable
from tersor.stages.verify import SAMPLES as VERIFIED
from tersor.stages.verify import verify
from tersor.training.backend import all_devices
from tersor.training.batches import Batches, require_labels
from tersor.training.checkpoint import SUFFIX, Checkpoint, Figures, Standing, read_checkpoint, require_same_run
from tersor.training.course import Course, Settings, Stop, assign, stoppable, values_of
from tersor.training.material import Material, first_of
from tersor.training.methods import Phase, Start, phases_of
from tersor.training.network import Network
from tersor.training.task import Task, task_of

_RANGES = 100
"""Samples that ranges begin with."""

_DIGITS = 12
"""Of a digest, in the checkpoint."""

_MAY_CHANGE = (
    "epochs",
    "learning_rate",
    "freeze",
    "patience",
    "mixed_precision",
    "data_parallel",
    "checkpoint_minutes",
    "backend",
)
"""What another value of does not make another run."""


@dataclass(frozen=True)
class Where:
    """Files.

    Attributes:
        output: the network, a `.keras` file.
        file: the `.tflite` file of it; None for none.
        resume: go on from the checkpoint beside the output.
        overwrite: replace what is there.
    """

    output: Path
    file: Path | None = None
    resume: bool = False
    overwrite: bool = False

    @property
    def checkpoint(self) -> Path:
        """Beside the output."""
        return self.output.with_name(self.output.name + SUFFIX)


@dataclass(frozen=True)
class Row:
    """A network on the validation samples.

    Attributes:
        name: "float", or a phase's name.
        trained: whether it was trained here.
        score: its figure.
        changes: from each row above, on the same samples, in their order.
    """

    name: str
    trained: bool
    score: Score
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes:
        where: what was written.
        recipe: what was trained for, in words.
        task: loss and metric.
        settings: how it was trained.
        rows: the figures before and after.
        history: of the epochs of the last phase.
        best: the epoch that was kept.
        samples: how many were trained on.
        stopped: the signal that ended it before its time; None for none.
        is_written: whether there is an output: not if somebody stopped it before the first epoch was over.
        backend: what Keras ran on.
        rate: the learning rate of the last phase.
        remark: what else is to be said of the network.
    """

    where: Where
    recipe: str
    task: Task
    settings: Settings
    rows: tuple[Row, ...]
    history: tuple[Figures, ...]
    best: int
    samples: int
    stopped: int | None
    is_written: bool
    backend: str
    rate: float
    remark: str


@dataclass(frozen=True)
class Listener:
    """Who is told what is going on.

    Attributes:
        progress: of anything that takes time.
        say: in a line, what was chosen, and figures as soon as they are known.
        announce: each epoch, and whether it is the best so far.
    """

    progress: Progress = lambda _what, _done, _total: None
    say: Callable[[str], None] = lambda _line: None
    announce: Callable[[Figures, Task, bool], None] = lambda _figures, _task, _best: None


def train(
    model: Model,
    recipe: str,
    material: Material,
    where: Where,
    settings: Settings | None = None,
    *,
    loss: str | None = None,
    metric: str | None = None,
    listener: Listener | None = None,
    engine: Engine | None = None,
) -> Trained:
    """Train a float model for a recipe, keep the epoch that is best on the validation samples, and write it.

    Args:
        model: a float model.
        recipe: a preset's name or the path of a recipe.
        material: samples; `training.material.load_material` reads them.
        where: what is written.
        settings: how to train.
        loss: see `training.task.task_of`; by default what suits the output.
        metric: likewise.
        listener: who is told.
        engine: the process in which files run; by default one of its own.

    Raises:
        RecipeError, DataError, PlanError, UnsupportedError: before anything is trained.
        VerificationError: the loss became NaN; the checkpoint from before stays.
        OutputError: something cannot be written.
    """
    settings, listener = settings or Settings(), listener or Listener()
    refuse_finished(model)
    phases = phases_of(recipe)
    task = task_of(model.graph, first_of(material.training).label, loss, metric)
    for part in (material.training, material.validation):
        require_labels(part, task)
    run = _run(model, phases, material, settings, task)
    found = _resumed(where, run, model, listener)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        measured = _Measured(material.validation, task, runner, listener)
        source, float_path = prepared(model, folder)
        batches = Batches(material, source.graph, task, settings.batch_size, settings.seed)
        _require_steps(phases, settings, len(batches))
        listener.say(str(task))
        if settings.data_parallel:
            stack.enter_context(all_devices(settings.batch_size))
        measured.add("float", float_path, trained=False)
        calibration = material.training.spread(_RANGES)
        last = phases[-1]
        if last.recipe is not None:
            untrained = Preparation(source, float_path, calibration, runner, listener.progress).corrected(last.recipe)
            tflite.write(quantize(untrained.model, untrained.plan), folder / "untrained.tflite")
            measured.add(last.name, folder / "untrained.tflite", trained=False)
        stop = stack.enter_context(stoppable())
        course = _trained(model, phases, batches, material, settings, task, where, run, found, listener, stop)
        course.keep_best()
        is_finished = course.standing.phase == len(phases) - 1
        is_written = is_finished and (stop.signal is None or bool(course.standing.best))
        remark = ""
        if is_written:
            remark = last.remark(course.network)
            result = _file_of(course.network, last)
            tflite.write(result, folder / "trained.tflite")
            measured.add(last.name, folder / "trained.tflite", trained=True)
            save_network(course.network, where.output)
            if where.file is not None:
                _save_file(result, where.file, course.network.trained(), material.validation, runner)
        if stop.signal is None:
            with suppress(OSError):
                where.checkpoint.unlink()
    standing = course.standing
    return Trained(
        where,
        last.name,
        task,
        settings,
        tuple(measured.rows),
        tuple(standing.history),
        standing.best or 0,
        len(material.training),
        stop.signal,
        is_written,
        str(keras.backend.backend()),
        settings.learning_rate or last.rate,
        remark,
    )


def save_network(network: Network, path: Path) -> None:
    """Write a network to a `.keras` file, atomically. Raises OutputError."""
    with atomic(path) as temporary:
        named = temporary.with_name(f"{temporary.name}.keras")  # which Keras insists on
        try:
            network.save(named)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


class _Measured:
    """Files, one after the other on the same samples."""

    def __init__(self, data: Dataset, task: Task, engine: Engine, listener: Listener) -> None:
        self._data = data
        self._task = task
        self._engine = engine
        self._listener = listener
        self._scorers: list[Scorer] = []
        self.rows: list[Row] = []

    def add(self, name: str, path: Path, *, trained: bool) -> None:
        what = f"measuring {name}{', trained' if trained else ''}"
        scorer = scored(
            path,
            self._data,
            self._task.metric,
            engine=self._engine,
            progress=lambda done: self._listener.progress(what, done, len(self._data) if self._data.size else None),
        )
        changes = tuple(scorer.change_from(other) for other in self._scorers)
        self.rows.append(Row(name, trained, scorer.score(), changes))
        self._scorers.append(scorer)
        if not trained:
            self._listener.say(f"before training: {name} {scorer.score()}")


def _trained(
    model: Model,
    phases: tuple[Phase, ...],
    batches: Batches,
    material: Material,
    settings: Settings,
    task: Task,
    where: Where,
    run: Mapping[str, Any],
    found: Checkpoint | None,
    listener: Listener,
    stop: Stop,
) -> Course:
    """The training of the last phase, or of the one in which somebody stopped it.

    A phase ends with a checkpoint, from which it ends again at once.
    """
    steps = settings.epochs * len(batches)
    freeze_after = round((1 - settings.freeze) * steps)
    samples = list(material.training.spread(_RANGES))
    before: Sequence[Array] = () if found is None else found.before
    for number, phase in enumerate(phases):
        network = phase.prepare(Start(model, samples, freeze_after, settings.learned))
        if found is not None and number < found.standing.phase:
            assign(network.weights, before)
            model = network.trained()
            continue
        if len(phases) > 1:
            listener.say(f"training {number + 1} of {len(phases)}: {phase.name}")
        course = Course(
            network,
            task,
            batches,
            material.validation,
            settings,
            rate=settings.learning_rate or phase.rate,
            path=where.checkpoint,
            run=run,
            standing=Standing(phase=number),
            before=before,
            counts_from=phase.counts_from,
        )
        if found is not None and number == found.standing.phase:
            course.restore(found)
        else:
            course.start()
        course.train(
            partial(listener.progress, f"training: {phase.name}"),
            lambda figures, is_best: listener.announce(figures, task, is_best),
            stop,
        )
        if stop.signal is not None or phase is phases[-1]:
            break
        course.keep_best()
        model, before = network.trained(), values_of(network.weights)
    return course


def _require_steps(phases: tuple[Phase, ...], settings: Settings, batches: int) -> None:
    """Raise PlanError for a training that would end before it is any good."""
    for phase in phases:
        steps, needed = settings.epochs * batches, phase.counts_from
        if needed > steps:
            raise PlanError(
                f"{phase.name}: its schedule takes {needed} steps, and --epochs {settings.epochs} of {batches} batches "
                f"are {steps}: give at least --epochs {-(-needed // batches)}, or a schedule that ends earlier"
            )


def _file_of(network: Any, phase: Phase) -> Model:
    """What a file of the network holds."""
    return optimize(network.trained()) if phase.recipe is None else quantize(network)


def _save_file(result: Model, path: Path, trained: Model, data: Dataset, engine: Engine) -> None:
    """Write the `.tflite` file, if it works. Raises VerificationError, OutputError."""
    with atomic(path) as temporary:
        tflite.write(result, temporary)
        verify(temporary, trained, list(data.spread(VERIFIED)), engine=engine)


def _resumed(where: Where, run: Mapping[str, Any], model: Model, listener: Listener) -> Checkpoint | None:
    """The checkpoint to go on from; all that could not be written in the end is refused now."""
    if where.output.suffix != ".keras":
        raise RecipeError(f"-o {where.output}: the network is written as a .keras file; --tflite writes a .tflite file")
    for path in (where.output, where.file):
        if path is None:
            continue
        if model.source and path.resolve() == Path(model.source).resolve():
            raise OutputError(f"{path} is the float model itself; give another output")
        require_writable(path)
        if path.exists() and not (where.resume or where.overwrite):
            raise OutputError(f"{path} is there already: give another output, or --overwrite")
    if not where.resume:
        if where.checkpoint.exists() and not where.overwrite:
            raise OutputError(
                f"{where.checkpoint} is there, of a training that did not end: --resume goes on, --overwrite begins "
                "anew"
            )
        return None
    if not where.checkpoint.exists():
        raise OutputError(f"{where.checkpoint}: there is no checkpoint to resume from; leave out --resume")
    found = read_checkpoint(where.checkpoint)
    fixed = {name: value for name, value in run.items() if name not in _MAY_CHANGE}
    require_same_run(where.checkpoint, found.run, fixed)
    standing = found.standing
    place = f"epoch {standing.epoch + 1}" + (f", batch {standing.batch + 1}" if standing.batch else "")
    changed = [
        f"{name} {found.run.get(name)} -> {run[name]}" for name in _MAY_CHANGE if found.run.get(name) != run[name]
    ]
    listener.say(f"goes on at {place}" + (f", with {', '.join(changed)}" if changed else ""))
    return found


def _run(model: Model, phases: tuple[Phase, ...], material: Material, settings: Settings, task: Task) -> dict[str, Any]:
    """What training follows from."""
    return {
        "model": _digest(tflite.write_bytes(model)),
        "recipe": _digest(repr([phase.wish for phase in phases]).encode()),
        "data": material.training.what,
        "samples": len(material.training),
        "validation": material.validation.what,
        "augment": str(material.augmentation),
        "loss": task.loss,
        "metric": task.metric,
        **asdict(settings),
        "learning_rate": [settings.learning_rate or phase.rate for phase in phases],
        "backend": keras.backend.backend(),
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
