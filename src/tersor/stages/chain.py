"""Parts of a model, run one after the other, beside the whole model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tersor.data.feed import fit
from tersor.errors import VerificationError
from tersor.ir.graph import Array, Graph
from tersor.numerics.metrics import decibel
from tersor.runtimes.engine import Engine, Handle
from tersor.runtimes.made_up import samples_of
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


def chained(
    kernels: str, graph: Graph, whole: Path, files: Sequence[Path], samples: Sequence[object], engine: Engine
) -> Chained:
    """Run parts and the whole model on the same samples.

    Args:
        kernels: the kernel set.
        graph: the whole model's, whose names the parts have; its file may have a name twice.
        whole: the whole model's file.
        files: the parts', in order.
        samples: at most `SAMPLES` are taken; random ones if there are none.
        engine: the process to run in.

    Raises VerificationError if the outputs are of another type or shape, or other ones on the builtin kernels,
    RuntimeFailure if a file does not run, DataError for samples that do not fit.
    """
    alone = engine.open(str(whole), kernels)
    handles = [engine.open(str(file), kernels) for file in files]
    given = list(samples[:SAMPLES]) or samples_of(alone.inputs, SAMPLES)
    signal, noise = [0.0] * len(alone.outputs), [0.0] * len(alone.outputs)
    is_equal = True
    for number, sample in enumerate(given):
        arrays = fit(sample, alone.inputs, number)
        wanted = alone.run(arrays)
        values = run_chain(handles, dict(zip(graph.inputs, arrays, strict=True)))
        for place, (name, port, reference) in enumerate(zip(graph.outputs, alone.outputs, wanted, strict=True)):
            answer = values[name]
            if answer.dtype != reference.dtype or answer.shape != reference.shape:
                raise VerificationError(f"output {name!r} of the parts is {answer.dtype}{list(answer.shape)}")
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
