"""Whether a network computes for each sample of a batch what the runtime computes for one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from keras import ops

from tersor.errors import TersorError, UnsupportedError, VerificationError
from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.runtimes.engine import Engine
from tersor.runtimes.made_up import samples_for
from tersor.stages.compare import Accumulator
from tersor.training.network import Network

_SAMPLES = 3

_LEAST_DB = 60.0
"""SQNR between the two: float sums in another order agree to 100 dB, and a sample that reads another one's values is
below 20."""


def require_same(model: Model) -> None:
    """Raise UnsupportedError unless the float network answers a batch as the runtime answers its samples."""
    samples = samples_for(model.graph, _SAMPLES)
    wanted = _answers(model, samples)
    network = Network(model)
    batch = [ops.convert_to_tensor(np.concatenate(items)) for items in zip(*samples, strict=True)]
    try:
        found = network(batch if len(batch) > 1 else batch[0], training=False)
    except TersorError:
        raise
    except Exception as error:  # each backend has its own
        detail = str(error).strip().partition("\n")[0]
        raise UnsupportedError(f"the model does not take several samples at once: {detail}") from error
    for place, values in enumerate(found if isinstance(found, list | tuple) else [found]):
        rows = ops.convert_to_numpy(values)
        distance = _distance(model, place, wanted, [rows[number : number + 1] for number in range(_SAMPLES)])
        if distance < _LEAST_DB:
            raise UnsupportedError(
                f"output {model.graph.outputs[place]!r} of samples in a batch is not that of single ones "
                f"({distance:.0f} dB between them): the model mixes samples, and cannot be trained on several"
            )


def require_equal_answers(model: Model, other: Model) -> None:
    """Raise VerificationError unless two models with the same inputs and outputs answer the same on the runtime."""
    samples = samples_for(model.graph, _SAMPLES)
    wanted, found = _answers(model, samples), _answers(other, samples)
    for place, name in enumerate(model.graph.outputs):
        distance = _distance(model, place, wanted, [answer[place] for answer in found])
        if distance < _LEAST_DB:
            raise VerificationError(f"output {name!r} is not what it has to be ({distance:.0f} dB between them)")


def _answers(model: Model, samples: list[list[Array]]) -> list[list[Array]]:
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder, Engine() as engine:
        path = Path(folder) / "model.tflite"
        tflite.write(model, path)
        handle = engine.open(str(path))
        return [list(handle.run(sample)) for sample in samples]


def _distance(model: Model, place: int, wanted: list[list[Array]], found: list[Array]) -> float:
    """SQNR of an output over all samples, in dB."""
    sums = Accumulator(model.graph.outputs[place])
    for answer, own in zip(wanted, found, strict=True):
        sums.add(answer[place], own)
    return sums.distance().sqnr_db
