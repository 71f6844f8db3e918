"""A recipe -> `Candidate`: made, run on every kernel set, timed, weighed and compared, and only then given its name."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from tersor.data.batch import stacked
from tersor.data.feed import fit
from tersor.errors import PlanError, RuntimeFailure, UnsupportedError
from tersor.formats import tflite
from tersor.ir.build import Builder
from tersor.ir.plan import Plan
from tersor.recipe import Recipe
from tersor.runtimes.engine import Engine, Handle, available_threads
from tersor.runtimes.made_up import FEW, samples_of
from tersor.runtimes.peak import peak_bytes
from tersor.stages.analyze import peak_activation_bytes
from tersor.stages.benchmark import Timing, benchmark
from tersor.stages.compare import real_outputs, taken_at_once
from tersor.stages.load import runs_as_it_is, tensorflow_ops
from tersor.stages.measure_arena import arena_bytes
from tersor.stages.prepare import Preparation, Progress
from tersor.stages.quantize import quantize
from tersor.stages.save import atomic
from tersor.stages.search.evidence import Evidence
from tersor.stages.search.result import FLOAT, Candidate, Left
from tersor.stages.verify import SAMPLES, verify_against

KERNELS = "xnnpack"
"""The kernel set that is timed and compared on."""

_PIECE = 1 << 20

_ANYWAY = 10.0
"""Seconds that a measurement may take though the time is nearly up."""

_ROUNDS = 31
"""Turns in which a candidate and the float model are timed: a busy machine needs some more than `benchmark` takes."""


class Gauge:
    """Makes candidates of one model and measures them.

    Args:
        preparation: of the model and the calibration samples.
        float_path: the float model.
        evidence: what it answers to the samples; None without data.
        engine: the process to run in.
        threads: of one run that is timed.
        deadline: by `time.monotonic`; what cannot be measured before it is not.
        progress: told what is going on.
        is_micro: whether each file has to run in TensorFlow Lite Micro.

    Attributes:
        float_source: the float model's file, as the user knows it.
    """

    def __init__(
        self,
        preparation: Preparation,
        float_path: Path,
        evidence: Evidence | None,
        engine: Engine,
        threads: int,
        deadline: float,
        progress: Progress,
        *,
        is_micro: bool = False,
    ) -> None:
        self._preparation = preparation
        self._float_path = float_path
        self._evidence = evidence
        self._engine = engine
        self._threads = threads
        self._deadline = deadline
        self._progress = progress
        self._is_micro = is_micro
        self._with_tensorflow = bool(tensorflow_ops(preparation.model))
        self.float_source = Path(preparation.model.source or float_path)
        handle = engine.open(str(float_path), copies=available_threads())
        self._few = samples_of(handle.inputs, FEW) if evidence is None else list(evidence.samples.tuning[:SAMPLES])
        self._wanted = list(real_outputs(handle, self._few))
        handle.close()

    def reference(self) -> Candidate:
        """The float model itself, timed beside itself: how far its ratio is from 1 shows how noisy times are here."""
        started, path = time.perf_counter(), self._float_path
        given = self.float_source if runs_as_it_is(self.float_source) else path
        return Candidate(
            FLOAT,
            self.float_source,
            None,
            given.stat().st_size,
            gzip_bytes(given),
            score=None if self._evidence is None else self._evidence.held.score,
            timing=self._timing(path),
            peak_bytes=peak_memory(path, with_tensorflow=self._with_tensorflow),
            arena_bytes=peak_activation_bytes(self._preparation.model.graph),
            measured_arena_bytes=self._arena_of_float(),
            seconds=time.perf_counter() - started,
        )

    def candidate(self, name: str, recipe: Recipe, path: Path) -> Candidate:
        """Make a file and measure it.

        Raises PlanError, VerificationError, UnsupportedError and RuntimeFailure for one that cannot be made, does not
        run, or would take longer to measure than there is time; OutputError.
        """
        started = time.perf_counter()
        corrected = self._preparation.corrected(recipe)
        result = quantize(corrected.model, corrected.plan)
        with atomic(path) as temporary:
            tflite.write(result, temporary)
            verify_against(temporary, self._wanted, self._few, self._engine)
            arena = arena_bytes(result, temporary) if self._is_micro else None
            timing = self._timing(temporary)
            self._require_time(timing)
            tuning = reporting = score = None
            if (evidence := self._evidence) is not None:
                self._progress(f"{name}: comparing", 0, None)
                tuning = evidence.reference.figures(temporary)
                count = evidence.held.count
                reporting = evidence.held.figures(
                    temporary, lambda done: self._progress(f"{name}: measuring", done, count)
                )
                score = None if reporting.scores is None else reporting.scores[1]
            return Candidate(
                name,
                path,
                recipe,
                temporary.stat().st_size,
                gzip_bytes(temporary),
                tuning,
                reporting,
                score,
                timing,
                peak_memory(temporary, with_tensorflow=self._with_tensorflow),
                peak_activation_bytes(result.graph),
                left_of(corrected.plan),
                corrected.plan.warnings,
                seconds=time.perf_counter() - started,
                measured_arena_bytes=arena,
            )

    def _arena_of_float(self) -> int | None:
        """None for a float model that microcontrollers do not run: it is only what others are compared with."""
        with suppress(RuntimeFailure, UnsupportedError):
            return arena_bytes(self._preparation.model, self._float_path) if self._is_micro else None
        return None

    def _timing(self, path: Path) -> Timing | None:
        """In turn with the float model; None for a model that cannot be timed."""
        with suppress(RuntimeFailure), self._opened(self._float_path, path) as handles:
            inputs = [next(stacked([fit(self._few[0], own.inputs)], taken_at_once(own)))[0] for own in handles]
            return benchmark(handles, inputs, _ROUNDS)[1]
        return None

    @contextmanager
    def _opened(self, *paths: Path) -> Iterator[Sequence[Handle]]:
        handles = [self._engine.open(str(path), KERNELS, threads=self._threads) for path in paths]
        try:
            yield handles
        finally:
            for handle in handles:
                handle.close()

    def _require_time(self, timing: Timing | None) -> None:
        """Raise PlanError if the samples would take longer than there is time."""
        if timing is None or self._evidence is None:
            return
        samples = len(self._evidence.samples.tuning) + self._evidence.held.count
        needed, left = timing.median_ms / 1000 * samples / available_threads(), self._deadline - time.monotonic()
        if needed > max(left, _ANYWAY):
            raise PlanError(
                f"measuring it on {samples} samples would take about {needed:.0f} s, and {max(left, 0):.0f} s are left"
            )


def peak_memory(path: Path, kernels: str = KERNELS, *, with_tensorflow: bool = False) -> int | None:
    """`runtimes.peak.peak_bytes`; None where it cannot be measured."""
    with suppress(RuntimeFailure):
        return peak_bytes(path, _small_model(), kernels, with_tensorflow=with_tensorflow)
    return None


@lru_cache(maxsize=1)
def _small_model() -> bytes:
    """A convolution, as most networks have some."""
    builder = Builder("small")
    weights = builder.constant("weights", np.ones([4, 3, 3, 1], np.float32))
    bias = builder.constant("bias", np.zeros([4], np.float32))
    y = builder.op(
        "CONV_2D", [builder.input("x", [1, 4, 4, 1]), weights, bias], [1, 4, 4, 4], {"stride_w": 1, "stride_h": 1}
    )
    return tflite.write_bytes(builder.model([y]))


def left_of(plan: Plan) -> tuple[Left, ...]:
    """Operators that stay in float though others compute in integers."""
    return tuple(Left(op.kind, name, op.why) for name, op in plan.left_in_float().items())


def gzip_bytes(path: Path) -> int:
    """The size of a file as gzip compresses it by default, header included."""
    packer, size = zlib.compressobj(6, zlib.DEFLATED, 31), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            size += len(packer.compress(piece))
    return size + len(packer.flush())
