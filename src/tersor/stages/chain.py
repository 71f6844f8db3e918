"""Parts of a model, run one after the other, beside the whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tersor.data.feed import fit
from tersor.errors import DataError, VerificationError
from tersor.ir.graph import Array
from tersor.numerics.metrics import decibel
from tersor.runtimes.engine import Engine, Handle
from tersor.runtimes.litert import Port
from tersor.stages.compare import to_real

SAMPLES = 16
"""Samples that the chain is verified on, at most."""

_EXACT = "builtin"
"""The kernel set on which a chain has to answer bit for bit: no delegate takes several operators as one there."""


@dataclass(frozen=True)
class Chained:
    """What was seen when the parts were run one after the other, beside the whole model.

    Attributes:
        kernels: the kernel set.
        samples: how many.
        is_equal: whether all outputs were the same, bit for bit.
        sqnr_db: of the worst output, with the whole model's as the signal; infinite where they are equal.
    """

    kernels: str
    samples: int
    is_equal: bool
    sqnr_db: float


def chained(kernels: str, whole: Path, files: Sequence[Path], samples: Sequence[object], engine: Engine) -> Chained:
    """Run parts and the whole model on the same samples.

    Args:
        kernels: the kernel set.
        whole: the whole model's file.
        files: the parts', in order.
        samples: at most `SAMPLES` are taken; random ones if there are none.
        engine: the process to run in.

    Raises VerificationError if the outputs are of another type or shape, or other ones on the builtin kernels,
    RuntimeFailure if a file does not run, DataError for samples that do not fit.
    """
    alone = engine.open(str(whole), kernels)
    handles = [engine.open(str(file), kernels) for file in files]
    given = list(samples[:SAMPLES]) or random_inputs(alone)
    signal, noise = [0.0] * len(alone.outputs), [0.0] * len(alone.outputs)
    is_equal = True
    for number, sample in enumerate(given):
        arrays = fit(sample, alone.inputs, number)
        wanted = alone.run(arrays)
        values = run_chain(handles, {port.name: array for port, array in zip(alone.inputs, arrays, strict=True)})
        for place, (port, reference) in enumerate(zip(alone.outputs, wanted, strict=True)):
            answer = values[port.name]
            if answer.dtype != reference.dtype or answer.shape != reference.shape:
                raise VerificationError(f"output {port.name!r} of the parts is {answer.dtype}{list(answer.shape)}")
            is_equal = is_equal and answer.tobytes() == reference.tobytes()
            real, own = (np.asarray(to_real(item, port), np.float64) for item in (reference, answer))
            signal[place] += float(np.sum(real * real))
            noise[place] += float(np.sum((real - own) ** 2))
    for handle in (alone, *handles):
        handle.close()
    worst = min(decibel(*pair) for pair in zip(signal, noise, strict=True))
    if kernels == _EXACT and not is_equal:
        raise VerificationError(
            f"the parts do not answer as the whole model on the {kernels} kernels: SQNR {worst:.1f} dB"
        )
    return Chained(kernels, len(given), is_equal, float("inf") if is_equal else worst)


def run_chain(parts: Sequence[Handle], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """All values at the parts' doors, by name, as the parts hold them.

    Args:
        parts: loaded, in order.
        inputs: the whole model's inputs by name, in its types and with the batch dimension.
    """
    values = dict(inputs)
    for part in parts:
        answers = part.run([values[port.name] for port in part.inputs])
        values |= {port.name: answer for port, answer in zip(part.outputs, answers, strict=True)}
    return values


def random_inputs(handle: Handle) -> list[object]:
    """Random samples of a model's own types: integers over their whole range."""
    generator = np.random.default_rng(0)
    return [tuple(_random(port, generator) for port in handle.inputs) for _ in range(SAMPLES)]


def _random(port: Port, generator: np.random.Generator) -> Array:
    if port.dtype == "string":
        raise DataError(f"input {port.name!r} takes strings; tersor runs models on numbers")
    shape = tuple(max(1, size) for size in port.shape)
    kind = np.dtype(port.dtype)
    if kind.kind == "f":
        return generator.uniform(-1, 1, shape).astype(kind)
    if kind.kind == "b" or (not port.scale and kind.itemsize > 1):  # indices, or what else is not known
        return np.zeros(shape, kind)
    bounds = np.iinfo(kind)
    return generator.integers(bounds.min, bounds.max, shape, kind, endpoint=True)
