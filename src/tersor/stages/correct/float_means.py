"""The means of what reaches layers in the float network: one run of it over the samples, of which nothing is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tersor.formats import tflite
from tersor.ir.graph import Array, Model
from tersor.numerics.patch_sums import PatchObservers
from tersor.numerics.patches import Window
from tersor.runtimes.engine import Engine, Watch, available_threads
from tersor.stages.correct.layers import Correctable


def float_means(
    model: Model | Path, layers: Iterable[Correctable], samples: Iterable[Sequence[Array]], engine: Engine
) -> dict[str, Array]:
    """The mean of each layer's input, [G, K], by the operator's name; without layers whose input is not shown.

    Args:
        model: the float network, or its `.tflite` file.
        layers: of it.
        samples: its inputs in each sample.
        engine: the process to run in.

    One copy of the network sees all samples in order, so that sums do not depend on the number of processors.

    Raises RuntimeFailure if the runtime refuses the network.
    """
    read = {layer.op.name: (layer.op.inputs[layer.operands.data] or "", layer.window) for layer in layers}
    windows: dict[str, set[Window]] = {}
    for name, window in read.values():
        windows.setdefault(name, set()).add(window)
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        path = model if isinstance(model, Path) else Path(folder) / "float.tflite"
        if isinstance(model, Model):
            tflite.write(model, path)
        handle = engine.open(str(path), threads=available_threads(), keep_all=True)
        new_observer = PatchObservers({name: tuple(own) for name, own in windows.items()})
        found = handle.observe(samples, Watch(whole=tuple(windows)), new_observer)
        handle.close()
    return {op: found[name].sums[window].mean() for op, (name, window) in read.items() if name in found}
