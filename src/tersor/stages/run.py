"""A file on given inputs: what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tersor.data.feed import fit
from tersor.errors import DataError, UnsupportedError
from tersor.ir.graph import Array
from tersor.runtimes.engine import Engine
from tersor.stages.compare import to_real


def run(
    path: str | Path, samples: Iterable[object], *, kernels: str = "xnnpack", batch: int = 1
) -> Iterator[dict[str, Array]]:
    """Outputs for each sample, real numbers by output name, with the batch dimension.

    Args:
        path: a `.tflite` file of any flavour; integer inputs and outputs are quantized and dequantized by its own
            scales.
        samples: arrays, tuples of arrays, dicts by input name, or `Sample`s.
        kernels: "xnnpack" or "builtin".
        batch: samples to run at once; the model is resized whatever batch size the file states.

    Raises DataError for a sample that does not fit, and for none at all; RuntimeFailure, also for a model that cannot
    be resized; UnsupportedError for one that does not keep the samples of a batch apart.
    """
    if batch < 1:
        raise DataError(f"a batch has at least one sample, not {batch}")
    with Engine() as engine:
        handle = engine.open(str(path), kernels)
        fitted = (fit(sample, handle.inputs, number) for number, sample in enumerate(samples))
        group: list[list[Array]] = []
        for group in _groups(fitted, batch):
            stacked = [np.concatenate(arrays) if len(group) > 1 else arrays[0] for arrays in zip(*group, strict=True)]
            outputs = [to_real(*pair) for pair in zip(handle.run(stacked), handle.outputs, strict=True)]
            for port, values in zip(handle.outputs, outputs, strict=True):
                if len(group) > 1 and values.shape[:1] != (len(group),):
                    raise UnsupportedError(
                        f"{path}: output {port.name!r} has shape {list(values.shape)} for {len(group)} samples: "
                        "the model does not keep them apart; use --batch 1"
                    )
            for number in range(len(group)):
                yield {
                    port.name: values[number : number + 1] if len(group) > 1 else values
                    for port, values in zip(handle.outputs, outputs, strict=True)
                }
        if not group:
            raise DataError("there are no samples to run")


def _groups(items: Iterator[list[Array]], size: int) -> Iterator[list[list[Array]]]:
    group: list[list[Array]] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
