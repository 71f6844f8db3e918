"""Model + statistics + samples -> how much each operator matters: quantized alone, and alone left in float.

The first says what an operator's rounding does to the outputs of an otherwise exact network; the second what is won if
just this operator is spared. Corrections are left out: they repair what this is to find.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from tersor.errors import DataError, PlanError, RuntimeFailure, VerificationError
from tersor.formats import tflite
from tersor.ir.dtypes import DType
from tersor.ir.graph import Array, Model, Op
from tersor.ir.plan import INTEGER
from tersor.ops import OPS, SAME
from tersor.recipe import Recipe, Rule, Scheme
from tersor.runtimes.engine import Engine, Handle, available_threads
from tersor.stages.calibrate import Statistics
from tersor.stages.compare import compare, real_outputs
from tersor.stages.load import admit_tensorflow_ops
from tersor.stages.plan import plan
from tersor.stages.quantize import quantize

SAMPLES = 32
"""Samples that outputs are compared on."""

_FLOAT = (("activations", "float32"), ("weights", "float32"), ("compute", "float"))


@dataclass(frozen=True)
class Sensitivity:
    """How much one operator matters.

    Attributes:
        name: of the operator.
        kind: its kind.
        alone_db: SQNR of the worst output if nothing else is quantized.
        spared_db: SQNR of the worst output if everything else is quantized.
        gain_db: what is won by sparing it.
    """

    name: str
    kind: str
    alone_db: float
    spared_db: float
    gain_db: float


@dataclass(frozen=True)
class Ranking:
    """What was measured.

    Attributes:
        whole_db: SQNR of the worst output with everything quantized, in dB.
        operators: the one whose sparing wins most first.
        samples: how many samples the outputs were compared on.
    """

    whole_db: float
    operators: tuple[Sensitivity, ...]
    samples: int


def sensitivity(
    model: Model,
    recipe: Recipe,
    statistics: Statistics,
    samples: Iterable[object],
    *,
    engine: Engine | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Measure every operator that a recipe quantizes and that does more than move values.

    Args:
        model: a float model.
        recipe: what is wanted; float islands are allowed here whatever it says.
        statistics: from `calibrate`.
        samples: at most `SAMPLES` are used; others than those of the statistics tell more.
        engine: the process to run in; by default one of its own.
        progress: called with how many operators were measured, and how many there are.

    Raises:
        PlanError: the recipe quantizes no operator.
        DataError: there are no samples.
    """
    wanted = replace(recipe, float_fallback=True)
    base = plan(model, wanted, statistics)
    ops = [op for op in model.graph.ops if base.ops[op.name].compute == INTEGER and OPS[op.kind].scale != SAME]
    if not ops:
        raise PlanError(f"{recipe.name} quantizes no operator of this model")
    with ExitStack() as stack:
        runner = engine or stack.enter_context(Engine())
        admit_tensorflow_ops(model, runner)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tersor-")))
        drawn = list(islice(samples, SAMPLES))
        measure = _Measure(model, statistics, drawn, folder, runner)
        rows = []
        whole = measure.sqnr_db(wanted)
        for number, op in enumerate(ops, start=1):
            alone, spared = measure.sqnr_db(_only(wanted, op)), measure.sqnr_db(_sparing(wanted, op.name))
            rows.append(Sensitivity(op.name, op.kind, alone, spared, spared - whole))
            if progress is not None:
                progress(number, len(ops))
    return Ranking(whole, tuple(sorted(rows, key=lambda row: -row.gain_db)), len(drawn))


def _only(recipe: Recipe, op: Op) -> Recipe:
    """A recipe that quantizes one operator as the given one would."""
    scheme = recipe.scheme_of(op.kind, op.name)
    fields = (
        ("activations", str(scheme.activations)),
        ("weights", str(scheme.weights)),
        ("granularity", scheme.granularity),
        ("compute", scheme.compute),
    )
    return replace(recipe, scheme=Scheme(), interface=DType.FLOAT32, rules=(Rule(fields, names=(op.name,)),))


def _sparing(recipe: Recipe, name: str) -> Recipe:
    """A recipe that leaves one operator in float."""
    return replace(recipe, rules=(*recipe.rules, Rule(_FLOAT, names=(name,))))


class _Measure:
    """Quantizes by one recipe after the other, and compares with the float model on the same samples."""

    def __init__(
        self, model: Model, statistics: Statistics, samples: Sequence[object], folder: Path, engine: Engine
    ) -> None:
        if not samples:
            raise DataError("there are no samples to compare on")
        self._model = model
        self._statistics = statistics
        self._samples = samples
        self._path = folder / "model.tflite"
        self._engine = engine
        tflite.write(model, self._path)
        with self._opened() as handle:
            self._wanted: list[list[Array]] = list(real_outputs(handle, samples))

    def sqnr_db(self, recipe: Recipe) -> float:
        """Of the worst output; minus infinity for a network that is dead or cannot be run."""
        decided = plan(self._model, recipe, self._statistics)
        tflite.write(quantize(self._model, decided), self._path)
        try:
            with self._opened() as handle:
                return min(item.sqnr_db for item in compare(self._wanted, handle, self._samples))
        except (RuntimeFailure, VerificationError):
            return -math.inf

    @contextmanager
    def _opened(self) -> Iterator[Handle]:
        handle = self._engine.open(str(self._path), copies=available_threads())
        try:
            yield handle
        finally:
            handle.close()
