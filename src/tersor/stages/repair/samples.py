"""Data -> three sets without a sample in common: to calibrate on, to tune on, to report on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice

from tersor.data.dataset import Dataset, from_iterable
from tersor.data.feed import Sample
from tersor.errors import DataError
from tersor.ir.graph import Model
from tersor.ir.work import macs
from tersor.stages.evaluate import as_sample

LEAST = 20
"""Fewer samples than this tell nothing, neither to tune on nor to report on."""

MOST = 500
"""Samples to tune on, at most."""

_MACS = 60 * 10**9
"""Multiply-accumulate operations of a run over the tuning samples, which slow kernels do in half a minute: large
networks are tuned on fewer samples, but no fewer than `_SOME`."""

_SOME = 50

_MEMORY = 256 << 20
"""Bytes of samples (and of what the float model answers) that are kept."""


@dataclass(frozen=True)
class Samples:
    """The three sets.

    Attributes:
        calibration: ranges and corrections come from these.
        tuning: candidates are compared on these.
        reporting: what is said of the result comes from these.
    """

    calibration: Dataset
    tuning: tuple[Sample, ...]
    reporting: Dataset


def divided(model: Model, data: Dataset, evaluation: Dataset | None, calibration_samples: int) -> Samples:
    """Divide the data; with other data to report on, all that is not calibrated on tunes.

    Raises DataError if too few are left.
    """
    calibration, rest = data.split(calibration_samples)
    most = max(LEAST, min(MOST, _MEMORY // max(_bytes_of(model), 1), max(_SOME, _MACS // max(_macs_of(model), 1))))
    tuning, reporting = rest.interleaved(most) if evaluation is None else (rest.spread(most), evaluation)
    kept = tuple(as_sample(item) for item in tuning)
    for count, what, where in (
        (len(kept), "to tune on", data),
        (len(list(islice(reporting, LEAST))), "to report on", evaluation or data),
    ):
        if count < LEAST:
            raise DataError(
                f"{where.what}: {count} samples are left {what} beside the {calibration_samples} to calibrate on, and "
                f"at least {LEAST} are needed: give more data, {'' if evaluation else 'or --eval-data, '}or fewer "
                "--samples"
            )
    return Samples(_remembered(model, calibration), kept, reporting)


def _remembered(model: Model, data: Dataset) -> Dataset:
    """The same samples, kept where they are few and small: they are gone through for every candidate.

    Those of unknown number stay as they are: a stage that draws some of them would draw others.
    """
    if data.size is None or len(data) * _bytes_of(model) > _MEMORY:
        return data
    kept: Iterable[object] = [as_sample(item) for item in data]
    return replace(from_iterable(kept), what=data.what)


def _macs_of(model: Model) -> int:
    return sum(max(macs(model.graph, op), 0) for op in model.graph.ops)


def _bytes_of(model: Model) -> int:
    graph = model.graph
    return sum(4 * max(graph.tensors[name].elements, 1) for name in (*graph.inputs, *graph.outputs))
