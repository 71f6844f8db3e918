"""A float and a quantized network + samples -> what is wrong with each operator, why, and what cures it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tersor.data.batch import batch_of, stacked
from tersor.data.feed import fit
from tersor.errors import DataError, UnsupportedError
from tersor.formats import tflite
from tersor.ir.graph import Array, Graph, Model, Op
from tersor.ir.quant import PerTensor, QuantParams
from tersor.numerics.affine import dequantize
from tersor.ops import LAYERS
from tersor.passes import restore_float_network
from tersor.runtimes.engine import Engine, available_threads
from tersor.stages.debug.causes import Case, Finding, findings
from tersor.stages.debug.copies import with_copies
from tersor.stages.debug.distributions import Distribution, of_counts, of_weights
from tersor.stages.debug.errors import Errors, ErrorSums, ValueSums
from tersor.stages.debug.instrument import Shown, with_all_outputs, with_branches
from tersor.stages.debug.match import CONVERSIONS, counterparts
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.optimize import optimize
from tersor.stages.visible import Visibility

SAMPLES = 32
"""Samples that errors are measured on."""


@dataclass(frozen=True)
class Row:
    """One quantized operator and its result.

    Attributes:
        tensor: the result in the quantized file.
        layer: the float value that it stands for, named after the layer that computes it.
        kind: the operator's kind.
        params: the numbers of the result.
        own: the error that the operator makes by itself, on rounded but otherwise right operands; None where an operand
            has no counterpart.
        total: the error of its result in the quantized network.
        findings: what is wrong, the likeliest cause first; empty if nothing is.
        activations: how the float values spread that the result stands for.
        weights: how the float network's weights spread, beside what the quantized file stores them in.
    """

    tensor: str
    layer: str
    kind: str
    params: QuantParams
    own: Errors | None
    total: Errors
    findings: tuple[Finding, ...]
    activations: Distribution | None
    weights: Distribution | None

    @property
    def blame(self) -> float:
        """Noise over signal that the operator adds, in decibel; of its result where its own is not known."""
        return -(self.own or self.total).ac_sqnr_db


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        rows: one per quantized operator that has a counterpart in the float network, most to blame first.
        unmatched: operators without a counterpart.
        remarks: what concerns the whole network, in sentences.
        samples: how many samples were measured.
        kernels: the kernel set.
    """

    rows: tuple[Row, ...]
    unmatched: tuple[str, ...]
    remarks: tuple[str, ...]
    samples: int
    kernels: str


