"""Model + samples -> `Statistics`: the ranges of all activations, in one pass over the data."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tersor import registry
from tersor.data.batch import batch_of, stacked
from tersor.data.dataset import Dataset
from tersor.data.feed import fit
from tersor.errors import DataError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Graph, Model, Tensor
from tersor.observers import min_max
from tersor.observers._choice import Choice
from tersor.observers._contract import Observer
from tersor.observers._extremes import Extremes
from tersor.ops import DATA, FIXED, OPS, SAME
from tersor.passes import expose_extremes, expose_means, expose_values
from tersor.runtimes.engine import Engine, Handle, Watch, available_threads
from tersor.stages.derive import derive
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.statistics import Statistics, is_vector

FEW_SAMPLES = 10
"""Fewer samples than this rarely show the ranges that a network takes; a warning says so."""

_COUNTED = 4096
"""Values of an activation that are counted in each sample: over 100 samples enough for one in ten thousand."""


def calibrate(
    model: Model,
    samples: Iterable[object],
    observer: str = "percentile",
    *,
    engine: Engine | None = None,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    keep_outputs: int = 0,
    keep_means: int = 0,
) -> Statistics:
    """Run the float model on every sample and observe its activations.

    Args:
        model: a float model.
        samples: arrays, sequences of arrays, dicts by input name, or `Sample`s; read once, never all at a time.
        observer: a name from `observers`.
        engine: the process to run in; by default one of its own.
        threads: samples to run at the same time; by default one per processor.
        progress: called with the number of samples done.
        keep_outputs: how many samples' outputs are kept, so that they are not computed again.
        keep_means: how many samples' `Statistics.means` are taken.

    Models that take several samples at once keep nothing.

    Raises:
        DataError: no samples; a sample that does not fit the model or is not finite; an activation that becomes NaN or
            infinite; an input that is the same constant in every sample.
        RuntimeFailure: the runtime refuses the model or crashes.
    """
    new_observer = registry.plugin("observers", observer).Observer
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-"))) / "model.tflite"
        size = batch_of(model.graph.tensors[name].shape for name in (*model.graph.inputs, *model.graph.outputs))
        shown, means = expose_means.apply(model.graph) if keep_means and size == 1 else (model.graph, {})
        graph, watch = _watched(model.graph, shown, extremes_suffice=new_observer.extremes_suffice)
        if size == 1:
            kept = dict.fromkeys(range(len(model.graph.outputs)), keep_outputs)
            watch = replace(watch, kept=kept | dict.fromkeys(means.values(), keep_means))
        tflite.write(model.with_graph(graph), path)
        handle = runner.open(str(path), copies=threads or available_threads())
        feed = _Feed(handle, samples, size, progress)
        observers, firsts = handle.observe(feed, watch, Choice(new_observer, frozenset(watch.values)))
        handle.close()
    if not feed.count:
        raise DataError("the calibration data has no samples")
    _require_finite(observers)
    _require_life(feed)
    return Statistics(
        _folded(observers, model.graph, samples),
        feed.count,
        [list(own) for own in zip(*(firsts.get(place, []) for place in range(len(model.graph.outputs))), strict=True)],
        {name: firsts[place] for name, place in means.items()},
    )


def _folded(observers: Mapping[str, Observer], graph: Graph, samples: Iterable[object]) -> Mapping[str, Observer]:
    """With the range of an input of bytes that needs no arithmetic on the device, whichever bytes were seen."""
    bounds = samples.bounds if isinstance(samples, Dataset) else None
    if bounds is None or len(graph.inputs) != 1 or graph.inputs[0] not in observers:
        return observers
    name = graph.inputs[0]
    low, high = observers[name].extremes.bounds
    if not bounds[0] <= low <= high <= bounds[1]:
        return observers  # of a source that is no longer what it says
    extremes = Extremes()
    extremes.note(*bounds)
    return {**observers, name: min_max.Observer(extremes)}


def observable(graph: Graph) -> list[str]:
    """The activations whose ranges a plan can need."""
    computed = (name for op in graph.ops for name in op.outputs)
    return [name for name in dict.fromkeys((*graph.inputs, *computed)) if _is_activation(graph.tensors[name])]


def _is_activation(tensor: Tensor) -> bool:
    return tensor.dtype is DType.FLOAT32 and not tensor.is_constant and tensor.elements > 0


def _watched(graph: Graph, shown: Graph, *, extremes_suffice: bool) -> tuple[Graph, Watch]:
    """The graph to run and what to look at: extremes that it computes itself, some values where they are wanted.

    Args:
        graph: the float graph.
        shown: the same with more outputs.
        extremes_suffice: whether no values are wanted.
    """
    derived = tuple(derive(graph))
    names = observable(graph)
    sources = dict.fromkeys(name for item in derived for name in item.sources if name not in graph.outputs)
    shown = shown.edit(outputs=(*shown.outputs, *sources)) if sources else shown
    outputs = {name: place for place, name in enumerate(shown.outputs)}
    whole = {*graph.inputs, *_answers(graph)}
    may_clip = [name for name in names if name not in whole and not is_vector(graph.tensors[name])]
    shown, values = expose_values.apply(shown, [] if extremes_suffice else may_clip, _COUNTED)
    exposed, extremes = expose_extremes.apply(shown, names)
    return exposed, Watch(extremes=extremes, values=values, outputs=outputs, derived=derived)


def _answers(graph: Graph) -> set[str]:
    """The outputs, and what becomes one value by value: rare values may be what the network is asked for.

    A detector's answer is the one place in ten thousand that stands out.
    """
    found: set[str] = set()
    left = list(graph.outputs)
    while left:
        name = left.pop()
        op = graph.producers.get(name)
        if name in found or op is None:
            continue
        found.add(name)
        spec = OPS.get(op.kind)
        if spec is not None and (spec.scale in (SAME, FIXED) or spec.operands == DATA):
            left += [own for i, own in enumerate(op.inputs) if own is not None and spec.operand_role(i) == DATA]
    return found


class _Feed:
    """Fits samples to the model's inputs as they are drawn, counts them, and notes inputs that never vary.

    A batch that the last samples do not fill is filled up with the last one: extremes do not change by it, and what
    observers count does by less than a batch.
    """

    def __init__(
        self, handle: Handle, samples: Iterable[object], size: int, progress: Callable[[int], None] | None
    ) -> None:
        self._handle = handle
        self._samples = samples
        self._size = size
        self._progress = progress
        self.count = 0
        self.constants: dict[str, float] = {}

    def __iter__(self) -> Iterator[list[Array]]:
        return (arrays for arrays, _ in stacked(self._fitted(), self._size))

    def _fitted(self) -> Iterator[list[Array]]:
        for number, sample in enumerate(self._samples):
            arrays = fit(sample, self._handle.inputs, number)
            for port, values in zip(self._handle.inputs, arrays, strict=True):
                first = float(values.flat[0]) if values.size and values.dtype.kind in "fiu" else math.nan
                known = self.constants.setdefault(port.name, first)
                if not (known == first and bool((values == first).all())):
                    self.constants[port.name] = math.nan
            yield arrays
            self.count = number + 1
            if self._progress is not None:
                self._progress(self.count)


def _require_finite(observers: Mapping[str, Observer]) -> None:
    for name, observer in observers.items():
        low, high = observer.extremes.bounds
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DataError(
                f"activation {name!r} takes the range {low}..{high} on the calibration data: the float model does "
                "not stay finite; check that the data is normalized as in training"
            )


def _require_life(feed: _Feed) -> None:
    if feed.constants and all(not math.isnan(value) for value in feed.constants.values()):
        name, value = next(iter(feed.constants.items()))
        raise DataError(
            f"all {feed.count} calibration samples are constant (input {name!r} is {value:g} everywhere): "
            "ranges taken from them would be meaningless"
        )
