"""Outputs of a float model and of what was made of it, side by side on the same samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from tersor.data.batch import batch_of, stacked
from tersor.data.feed import fit
from tersor.errors import VerificationError
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array
from tersor.ir.quant import QuantParams
from tersor.numerics.affine import dequantize
from tersor.numerics.metrics import decibel
from tersor.runtimes.engine import Handle
from tersor.runtimes.litert import Port

_STILL = 0.05
"""Share of its largest value by which a float output has to change for one that does not to be called dead."""

_BATCH = 32
"""Samples that are drawn once and then run on every model."""


@dataclass(frozen=True)
class OutputDistance:
    """How far one output is from the float one, over all samples.

    Attributes:
        name: the output.
        sqnr_db: signal to quantization noise ratio in decibel.
        cosine: mean cosine of the angle between both outputs of a sample.
        agreement: share of samples with the same arg-max over the last axis (mean over the others); None for outputs
            with one value there.
    """

    name: str
    sqnr_db: float
    cosine: float
    agreement: float | None


@dataclass
class Accumulator:
    """Sums over samples, from which `OutputDistance` follows. Memory does not grow with the samples."""

    name: str
    signal: float = 0.0
    noise: float = 0.0
    cosines: float = 0.0
    agreeing: float = 0.0
    samples: int = 0
    moves: bool = False
    reference_spread: float = 0.0
    reference_peak: float = 0.0
    has_classes: bool = False
    _first: tuple[Array, Array] | None = field(default=None, repr=False)

    def add(self, reference: Array, other: Array) -> None:
        """Take one sample's output of both models, real numbers of the same shape."""
        if reference.shape != other.shape:
            raise VerificationError(
                f"output {self.name!r} has shape {other.shape}, the float model's {reference.shape}"
            )
        if not np.isfinite(other).all() and np.isfinite(reference).all():
            raise VerificationError(f"output {self.name!r} is not finite where the float model's is")
        a, b = reference.astype(np.float64), other.astype(np.float64)
        self.signal += float(np.sum(a * a))
        self.noise += float(np.sum((a - b) ** 2))
        norms = float(np.linalg.norm(a) * np.linalg.norm(b))
        self.cosines += float(np.sum(a * b)) / norms if norms else float(not a.any() and not b.any())
        self.has_classes = a.ndim > 0 and a.shape[-1] > 1
        if self.has_classes and a.size:
            self.agreeing += float(np.mean(a.argmax(-1) == b.argmax(-1)))
        self._note_movement(a, b)
        self.samples += 1

    def _note_movement(self, a: Array, b: Array) -> None:
        """Does the output change from sample to sample, and by how much does the float one?"""
        if self._first is None:
            self._first = a, b
        first_a, first_b = self._first
        self.moves = self.moves or not np.array_equal(first_b, b)
        if a.size:
            self.reference_spread = max(self.reference_spread, float(np.max(np.abs(a - first_a))))
            self.reference_peak = max(self.reference_peak, float(np.max(np.abs(a))))

    def distance(self) -> OutputDistance:
        """The sums as figures."""
        agreement = self.agreeing / self.samples if self.has_classes and self.samples else None
        return OutputDistance(
            self.name, decibel(self.signal, self.noise), self.cosines / max(self.samples, 1), agreement
        )

    def require_life(self) -> None:
        """Raise VerificationError if the output is the same for all samples though the float model's is not."""
        if not self.moves and self.reference_spread > _STILL * self.reference_peak:
            raise VerificationError(
                f"output {self.name!r} is the same for all {self.samples} samples, while the float model's changes by "
                f"{self.reference_spread:.3g}: the network is dead after quantization"
            )


def batches(samples: Iterable[object], multiple: int = 1) -> Iterable[list[object]]:
    """Samples in lists, so that each is read once and run on several models, which take `multiple` at once."""
    iterator = iter(samples)
    while batch := list(islice(iterator, -(-_BATCH // multiple) * multiple)):
        yield batch


def taken_at_once(handle: Handle) -> int:
    """Samples that a loaded model takes at once."""
    return batch_of(port.shape for port in (*handle.inputs, *handle.outputs))


def real_outputs(handle: Handle, samples: Sequence[object], first: int = 0) -> Iterable[list[Array]]:
    """For each sample the outputs of a loaded model as real numbers.

    A model with a batch of several gets its batches full; what a repeated sample fills up at the end is dropped.
    """
    counts: deque[int | None] = deque()
    size = taken_at_once(handle)

    def feed() -> Iterator[list[Array]]:
        fitted = (fit(sample, handle.inputs, first + number) for number, sample in enumerate(samples))
        for arrays, count in stacked(fitted, size):
            counts.append(count)
            yield arrays

    for outputs in handle.run_all(feed()):
        real = [to_real(values, port) for values, port in zip(outputs, handle.outputs, strict=True)]
        count = counts.popleft()
        if size == 1 or count is None:
            yield real
            continue
        if any(len(values) != size for values in real):
            raise VerificationError(f"the model takes {size} samples at once, but does not answer each of them")
        for number in range(count):
            yield [values[number : number + 1] for values in real]


def to_real(values: Array, port: Port) -> Array:
    """Dequantize an output that has a scale."""
    if not port.scale:
        return values
    return dequantize(values, QuantParams((port.scale,), (port.zero_point,), DType(port.dtype)))


def compare(wanted: Sequence[Sequence[Array]], other: Handle, samples: Sequence[object]) -> list[OutputDistance]:
    """Run a model on samples for which the float model's outputs are known.

    Args:
        wanted: for each sample the float model's outputs.
        other: the model to run.
        samples: the samples.

    Returns one distance per output. Raises VerificationError for outputs that are dead or not finite where the float
    model's are neither.
    """
    sums = [Accumulator(port.name) for port in other.outputs]
    for references, own in zip(wanted, real_outputs(other, samples), strict=True):
        for item, a, b in zip(sums, references, own, strict=True):
            item.add(a, b)
    for item in sums:
        item.require_life()
    return [item.distance() for item in sums]
