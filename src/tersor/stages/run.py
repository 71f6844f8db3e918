"""A file on given inputs: what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from tersor.data.batch import stacked
from tersor.data.feed import fit
from tersor.errors import DataError, UnsupportedError
from tersor.ir.graph import Array
from tersor.runtimes.engine import Engine
from tersor.stages.compare import taken_at_once, to_real


def run(
    path: str | Path,
    samples: Iterable[object],
    *,
    kernels: str = "xnnpack",
    batch: int | None = None,
    engine: Engine | None = None,
) -> Iterator[dict[str, Array]]:
    """Outputs for each sample, real numbers by output name, with the batch dimension.

    Args:
        path: a `.tflite` file of any flavour; integer inputs and outputs are quantized and dequantized by its own
            scales.
        samples: arrays, tuples of arrays, dicts by input name, or `Sample`s.
        kernels: "xnnpack" or "builtin".
        batch: samples to run at once; the model is resized whatever batch size the file states. By default as many as
            the file states, where the last batch is filled up and what fills it is dropped.
        engine: the process to run in; by default one of its own.

    Raises DataError for a sample that does not fit, and for none at all; RuntimeFailure, also for a model that cannot
    be resized; UnsupportedError for one that does not keep the samples of a batch apart.
    """
    if batch is not None and batch < 1:
        raise DataError(f"a batch has at least one sample, not {batch}")
    with ExitStack() as stack:
        handle = (engine or stack.enter_context(Engine())).open(str(path), kernels)
        own = taken_at_once(handle)
        size = batch or own
        fitted = (fit(sample, handle.inputs, number) for number, sample in enumerate(samples))
        is_empty = True
        for arrays, count in stacked(fitted, size, padded=size == own):
            is_empty = False
            outputs = [to_real(*pair) for pair in zip(handle.run(arrays), handle.outputs, strict=True)]
            if size == 1 or count is None:
                yield {port.name: values for port, values in zip(handle.outputs, outputs, strict=True)}
                continue
            rows = len(arrays[0])
            for port, values in zip(handle.outputs, outputs, strict=True):
                if values.shape[:1] != (rows,) and count > 1:
                    raise UnsupportedError(
                        f"{path}: output {port.name!r} has shape {list(values.shape)} for {rows} samples: "
                        "the model does not keep them apart; use --batch 1"
                    )
            for number in range(count):
                yield {
                    port.name: values[number : number + 1] if rows > 1 else values
                    for port, values in zip(handle.outputs, outputs, strict=True)
                }
        if is_empty:
            raise DataError("there are no samples to run")
