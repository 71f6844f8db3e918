"""A written file, loaded again and run on every kernel set, against the float model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import RuntimeFailure, VerificationError
from tersor.runtimes.engine import Engine, Handle, available_threads
from tersor.runtimes.litert import KERNEL_SETS
from tersor.stages.compare import OutputDistance, compare


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


def verify(path: str | Path, reference: Handle, samples: Iterable[object], engine: Engine) -> tuple[Verified, ...]:
    """Load a file on each kernel set and run it on the samples.

    Args:
        path: the file that was written.
        reference: the float model, loaded in `engine`.
        samples: a few samples; gone through once per kernel set.
        engine: the process to run in.

    Raises:
        VerificationError: a kernel set refuses the file, crashes on it, or gives dead or non-finite outputs.
    """
    samples = list(samples)
    results = []
    for kernels in KERNEL_SETS:
        try:
            handle = engine.open(str(path), kernels, copies=available_threads())
            distances = compare(reference, handle, samples)
            handle.close()
        except (RuntimeFailure, VerificationError) as error:
            raise VerificationError(f"the result does not work on the {kernels} kernels: {error}") from error
        results.append(Verified(kernels, len(samples), tuple(distances)))
    return tuple(results)
