"""A written file, loaded again and run on every kernel set, against the float model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import RuntimeFailure, VerificationError
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.runtimes.engine import Engine, available_threads
from tersor.runtimes.litert import KERNEL_SETS
from tersor.stages.compare import OutputDistance, compare, real_outputs
from tersor.stages.load import admit_tensorflow_ops

SAMPLES = 16
"""Samples that a result is verified on."""

_SAMPLES_ON_OTHERS = 4
"""Samples on kernel sets other than the first, which are several times slower: enough to know that they run."""


@dataclass(frozen=True)
class Verified:
    """What was seen on one kernel set."""

    kernels: str
    samples: int
    outputs: tuple[OutputDistance, ...]

    @property
    def sqnr_db(self) -> float:
        """The worst output's signal to quantization noise ratio, in decibel."""
        return min((output.sqnr_db for output in self.outputs), default=float("inf"))


def verify(
    path: str | Path, reference: Model, samples: Iterable[object], *, engine: Engine | None = None
) -> tuple[Verified, ...]:
    """Load a file on each kernel set, run it on the samples, and compare with the float model.

    Args:
        path: the file that was written.
        reference: the float model.
        samples: a few samples (`SAMPLES` are enough).
        engine: the process to run in; by default one of its own.

    Raises:
        VerificationError: a kernel set refuses the file, crashes on it, or gives dead or non-finite outputs.
    """
    samples = list(samples)
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(reference, runner)
        float_path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-"))) / "float.tflite"
        tflite.write(reference, float_path)
        handle = runner.open(str(float_path), copies=available_threads())
        wanted = list(real_outputs(handle, samples))
        handle.close()
        return verify_against(path, wanted, samples, runner)


def verify_against(
    path: str | Path, wanted: Sequence[Sequence[Array]], samples: Sequence[object], engine: Engine
) -> tuple[Verified, ...]:
    """`verify` where the float model's outputs for the samples are known."""
    results = []
    for kernels in KERNEL_SETS:
        count = len(samples) if kernels == KERNEL_SETS[0] else min(len(samples), _SAMPLES_ON_OTHERS)
        try:
            handle = engine.open(str(path), kernels, copies=available_threads())
            distances = compare(wanted[:count], handle, samples[:count])
            handle.close()
        except (RuntimeFailure, VerificationError) as error:
            raise VerificationError(f"the result does not work on the {kernels} kernels: {error}") from error
        results.append(Verified(kernels, count, tuple(distances)))
    return tuple(results)
