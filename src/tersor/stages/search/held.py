"""The samples that are reported on, drawn anew for each file, with the float model's answers to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tersor.cache import digest
from tersor.data.dataset import Dataset
from tersor.data.feed import Sample
from tersor.ir.graph import Array
from tersor.runtimes.engine import Engine, available_threads
from tersor.stages.compare import batches, real_outputs, taken_at_once
from tersor.stages.evaluate import Score, Scorer, as_sample
from tersor.stages.repair.figures import Classes, Figures, Tally

_KEPT = 64 << 20
"""Bytes of the float model's outputs that are kept; beyond that it is run again for every file."""


class Held:
    """Compares files with the float model on the same samples, of which none is kept.

    Args:
        float_path: the float model.
        data: the samples.
        classes: where the answer lies; see `Figures`.
        metric: see `evaluate.Scorer`; None for none.
        engine: the process to run in.
        progress: called with the number of samples done.

    Attributes:
        count: how many samples there are.
        score: of the float model; None without a metric.
        digest: of the samples.
    """

    def __init__(
        self,
        float_path: Path,
        data: Dataset,
        classes: Classes | None,
        metric: str | None,
        engine: Engine,
        progress: Callable[[int], None],
    ) -> None:
        self._float_path = float_path
        self._data = data
        self._classes = classes
        self._metric = metric
        self._engine = engine
        self._outputs: list[list[Array]] | None = []
        self.count = 0
        self.score: Score | None = None
        self.digest = ""
        self._go_through(progress)

    def figures(self, path: Path, progress: Callable[[int], None]) -> Figures:
        """Run a file on the samples. Raises RuntimeFailure, and VerificationError for outputs that are not finite."""
        tally = Tally(self._classes, self._metric)
        paths = (path,) if self._outputs is not None else (path, self._float_path)
        for number, (sample, outputs) in enumerate(self._run(*paths)):
            wanted = outputs[1] if self._outputs is None else self._outputs[number]
            tally.add(sample, wanted, outputs[0])
            progress(number + 1)
        return tally.figures()

    def _go_through(self, progress: Callable[[int], None]) -> None:
        """The float model's answers, its score, and what the samples are."""
        scorer, state, size = None if self._metric is None else Scorer(self._metric), hashlib.sha256(), 0
        for sample, (outputs,) in self._run(self._float_path):
            if scorer is not None:
                scorer.add(outputs, sample.label, sample.source)
            state.update(sample_digest(sample).encode())
            size += sum(item.nbytes for item in outputs)
            if size > _KEPT:
                self._outputs = None
            if self._outputs is not None:
                self._outputs.append(outputs)
            self.count += 1
            progress(self.count)
        self.score = None if scorer is None else scorer.score()
        self.digest = state.hexdigest()

    def _run(self, *paths: Path) -> Iterator[tuple[Sample, tuple[list[Array], ...]]]:
        """Each sample with what each file answers."""
        handles = [self._engine.open(str(path), copies=available_threads()) for path in paths]
        for batch in batches(self._data, max(map(taken_at_once, handles))):
            samples = [as_sample(item) for item in batch]
            outputs = [list(real_outputs(handle, samples)) for handle in handles]
            yield from zip(samples, zip(*outputs, strict=True), strict=True)
        for handle in handles:
            handle.close()


def sample_digest(sample: Sample) -> str:
    """What stands for a sample's values and its label."""
    try:
        return digest(sample.inputs, sample.label)
    except TypeError:  # tensors of a framework
        import numpy as np

        values = sample.inputs
        parts: Sequence[object] = list(values) if isinstance(values, list | tuple) else [values]
        return digest([np.asarray(part) for part in parts], repr(sample.label))