def debug(
    reference: Model | None,
    quantized: Model,
    samples: Iterable[object],
    *,
    kernels: str = "xnnpack",
    engine: Engine | None = None,
    progress: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Compare every operator of a quantized network with the float one.

    Args:
        reference: the float model, for as many samples at once as the quantized one takes. Without it the quantized
            weights are taken as right, and only what activations lose is seen.
        quantized: made of it by tersor or by another tool.
        samples: at most `SAMPLES` are used; for a model with a batch of several, as many as fill batches.
        kernels: the kernel set to run on.
        engine: the process to run in; by default one of its own.
        progress: called with the number of samples done.

    Raises:
        UnsupportedError: nothing is quantized, or nothing in both networks corresponds.
        DataError: there are no samples, or one does not fit.
        RuntimeFailure: the runtime refuses one of the networks.
    """
    integers = quantized.graph
    remarks: tuple[str, ...] = ()
    watched = [op for op in integers.ops if _is_quantized(integers, op)]
    if not watched:
        raise UnsupportedError(f"{quantized.source or 'the quantized model'}: no operator computes in integers")
    if reference is None:
        reference, remarks = _restored(quantized), (_WITHOUT_FLOAT,)
    floats = with_copies(optimize(reference).graph, integers)
    size = _taken_at_once(quantized)
    if size != _taken_at_once(reference):
        raise UnsupportedError(
            f"{quantized.source or 'the quantized model'}: takes {size} samples at once, and the float model "
            f"{_taken_at_once(reference)}: compare it with one for the same batch"
        )
    pairs = counterparts(integers, floats)
    matched = [op for op in watched if op.outputs[0] in pairs]
    if not matched:
        raise UnsupportedError(
            f"{quantized.source or 'the quantized model'}: none of its {len(watched)} integer operators corresponds to "
            "one of the float model: is it made of this model?"
        )
    branched = with_branches(floats, integers, pairs)
    shown = with_all_outputs(integers, [op.outputs[0] for op in matched])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(quantized, runner)
        measurement = _Measurement(integers, matched, branched, shown)
        count = measurement.run(reference, quantized, samples, size, folder, runner, kernels, progress)
    rows = sorted(measurement.rows(pairs, floats), key=lambda row: -row.blame)
    unmatched = tuple(op.outputs[0] for op in watched if op.outputs[0] not in pairs)
    return Diagnosis(tuple(rows), unmatched, (*remarks, *measurement.remarks(rows)), count, kernels)


def _taken_at_once(model: Model) -> int:
    graph = model.graph
    return batch_of(graph.tensors[name].shape for name in (*graph.inputs, *graph.outputs))


_WITHOUT_FLOAT = "without the float model, the rounded weights are taken as right: only what activations lose is seen"


def _restored(quantized: Model) -> Model:
    """The quantized network on real numbers. Raises UnsupportedError where that cannot be made."""
    try:
        return quantized.with_graph(restore_float_network.apply(quantized.graph))
    except ValueError as error:
        raise UnsupportedError(f"{quantized.source}: give the float model, too: {error}") from error


def _is_quantized(graph: Graph, op: Op) -> bool:
    if op.kind in CONVERSIONS or not op.outputs:
        return False
    params = graph.tensors[op.outputs[0]].quant
    return params is not None and isinstance(params.granularity, PerTensor) and bool(params.scales)


class _Measurement:
    """Sums for every operator, while samples pass."""

    def __init__(self, integers: Graph, ops: Sequence[Op], branched: Shown, shown: Shown) -> None:
        self._graph = integers
        self._ops = ops
        self._branched = branched
        self._shown = shown
        params = {op.outputs[0]: self._params(op.outputs[0]) for op in ops}
        visibility = Visibility(integers)
        self._visible = {name: visibility.range(name) for name in params}
        bounds = {name: (*own.real_range, own.scale) for name, own in params.items()}
        self._own = {name: ErrorSums(*bounds[name], self._visible[name]) for name in params if name in branched.places}
        self._total = {name: ErrorSums(*own, self._visible[name]) for name, own in bounds.items()}
        self._values = {name: ValueSums(*own[:2], self._visible[name]) for name, own in bounds.items()}
        self._inputs: dict[str, tuple[float, float]] = {}

    def run(
        self,
        reference: Model,
        quantized: Model,
        samples: Iterable[object],
        size: int,
        folder: Path,
        engine: Engine,
        kernels: str,
        progress: Callable[[int], None] | None,
    ) -> int:
        """Run both networks on the samples, `size` at once, and add up. Returns how many there were."""
        paths = folder / "float.tflite", folder / "integer.tflite"
        tflite.write(reference.with_graph(self._branched.graph), paths[0])
        tflite.write(quantized.with_graph(self._shown.graph), paths[1])
        floats, integers = (engine.open(str(path), kernels, threads=available_threads()) for path in paths)
        count, inputs = 0, len(floats.inputs)
        fitted = (
            [*fit(sample, floats.inputs, number), *fit(sample, integers.inputs, number)]
            for number, sample in enumerate(islice(samples, SAMPLES))
        )
        for given, filled in stacked(fitted, size):
            if count and filled is not None and filled < size:
                break  # a repeated sample would count twice
            wanted, found = floats.run(given[:inputs]), integers.run(given[inputs:])
            self._note_inputs([port.name for port in floats.inputs], given[:inputs])
            self._add(wanted, found)
            count += filled or 1
            if progress is not None:
                progress(count)
        for handle in (floats, integers):
            handle.close()
        if not count:
            raise DataError("there are no samples to compare on")
        return count

    def rows(self, pairs: dict[str, str], floats: Graph) -> list[Row]:
        """One per operator; `pairs`: the value of `floats` that each result stands for."""
        rows = []
        for op in self._ops:
            name = op.outputs[0]
            variance = float(self._values[name].variance.mean())
            own = self._own[name].errors(variance) if name in self._own else None
            total = self._total[name].errors(variance)
            values, params = self._values[name], self._params(name)
            visible = self._visible[name]
            found = findings(Case(op, self._graph, values, params, own, total, visible))
            spread = of_counts(values.histogram, values.smallest, values.largest, params, visible)
            weights = of_weights(op, self._graph, floats.producers.get(pairs[name]), floats)
            rows.append(Row(name, pairs[name], op.kind, params, own, total, found, spread, weights))
        return rows

    def remarks(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """What concerns the whole network."""
        found = []
        shifted = [row for row in rows if any(item.cause == "shifted_means" for item in row.findings)]
        layers = [row for row in rows if row.kind in LAYERS]
        if len(shifted) > 1:
            found.append(
                f"{len(shifted)} of {len(layers)} layers shift the means of their channels, and the shifts accumulate: "
                "biases were not corrected when the weights were rounded"
            )
        for name, (low, high) in self._inputs.items():
            if max(abs(low), abs(high)) > _NORMALIZED:
                found.append(
                    f"input {name!r} takes {low:.4g}..{high:.4g}: networks train and quantize best on about -1..1 "
                    "(LeCun et al. 1998, Efficient BackProp, section 4.3); put the rescaling into the model"
                )
        return tuple(found)

    def _add(self, wanted: Sequence[Array], found: Sequence[Array]) -> None:
        for op in self._ops:
            name = op.outputs[0]
            values = wanted[self._branched.float_places[name]]
            params = self._params(name)
            self._values[name].add(values)
            self._total[name].add(dequantize(found[self._shown.places[name]], params), values)
            if name in self._own:
                exact = wanted[self._branched.wanted_places[name]]
                self._own[name].add(dequantize(wanted[self._branched.places[name]], params), exact)

    def _params(self, name: str) -> QuantParams:
        params = self._graph.tensors[name].quant
        assert params is not None
        return params

    def _note_inputs(self, names: Sequence[str], given: Sequence[Array]) -> None:
        for name, values in zip(names, given, strict=True):
            if values.dtype.kind == "f" and values.size:
                low, high = self._inputs.get(name, (math.inf, -math.inf))
                self._inputs[name] = min(low, float(values.min())), max(high, float(values.max()))


_NORMALIZED = 20.0
"""Inputs beyond are called not normalized; standardized images reach about 3."""
