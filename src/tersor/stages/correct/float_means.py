"""What layers compute on average in the float network: one run over the samples, of which only means are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.passes import expose_means
from tersor.runtimes.engine import Engine, available_threads


def float_means(model: Model, samples: Sequence[Sequence[Array]], engine: Engine) -> dict[str, Array]:
    """The means of ``W x + b`` over samples and positions, [channels], by layer; without those that are not shown.

    Args:
        model: the float network.
        samples: its inputs in each sample.
        engine: the process to run in.

    Raises RuntimeFailure if the runtime refuses the network.
    """
    graph, places = expose_means.apply(model.graph)
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        path = Path(folder) / "float.tflite"
        tflite.write(model.with_graph(graph), path)
        handle = engine.open(str(path), copies=available_threads())
        first = len(model.graph.outputs)
        found = [outputs[first:] for outputs in handle.run_all(samples)]
        handle.close()
    return averaged({name: [own[place - first] for own in found] for name, place in places.items()}, len(samples))


def averaged(means: Mapping[str, Sequence[Array]], samples: int) -> dict[str, Array]:
    """The mean over the first so many samples, in float64, of what each shows on average."""
    return {name: np.asarray(np.mean(own[:samples], axis=0, dtype=np.float64)) for name, own in means.items()}
